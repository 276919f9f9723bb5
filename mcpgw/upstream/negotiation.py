"""Agreeing on a protocol version with an upstream.

As the specification of 2026-07-28 advises clients of both eras: ask `server/discover` first; whatever is no sign of a modern
server means `initialize`. That declares what the session's server may ask; a modern server is told with each request.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mcp.shared.inbound import MCP_METHOD_HEADER, MCP_PROTOCOL_VERSION_HEADER
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
    UNSUPPORTED_PROTOCOL_VERSION,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, MODERN_PROTOCOL_VERSIONS

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import (
    Json,
    JsonObject,
    RawReply,
    ReplyKind,
)
from mcpgw.upstream.clock import Clock
from mcpgw.upstream.config import Limits
from mcpgw.upstream.wire import Ask, Wire, WireLost

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What the server said of itself in the handshake, verbatim."""

    version: str
    modern: bool
    capabilities: JsonObject
    info: JsonObject


class Negotiator:
    """Both handshakes on one wire. Each leaves the wire speaking the version that it returns."""

    def __init__(
        self, name: str, wire: Wire, limits: Limits, client_info: JsonObject, declares: JsonObject, ids: Iterator[int]
    ) -> None:
        self._name = name
        self._wire = wire
        self._limits = limits
        self._client_info = client_info
        self._declares = declares
        self._ids = ids

    async def probe(self, version: str, *, again: bool = False) -> Peer:
        """Ask whether the server is modern, and agree the legacy way if it is not. `again`: it named this version itself.

        Raises:
            UpstreamError: no common version, no answer, or one that breaks the protocol.
        """
        try:
            reply = await self._wire.request(self._discovering(version))
        except TimeoutError:
            return await self.initialize(reprobe=not again)
        except WireLost:
            raise
        except UpstreamError as error:  # an HTTP refusal: an older server does not know what it was asked
            logger.debug("upstream %s: no server/discover: %s", self._name, error)
            return await self.initialize(reprobe=not again)
        if reply.kind is ReplyKind.RESULT:
            mutual = _mutual(reply.payload.get("supportedVersions"))
            return self._adopt_modern(mutual[-1], reply.payload) if mutual else await self.initialize()
        mutual = _mutual(_supported(reply))
        if mutual and not again:
            return await self.probe(mutual[-1], again=True)
        return await self.initialize()

    async def initialize(self, *, reprobe: bool = False) -> Peer:
        """The handshake of 2025-11-25 and earlier. `reprobe`: a late answer to the probe may have made the server modern.

        Raises:
            UpstreamError: no common version, no answer, or one that breaks the protocol.
        """
        params = {"protocolVersion": LATEST_HANDSHAKE_VERSION, "capabilities": self._declares, "clientInfo": self._client_info}
        try:
            reply = await self._wire.request(self._ask("initialize", params, self._limits.handshake_s))
        except TimeoutError:
            raise UpstreamError(self._says("did not answer `initialize` in time"), sent=True) from None
        if reply.kind is ReplyKind.ERROR:
            mutual = _mutual(_supported(reply))
            if mutual and reprobe:
                return await self.probe(mutual[-1], again=True)
            code = reply.payload.get("code")
            raise UpstreamError(self._says(f"refused `initialize` with JSON-RPC error {code}"), sent=True)
        version = reply.payload.get("protocolVersion")
        if version not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise UpstreamError(self._says("speaks no protocol version that the gateway knows"), sent=True)
        self._wire.adopt(version, modern=False)
        await self._wire.notify("notifications/initialized", {})
        info = as_object(reply.payload.get("serverInfo"))
        return Peer(version=version, modern=False, capabilities=as_object(reply.payload.get("capabilities")), info=info)

    def _adopt_modern(self, version: str, result: JsonObject) -> Peer:
        self._wire.adopt(version, modern=True)
        info = as_object(as_object(result.get("_meta")).get(SERVER_INFO_META_KEY))
        return Peer(version=version, modern=True, capabilities=as_object(result.get("capabilities")), info=info)

    def _discovering(self, version: str) -> Ask:
        params = {"_meta": envelope(version, self._client_info, {})}
        headers = {MCP_PROTOCOL_VERSION_HEADER: version, MCP_METHOD_HEADER: "server/discover"}
        return self._ask("server/discover", params, self._limits.probe_s, headers)

    def _ask(self, method: str, params: Mapping[str, Json], timeout_s: float, headers: Mapping[str, str] | None = None) -> Ask:
        """Make a request of the handshake, which must not be cancelled (both specifications)."""
        ask_id = next(self._ids)
        headers = headers or {}
        return Ask(id=ask_id, method=method, params=params, clock=Clock(timeout_s), headers=headers, cancellable=False)

    def _says(self, what: str) -> str:
        return f"The upstream server {self._name!r} {what}."


def envelope(version: str, client_info: JsonObject, declares: JsonObject) -> dict[str, Json]:
    """Return a request's own metadata of 2026-07-28, "Per-request protocol fields"."""
    return {
        PROTOCOL_VERSION_META_KEY: version,
        CLIENT_INFO_META_KEY: client_info,
        CLIENT_CAPABILITIES_META_KEY: declares,
    }


def _mutual(versions: Json) -> list[str]:
    """Return the modern versions that both sides speak, the oldest first."""
    offered = versions if isinstance(versions, list) else []
    return [version for version in MODERN_PROTOCOL_VERSIONS if version in offered]


def _supported(reply: RawReply) -> Json:
    """Return the versions that an UnsupportedProtocolVersion error names; nothing for other errors."""
    if reply.payload.get("code") != UNSUPPORTED_PROTOCOL_VERSION:
        return []
    return as_object(reply.payload.get("data")).get("supported")


def as_object(value: Json) -> JsonObject:
    return value if isinstance(value, Mapping) else {}
