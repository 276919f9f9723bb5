"""Fetching an issuer's metadata and keys: small JSON documents over a connection that cannot be led elsewhere."""

from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from mcpgw.core.addresses import Reach
from mcpgw.core.strict_json import loads
from mcpgw.identity.issuer import is_loopback
from mcpgw.outgoing import sockets

MAX_BYTES = 256 * 1024
"""Of one document. Key sets of the large providers are below 20 KB."""

TIMEOUT_S = 5.0
"""For a whole fetch. One caller per `keys_retry_s` waits for it; the others go on with the keys at hand."""


class DocumentError(Exception):
    """A document could not be fetched; `missing` says that the server answered that there is none."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


async def fetch(url: str) -> dict[str, Any]:
    """Return the JSON object at `url`. No redirects, no cookies, no credentials, no compression, at most `MAX_BYTES`.

    A proxy from the environment is used, except for loopback; nothing else is, such as the passwords of a `.netrc`. A
    link-local or metadata address is never connected to, whatever an issuer's metadata says.

    Raises:
        DocumentError: unreachable, slow, not 200, too large, or no JSON object.
    """
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout,
                headers=headers,
                trust_env=False,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(socket_factory=sockets(Reach.PRIVATE)),
            ) as session,
            session.get(url, allow_redirects=False, proxy=_proxy_for(url)) as response,
        ):
            if response.status != 200:
                raise DocumentError(f"{url} answered {response.status}", missing=response.status in (404, 410))
            body = await _read(response)
    except TimeoutError as error:
        raise DocumentError(f"{url} did not answer in {TIMEOUT_S:g} s") from error
    except aiohttp.ClientError as error:
        raise DocumentError(f"{url} cannot be reached ({type(error).__name__})") from error
    try:
        document = loads(body)
    except ValueError as error:
        raise DocumentError(f"{url} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise DocumentError(f"{url} is not a JSON object")
    return document


def _proxy_for(url: str) -> str | None:
    """Return the environment's proxy for that address; None where there is none, or it is not to be used."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return None if is_loopback(host) or proxy_bypass(host) else getproxies().get(parts.scheme)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(16 * 1024):
        body += chunk
        if len(body) > MAX_BYTES:
            raise DocumentError(f"{response.url} is larger than {MAX_BYTES} bytes")
    return bytes(body)
