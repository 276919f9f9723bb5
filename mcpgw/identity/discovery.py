"""Finding an issuer's key set (OpenID Connect Discovery 1.0, RFC 8414)."""

from urllib.parse import urlsplit, urlunsplit

from mcpgw.core.errors import ConfigError
from mcpgw.identity.documents import DocumentError, fetch
from mcpgw.identity.issuer import check_url


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Return where the issuer's metadata may be, in the order to ask.

    OIDC Discovery section 4 appends to the issuer's path; RFC 8414 sections 3.1 and 5 insert before it. For an issuer without a
    path the first and last are the same, and are given once.
    """
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    paths = (
        f"{path}/.well-known/openid-configuration",
        f"/.well-known/oauth-authorization-server{path}",
        f"/.well-known/openid-configuration{path}",
    )
    return tuple(dict.fromkeys(urlunsplit((parts.scheme, parts.netloc, each, "", "")) for each in paths))


async def discover_jwks_url(issuer: str) -> str:
    """Return the address of the issuer's keys, from metadata that names exactly this issuer.

    Raises:
        DocumentError: no metadata, metadata of another issuer, or keys over an unsafe address.
    """
    for url in metadata_urls(issuer):
        try:
            metadata = await fetch(url)
        except DocumentError as error:
            if error.missing:
                continue
            raise
        # OIDC Discovery section 4.3 and RFC 8414 section 3.3: else one tenant could speak for another (mix-up).
        if metadata.get("issuer") != issuer:
            raise DocumentError(f"{url} is the metadata of another issuer")
        jwks_url = metadata.get("jwks_uri")
        if not isinstance(jwks_url, str):
            raise DocumentError(f"{url} names no jwks_uri")
        try:
            check_url(jwks_url, issuer)
        except ConfigError as error:
            raise DocumentError(f"the jwks_uri in {url} is not acceptable: {error}") from error
        return jwks_url
    raise DocumentError(f"{issuer} publishes no metadata; set its jwks_url")
