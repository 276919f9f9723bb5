"""The one door for bearer credentials: API keys and tokens, told apart by their form."""

from mcpgw.core.errors import AuthenticationError
from mcpgw.core.model import Identity
from mcpgw.identity.api_keys import ApiKeys
from mcpgw.identity.key_text import PREFIX
from mcpgw.identity.tokens import JwtIssuers


class Authenticators:
    """Implements `ports.Authenticator`. The forms do not overlap (a JWT has two dots, a key has none), so no credential
    is tried twice."""

    def __init__(self, keys: ApiKeys, tokens: JwtIssuers) -> None:
        self._keys = keys
        self._tokens = tokens

    async def authenticate(self, credential: str) -> Identity:
        if not credential:
            raise AuthenticationError("A credential is needed: an API key or an access token.")
        if credential.startswith(PREFIX):
            return await self._keys.authenticate(credential)
        if credential.count(".") == 2:
            return await self._tokens.authenticate(credential)
        raise AuthenticationError("The credential is neither an API key of this gateway nor a JWT.")
