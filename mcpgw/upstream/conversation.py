"""One negotiated conversation with an upstream, over any wire: which era, which headers, which envelope.

Negotiation follows the specification's advice for clients of both eras: ask `server/discover` first; whatever is no sign of
2026-07-28 means `initialize`. Toward an upstream the gateway declares no client capability, because it relays none yet.
"""

import itertools
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

import anyio
from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    NAME_BEARING_METHODS,
    encode_header_value,
    mcp_param_headers,
    x_mcp_header_map,
)
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
    UNSUPPORTED_PROTOCOL_VERSION,
)
from mcp_types.version import (
    HANDSHAKE_PROTOCOL_VERSIONS,
    LATEST_HANDSHAKE_VERSION,
    LATEST_MODERN_VERSION,
    MODERN_PROTOCOL_VERSIONS,
)

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import Call, Json, JsonObject, RawReply, ReplyKind, Target, TargetKind
from mcpgw.ports import OnNotice
from mcpgw.upstream.config import Limits
from mcpgw.upstream.wire import Ask, OnListChanged, SessionExpired, Wire, WireLost

logger = logging.getLogger(__name__)

_EVERY_LIST = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
"""SubscriptionFilter of 2026-07-28."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What the server said of itself in the handshake, verbatim."""

    version: str
    modern: bool
    capabilities: JsonObject
    info: JsonObject


