"""What the gateway says about itself to a client that has no token yet (RFC 9728, RFC 6750 section 3)."""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit, urlunsplit

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import JsonObject
from mcpgw.identity.issuer import check_url

WELL_KNOWN = "/.well-known/oauth-protected-resource"

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+", re.ASCII)  # RFC 6749 section 3.3
_UNQUOTABLE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]", re.ASCII)  # RFC 6750 section 3: neither quote, backslash nor control


def protected_resource_metadata(public_url: str, issuers: Sequence[str], scopes: Iterable[str] = ()) -> JsonObject:
    """Return the RFC 9728 document of the gateway at `public_url` (`https://gateway.example/mcp`).

    `scopes` should be the least that make a client useful: some clients ask for all that is listed here, word for word.

    Raises:
        ConfigError: `public_url` is not https (or loopback), no issuer is given, or a scope is not one.
    """
    check_url(public_url, public_url)
    if not issuers:
        raise ConfigError("without an issuer of tokens there is no protected-resource metadata", where=public_url)
    document = {
        "resource": public_url,
        "authorization_servers": list(issuers),
        "bearer_methods_supported": ["header"],
        "resource_name": "mcpgw",
    }
    supported = _checked(scopes)
    return {**document, "scopes_supported": supported} if supported else document


def protected_resource_paths(public_url: str) -> tuple[str, ...]:
    """Return the paths to serve the document at, first the one of RFC 9728 section 3.1, then the clients' fallback."""
    path = urlsplit(public_url).path.rstrip("/")
    return tuple(dict.fromkeys((f"{WELL_KNOWN}{path}", WELL_KNOWN)))


def www_authenticate(
    public_url: str, error: str = "", *, description: str = "", scopes: Iterable[str] = (), oauth: bool = True
) -> str:
    """Return the `WWW-Authenticate` header of a 401 or 403.

    `error` is empty where no credential was sent, else `invalid_token`, or `insufficient_scope` with a 403 (RFC 6750, 3.1).
    `oauth` is False where no issuer is configured and clients should not go looking for one.

    Raises:
        ConfigError: a scope is not one.
    """
    pairs = [("realm", "mcpgw"), ("error", error), ("error_description", description), ("scope", " ".join(_checked(scopes)))]
    if oauth:
        pairs.append(("resource_metadata", _metadata_url(public_url)))
    return "Bearer " + ", ".join(f'{name}="{_UNQUOTABLE.sub("?", value)}"' for name, value in pairs if value)


def _metadata_url(public_url: str) -> str:
    parts = urlsplit(public_url)
    return urlunsplit((parts.scheme, parts.netloc, protected_resource_paths(public_url)[0], "", ""))


def _checked(scopes: Iterable[str]) -> list[str]:
    found = sorted(set(scopes))
    for scope in found:
        if not _SCOPE.fullmatch(scope):
            raise ConfigError(
                f"{scope!r} is not an OAuth scope", hint="Scopes are printable ASCII without spaces, quotes and \\."
            )
    return found
