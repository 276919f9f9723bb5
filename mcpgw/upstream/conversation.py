"""One negotiated conversation with an upstream, over any wire: which method, which headers, which envelope."""

import itertools
import logging
import math
from collections.abc import Mapping

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
from mcp_types.version import LATEST_MODERN_VERSION

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import Call, Json, JsonObject, RawReply, ReplyKind, Target, TargetKind
from mcpgw.ports import OnNotice
from mcpgw.upstream.config import Limits
from mcpgw.upstream.negotiation import Negotiator, Peer, as_object, envelope
from mcpgw.upstream.wire import Ask, OnListChanged, SessionExpired, Wire, WireLost

logger = logging.getLogger(__name__)

_EVERY_LIST = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
"""SubscriptionFilter of 2026-07-28."""


class Conversation:
    """Asks of one upstream on one wire. Made by `begin`."""

    def __init__(self, name: str, wire: Wire, limits: Limits, client_info: JsonObject, on_list_changed: OnListChanged) -> None:
        self._name = name
        self._wire = wire
        self._limits = limits
        self._client_info = client_info
        self._on_list_changed = on_list_changed
        self._ids = itertools.count(1)
        self._negotiator = Negotiator(name, wire, limits, client_info, self._ids)
        self._renewing = anyio.Lock()
        self.peer = Peer(version="", modern=False, capabilities={}, info={})

    async def begin(self, *, probe: bool) -> None:
        """Agree on a protocol version. `probe` False goes straight to `initialize`.

        Raises:
            UpstreamError: no common version, no answer, or one that breaks the protocol.
        """
        self.peer = await (self._negotiator.probe(LATEST_MODERN_VERSION) if probe else self._negotiator.initialize())

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
                self.peer = await self._negotiator.initialize()
                self._on_list_changed()  # a new session may be another server process, which may offer something else

    # --- requests ----------------------------------------------------------------------------------------------------

    def _asking(
        self, method: str, params: Mapping[str, Json], timeout_s: float, headers: Mapping[str, str], on_notice: OnNotice | None
    ) -> Ask:
        ask_id = next(self._ids)
        meta = dict(as_object(params.get("_meta")))
        meta.pop("progressToken", None)  # the client's own; the upstream gets ours
        if on_notice is not None:
            meta["progressToken"] = ask_id
        if self.peer.modern:
            meta |= envelope(self.peer.version, self._client_info)
            headers = {**self._routing(method, params), **headers}
        return Ask(
            id=ask_id,
            method=method,
            params={**params, "_meta": meta} if meta else params,
            timeout_s=timeout_s,
            headers=headers,
            on_notice=on_notice,
        )

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
        return any(as_object(self.peer.capabilities.get(kind)).get("listChanged") for kind in ("tools", "prompts", "resources"))

    def _says(self, what: str) -> str:
        return f"The upstream server {self._name!r} {what}."


def _request_of(call: Call, target: Target) -> tuple[str, dict[str, Json]]:
    """Translate a call into the upstream's method and parameters."""
    meta = {"_meta": call.meta}
    match target.kind:
        case TargetKind.TOOL:
            return "tools/call", {"name": target.upstream_name, "arguments": call.arguments, **meta}
        case TargetKind.RESOURCE:
            # A template is read by the URI that inbound found it to cover.
            uri = call.arguments["uri"] if target.is_template else target.upstream_name
            return "resources/read", {"uri": uri, **meta}
        case TargetKind.PROMPT:
            return "prompts/get", {"name": target.upstream_name, "arguments": call.arguments, **meta}
        case TargetKind.COMPLETION:
            return "completion/complete", {**call.arguments, "ref": _reference(target), **meta}


def _reference(target: Target) -> dict[str, Json]:
    """Return the `ref` of a completion: what is completed, as its server calls it."""
    if target.is_template:
        return {"type": "ref/resource", "uri": target.upstream_name}
    return {"type": "ref/prompt", "name": target.upstream_name}
