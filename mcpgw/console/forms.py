"""What a posted form must be: sent by a page of the console, small, and readable in one way."""

from typing import Final
from urllib.parse import parse_qsl, urlsplit

import anyio
from starlette.datastructures import Headers
from starlette.requests import Request

from mcpgw.console.turned import Turned

MAX_BODY_BYTES: Final = 65_536
"""A comment of 2,000 characters takes 24 kB where each is written as `%F0%9F%98%80`."""
_MAX_FIELDS: Final = 32
_BODY_TIMEOUT_S: Final = 15.0
"""From the end of the head to the end of the body."""


def must_be_from_here(headers: Headers, *, is_secure: bool) -> None:
    """Refuse a form that another page sent. Every current browser says where a POST comes from; silence is refused too.

    Raises:
        Turned: it is from elsewhere, or does not say.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    ours = f"{'https' if is_secure else 'http'}://{headers['host']}".lower()
    same_site = site in (None, "same-origin")
    same_origin = origin is None or (len(headers.getlist("origin")) == 1 and _normal(origin) == _normal(ours))
    if not (same_site and same_origin) or (site is None and origin is None):
        raise Turned(403, "This form was not sent by a page of the console, so nothing was done.")


def _normal(origin: str) -> tuple[str, str, int]:
    """Scheme, host and port, with the default port spelled out; what is no origin equals nothing of ours."""
    try:
        parts = urlsplit(origin.lower())
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        return ("", "", 0)
    return (parts.scheme, parts.hostname or "", port)


async def read_form(request: Request) -> dict[str, str]:
    """Raises: Turned: too large, too slow, or no form."""
    must_be(request, "application/x-www-form-urlencoded", "Only forms are accepted here.")
    body = await read_body(request)
    try:
        fields = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict", max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        raise Turned(400, "The form cannot be read.") from None
    form = dict(fields)
    if len(form) != len(fields):
        raise Turned(400, "The form has a field twice.")
    return form


def must_be(request: Request, media_type: str, otherwise: str) -> None:
    """Raises: Turned: the body is of another media type than this one."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != media_type:
        raise Turned(415, otherwise)


async def read_body(request: Request) -> bytes:
    """Raises: Turned: it is too large, or does not arrive in time."""
    body = b""
    try:
        with anyio.fail_after(_BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise Turned(413, f"More than {MAX_BODY_BYTES} bytes were sent.")
    except TimeoutError:
        raise Turned(408, "What was sent did not arrive in time.") from None
    return body