class Conversation:
    """Asks of one upstream on one wire. Made by `begin`."""

    def __init__(self, name: str, wire: Wire, limits: Limits, client_info: JsonObject, on_list_changed: OnListChanged) -> None:
        self._name = name
        self._wire = wire
        self._limits = limits
        self._client_info = client_info
        self._on_list_changed = on_list_changed
        self._ids = itertools.count(1)
        self._renewing = anyio.Lock()
        self.peer = Peer(version="", modern=False, capabilities={}, info={})

    async def begin(self, *, probe: bool) -> None:
        """Agree on a protocol version. `probe` False goes straight to `initialize`.

        Raises:
            UpstreamError: no common version, no answer, or one that breaks the protocol.
        """
        self.peer = await (self._probe(LATEST_MODERN_VERSION) if probe else self._initialize())

    async def ask(
        self,
        method: str,
        params: Mapping[str, Json],
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        on_notice: OnNotice | None = None,
    ) -> RawReply:
        """Send one request of the agreed era. Only what a server did not process, because it forgot the session, is repeated.

        Raises:
            UpstreamError: there is no reply.
            TimeoutError: none came in time.
        """
        deadline = anyio.current_time() + timeout_s
        try:
            return await self._wire.request(self._asking(method, params, timeout_s, headers or {}, on_notice))
        except SessionExpired as expired:
            with anyio.move_on_at(deadline):
                await self.renew(expired.session_id)
            left_s = deadline - anyio.current_time()
            if left_s <= 0:
                raise UpstreamError(self._says("forgot the session and did not begin another in time"), sent=False) from None
            return await self._wire.request(self._asking(method, params, left_s, headers or {}, on_notice))

    async def call(self, call: Call, target: Target, on_notice: OnNotice) -> RawReply:
        """Carry out one call of the corridor.

        Raises:
            UpstreamError: there is no reply.
            TimeoutError: none came within `target.timeout_s`.
        """
        method, params = _request_of(call, target)
        headers = self._param_headers(target, call.arguments) if target.kind is TargetKind.TOOL else {}
        reply = await self.ask(method, params, timeout_s=target.timeout_s, headers=headers, on_notice=on_notice)
        if reply.kind is ReplyKind.RESULT and reply.payload.get("resultType") == "input_required":
            what = "asked for input from the client, which the gateway does not relay yet"
            raise UpstreamError(f"The upstream server {self._name!r} {what}.", sent=True)
        return reply

    async def listen(self) -> None:
        """Receive changes of lists as long as the server tells them; returns where it does not."""
        pause_s = 1.0
        try:
            while await self._listen_once():
                await anyio.sleep(pause_s)
                pause_s = min(pause_s * 2, 60.0)
        except UpstreamError as error:
            logger.info("upstream %s: changes of its lists are not told any more: %s", self._name, error)

    async def _listen_once(self) -> bool:
        """Tell whether it is worth to listen again."""
        try:
            if self.peer.modern:
                if not self._announces_changes():
                    return False
                reply = await self.ask("subscriptions/listen", {"notifications": _EVERY_LIST}, timeout_s=math.inf)
                return reply.kind is ReplyKind.RESULT
            await self._wire.listen()
        except SessionExpired as expired:
            await self.renew(expired.session_id)
            return True
        except WireLost:
            return False
        except UpstreamError as error:
            logger.info("upstream %s: its subscription broke off: %s", self._name, error)
            return True
        return False

    async def renew(self, expired_session: str) -> None:
        """Begin a new session in place of the expired one, once for all who noticed."""
        async with self._renewing:
            if self._wire.session_id == expired_session:
                logger.info("upstream %s: it forgot the session; beginning a new one", self._name)
                self.peer = await self._initialize()
                self._on_list_changed()  # a new session may be another server process, which may offer something else

    # --- negotiation -------------------------------------------------------------------------------------------------

    async def _probe(self, version: str, *, again: bool = False) -> Peer:
        try:
            reply = await self._wire.request(self._discovering(version))
        except TimeoutError:
            return await self._initialize(reprobe=not again)
        except WireLost:
            raise
        except UpstreamError as error:  # an HTTP refusal: an older server does not know what it was asked
            logger.debug("upstream %s: no server/discover: %s", self._name, error)
            return await self._initialize(reprobe=not again)
        if reply.kind is ReplyKind.RESULT:
            mutual = _mutual(reply.payload.get("supportedVersions"))
            return self._adopt_modern(mutual[-1], reply.payload) if mutual else await self._initialize()
        mutual = _mutual(_supported(reply))
        if mutual and not again:
            return await self._probe(mutual[-1], again=True)
        return await self._initialize()

    async def _initialize(self, *, reprobe: bool = False) -> Peer:
        """The handshake of 2025-11-25 and earlier. `reprobe`: a late answer to the probe may have made the server modern."""
        params = {"protocolVersion": LATEST_HANDSHAKE_VERSION, "capabilities": {}, "clientInfo": self._client_info}
        try:
            reply = await self._wire.request(self._ask("initialize", params, self._limits.handshake_s, cancellable=False))
        except TimeoutError:
            raise UpstreamError(self._says("did not answer `initialize` in time"), sent=True) from None
        if reply.kind is ReplyKind.ERROR:
            mutual = _mutual(_supported(reply))
            if mutual and reprobe:
                return await self._probe(mutual[-1], again=True)
            code = reply.payload.get("code")
            raise UpstreamError(self._says(f"refused `initialize` with JSON-RPC error {code}"), sent=True)
        version = reply.payload.get("protocolVersion")
        if version not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise UpstreamError(self._says("speaks no protocol version that the gateway knows"), sent=True)
        self._wire.adopt(version, modern=False)
        await self._wire.notify("notifications/initialized", {})
        info = _object(reply.payload.get("serverInfo"))
        return Peer(version=version, modern=False, capabilities=_object(reply.payload.get("capabilities")), info=info)

    def _adopt_modern(self, version: str, result: JsonObject) -> Peer:
        self._wire.adopt(version, modern=True)
        info = _object(_object(result.get("_meta")).get(SERVER_INFO_META_KEY))
        return Peer(version=version, modern=True, capabilities=_object(result.get("capabilities")), info=info)

    def _discovering(self, version: str) -> Ask:
        params = {"_meta": self._envelope(version)}
        headers = {MCP_PROTOCOL_VERSION_HEADER: version, MCP_METHOD_HEADER: "server/discover"}
        return self._ask("server/discover", params, self._limits.probe_s, headers=headers, cancellable=False)

    # --- requests ----------------------------------------------------------------------------------------------------

    def _asking(
        self, method: str, params: Mapping[str, Json], timeout_s: float, headers: Mapping[str, str], on_notice: OnNotice | None
    ) -> Ask:
        ask_id = next(self._ids)
        meta = dict(_object(params.get("_meta")))
        meta.pop("progressToken", None)  # the client's own; the upstream gets ours
        if on_notice is not None:
            meta["progressToken"] = ask_id
        if self.peer.modern:
            meta |= self._envelope(self.peer.version)
            headers = {**self._routing(method, params), **headers}
        return Ask(
            id=ask_id,
            method=method,
            params={**params, "_meta": meta} if meta else params,
            timeout_s=timeout_s,
            headers=headers,
            on_notice=on_notice,
        )

    def _ask(
        self,
        method: str,
        params: Mapping[str, Json],
        timeout_s: float,
        *,
        headers: Mapping[str, str] | None = None,
        cancellable: bool = True,
    ) -> Ask:
        return Ask(
            id=next(self._ids),
            method=method,
            params=params,
            timeout_s=timeout_s,
            headers=headers or {},
            cancellable=cancellable,
        )

    def _envelope(self, version: str) -> dict[str, Json]:
        """The request's own metadata of 2026-07-28, "Per-request protocol fields"."""
        return {
            PROTOCOL_VERSION_META_KEY: version,
            CLIENT_INFO_META_KEY: self._client_info,
            CLIENT_CAPABILITIES_META_KEY: {},
        }

    def _routing(self, method: str, params: Mapping[str, Json]) -> dict[str, str]:
        """The headers of 2026-07-28 that repeat the body, for intermediaries."""
        headers = {MCP_PROTOCOL_VERSION_HEADER: self.peer.version, MCP_METHOD_HEADER: method}
        named = params.get(NAME_BEARING_METHODS.get(method, ""))
        if isinstance(named, str):
            headers[MCP_NAME_HEADER] = encode_header_value(named)
        return headers

    def _param_headers(self, target: Target, arguments: JsonObject) -> dict[str, str]:
        if not self.peer.modern:
            return {}
        return mcp_param_headers(x_mcp_header_map(target.definition.get("inputSchema")), arguments)

    def _announces_changes(self) -> bool:
        return any(_object(self.peer.capabilities.get(kind)).get("listChanged") for kind in ("tools", "prompts", "resources"))

    def _says(self, what: str) -> str:
        return f"The upstream server {self._name!r} {what}."


