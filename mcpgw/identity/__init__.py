"""Who is calling: credential in, `Identity` out, or an `AuthenticationError` in words that a caller may see.

`Authenticators` is the door (`ports.Authenticator`): the gateway's own API keys (`ApiKeys`) and JWTs of OIDC or OAuth issuers
(`JwtIssuers`). What HTTP says around it stands in `metadata`; stdio and development without authentication in `local`.
"""

from mcpgw.identity.administration import create_key, revoke_key
from mcpgw.identity.api_keys import ApiKeys
from mcpgw.identity.authenticators import Authenticators
from mcpgw.identity.issuer import Issuer, KindRule
from mcpgw.identity.key_record import KeyRecord, NewKey, new_key, parse_expiry
from mcpgw.identity.local import UnsafeAnonymous, refuse_unless_loopback, stdio_credential, stdio_identity, unsafe_anonymous
from mcpgw.identity.metadata import protected_resource_metadata, protected_resource_paths, www_authenticate
from mcpgw.identity.roster import KeyRoster
from mcpgw.identity.tokens import JwtIssuers

__all__ = [
    "ApiKeys",
    "Authenticators",
    "Issuer",
    "JwtIssuers",
    "KeyRecord",
    "KeyRoster",
    "KindRule",
    "NewKey",
    "UnsafeAnonymous",
    "create_key",
    "new_key",
    "parse_expiry",
    "protected_resource_metadata",
    "protected_resource_paths",
    "refuse_unless_loopback",
    "revoke_key",
    "stdio_credential",
    "stdio_identity",
    "unsafe_anonymous",
    "www_authenticate",
]
