"""What the head of a request must be: our own host, no foreign page, one bearer credential and that in its header."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers

from mcpgw.core.model import RefusalCode
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.guard import INVALID_REQUEST

_CREDENTIAL_PARAMETERS: Final = frozenset({"access_token", "token", "api_key", "apikey", "key", "authorization"})
"""A credential in a URL ends in logs and histories (RFC 9700 section 4.3.2), so it is refused, not merely ignored."""
_HEADER_TOKEN = re.compile(r"[\x21-\x7e]{1,32768}")
"""Visible ASCII. A JWT with many groups takes 16 KB."""


class Turned(Exception):
    """The request is turned away with an HTTP status. The message is for the caller and holds nothing of the request."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: RefusalCode = RefusalCode.MALFORMED,
        rpc: tuple[int, str | int | None] = (INVALID_REQUEST, None),
        headers: dict[str, str] | None = None,
        recorded: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.recorded = recorded
        self.rpc = rpc
        self.headers = headers or {}


def check_host(hosts: Sequence[str], origins: Sequence[str], config: InboundConfig) -> None:
    """Refuse what a browser would send after DNS rebinding, or from a page of somebody else.

    Raises:
        Turned: 421 for a `Host` that is not ours (RFC 9110 section 15.5.20), 403 for a foreign `Origin`.
    """
    if len(hosts) != 1 or not any(_matches(hosts[0], allowed) for allowed in config.allowed_hosts):
        raise Turned(421, "This gateway does not answer to that Host. See `allowed_hosts`.", headers={"connection": "close"})
    if len(origins) > 1 or any(not any(_matches(origin, allowed) for allowed in config.allowed_origins) for origin in origins):
        raise Turned(403, "Pages of that Origin may not call this gateway. See `allowed_origins`.")


def _matches(value: str, allowed: str) -> bool:
    if not allowed.endswith(":*"):
        return value.lower() == allowed.lower()
    name, _, port = value.rpartition(":")
    return (name.lower() == allowed[:-2].lower() and port.isdigit()) or value.lower() == allowed[:-2].lower()


def credential_of(scope: Mapping[str, Any], config: InboundConfig) -> str:
    """Return the bearer credential of an ASGI request whose head is in order, or an empty string if it has none.

    Raises:
        Turned: as `check_host` and `bearer`.
    """
    headers = Headers(raw=scope["headers"])
    check_host(headers.getlist("host"), headers.getlist("origin"), config)
    return bearer(headers, scope["query_string"])


def bearer(headers: Headers, query: bytes) -> str:
    """Return the one bearer credential of a request, or an empty string if it has none (RFC 6750 section 2.1).

    Raises:
        Turned: there are two, it is no bearer token, or it stands in the URL.
    """
    names = {name.lower() for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)}
    if names & _CREDENTIAL_PARAMETERS:
        raise Turned(400, "A credential in the URL is refused: send `Authorization: Bearer …`. Consider it leaked.")
    values = headers.getlist("authorization")
    if not values:
        return ""
    scheme, _, token = values[0].partition(" ")
    token = token.strip()
    if len(values) > 1 or scheme.lower() != "bearer" or _HEADER_TOKEN.fullmatch(token) is None:
        raise Turned(400, "There must be one Authorization header, and it must read `Bearer` and a token.")
    return token