def _request_of(call: Call, target: Target) -> tuple[str, dict[str, Json]]:
    """Translate a call into the upstream's method and parameters."""
    meta = {"_meta": call.meta}
    match target.kind:
        case TargetKind.TOOL:
            return "tools/call", {"name": target.upstream_name, "arguments": call.arguments, **meta}
        case TargetKind.RESOURCE:
            return "resources/read", {"uri": target.upstream_name, **meta}
        case TargetKind.PROMPT:
            return "prompts/get", {"name": target.upstream_name, "arguments": call.arguments, **meta}
        case TargetKind.COMPLETION:
            return "completion/complete", {**call.arguments, "ref": _reference(call, target), **meta}


def _reference(call: Call, target: Target) -> dict[str, Json]:
    """A completion's `ref` names a prompt or a resource as the client knows it; the upstream knows it by its own name."""
    reference = dict(_object(call.arguments.get("ref")))
    reference["uri" if reference.get("type") == "ref/resource" else "name"] = target.upstream_name
    return reference


def _mutual(versions: Json) -> list[str]:
    """Return the modern versions that both sides speak, the oldest first."""
    offered = versions if isinstance(versions, list) else []
    return [version for version in MODERN_PROTOCOL_VERSIONS if version in offered]


def _supported(reply: RawReply) -> Json:
    """Return the versions that an UnsupportedProtocolVersion error names; nothing for other errors."""
    if reply.payload.get("code") != UNSUPPORTED_PROTOCOL_VERSION:
        return []
    return _object(reply.payload.get("data")).get("supported")


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, Mapping) else {}
