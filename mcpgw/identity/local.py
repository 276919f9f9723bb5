"""Identity without HTTP: stdio, where the environment carries the key, and development without any."""

from collections.abc import Mapping
from pathlib import Path

from mcpgw.core.errors import AuthenticationError, ConfigError
from mcpgw.core.model import Identity, IdentityKind
from mcpgw.identity.issuer import is_loopback
from mcpgw.ports import Authenticator

KEY_VARIABLE = "MCPGW_API_KEY"
FILE_VARIABLE = "MCPGW_API_KEY_FILE"
_MAX_FILE_BYTES = 16 * 1024  # twice the longest token


_CLIENTS_HINT = f"Make a key with `mcpgw keys create` and set {KEY_VARIABLE} in the client's `env` block for this server."


def stdio_credential(environ: Mapping[str, str], *, hint: str = _CLIENTS_HINT) -> str:
    """Return the credential that the environment names, by itself or in a file. `hint` says what to do where there is none.

    A stdio server lives for days: authenticate it again with every request, so that a revocation counts at once.

    Raises:
        AuthenticationError: there is none, there are two, or the file cannot be read; says what to do.
    """
    key, path = environ.get(KEY_VARIABLE, ""), environ.get(FILE_VARIABLE, "")
    if key and path:
        raise AuthenticationError(f"Both {KEY_VARIABLE} and {FILE_VARIABLE} are set.", hint="Unset one of them.")
    if path:
        return _read(Path(path))
    if not key:
        raise AuthenticationError(f"{KEY_VARIABLE} is not set, so it is unknown who is calling.", hint=hint)
    return key.strip()


async def stdio_identity(environ: Mapping[str, str], authenticator: Authenticator) -> Identity:
    """Return who runs this stdio gateway, by the credential in its environment.

    Raises:
        AuthenticationError: as of `stdio_credential` and of the authenticator.
    """
    return await authenticator.authenticate(stdio_credential(environ))


def unsafe_anonymous() -> Identity:
    """Return the one identity of everybody where authentication is off. It is a service: it can approve nothing."""
    return Identity(subject="anonymous", issuer="mcpgw:unsafe", kind=IdentityKind.SERVICE, method="unsafe_anonymous")


def refuse_unless_loopback(host: str) -> None:
    """Refuse to serve without authentication where other machines can reach it.

    Raises:
        ConfigError: `host` is not `localhost` or a loopback address; `0.0.0.0`, `::` and names of hosts are not.
    """
    if not is_loopback(host):
        hint = "Listen on 127.0.0.1, or remove unsafe_allow_anonymous and make keys with `mcpgw keys create`."
        raise ConfigError(f"unsafe_allow_anonymous is for loopback, and this listens on {host!r}", hint=hint)


class UnsafeAnonymous:
    """An authenticator for development: no credential is `anonymous`; one that is given must still be right."""

    def __init__(self, host: str, authenticator: Authenticator) -> None:
        """Wrap the real authenticator for a listener on `host`.

        Raises:
            ConfigError: `host` is not loopback.
        """
        refuse_unless_loopback(host)
        self._authenticator = authenticator

    async def authenticate(self, credential: str) -> Identity:
        if not credential:
            return unsafe_anonymous()
        return await self._authenticator.authenticate(credential)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        text = data.decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AuthenticationError(f"The file that {FILE_VARIABLE} names cannot be read ({type(error).__name__}).") from error
    if not text or len(data) > _MAX_FILE_BYTES:
        raise AuthenticationError(f"The file that {FILE_VARIABLE} names holds no credential.")
    return text
