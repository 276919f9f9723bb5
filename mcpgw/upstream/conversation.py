"""One negotiated conversation with an upstream, over any wire: which method, which headers, which envelope."""

import itertools
import logging
import math
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import suppress
from typing import Final, get_args

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
from mcp_types import CLIENT_CAPABILITIES_META_KEY, LOG_LEVEL_META_KEY, LoggingLevel
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_MODERN_VERSION

from mcpgw.core.answers import answers_of, own_arguments
from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import (
    Call,
    Json,
    JsonObject,
    RawReply,
    ReplyKind,
    Target,
    TargetKind,
)
from mcpgw.core.tasks import WITH_TASKS
from mcpgw.ports import Interview, OnNotice
from mcpgw.upstream.clock import Clock
from mcpgw.upstream.config import Limits
from mcpgw.upstream.negotiation import Negotiator, Peer, as_object, envelope
from mcpgw.upstream.questions import Questions
from mcpgw.upstream.rounds import Rounds
from mcpgw.upstream.tasks import AugmentedTask, ExtensionTask, takes_tasks, works_only_as_task
from mcpgw.upstream.wire import Ask, SessionExpired, Wire, WireLost

logger = logging.getLogger(__name__)

ASKING: Final = frozenset({TargetKind.TOOL, TargetKind.PROMPT, TargetKind.RESOURCE})
"""In calls of these a server may ask (2026-07-28; in earlier protocols it could in all)."""
_LEVELS: Final = get_args(LoggingLevel)
"""Of log messages, the lowest first."""
_LOG_LEVEL_S: Final = 5.0
"""To take a level: the call that wants it waits for no longer."""
_CANCEL_S: Final = 2.0
"""To take the cancellation of a task: whoever made the call is gone, and the record of its end waits for no longer."""
_NAMED: Final = {**NAME_BEARING_METHODS, **dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), "taskId")}
"""The parameter that the header `Mcp-Name` repeats, by method; of tasks by their extension."""
_EVERY_LIST = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
"""SubscriptionFilter of 2026-07-28."""

OnRenewed = Callable[[], None]
"""Called when the server began a new session, which may be that of another process, that may offer something else."""


class Conversation:
    """Asks of one upstream on one wire. Made by `begin`."""

    def __init__(
        self,
        name: str,
        wire: Wire,
        limits: Limits,
        client_info: JsonObject,
        on_renewed: OnRenewed,
        *,
        declares: JsonObject,
        questions: Questions,
    ) -> None:
        """`declares`: what a legacy server is told that its client can do. If anything, one call is made at a time."""
        self._name = name
        self._wire = wire
        self._limits = limits
        self._client_info = client_info
        self._on_renewed = on_renewed
        self._declares = declares
        self._questions = questions
        self._ids = itertools.count(1)
        self._negotiator = Negotiator(name, wire, limits, client_info, declares, self._ids)
        self._renewing = anyio.Lock()
        self._log_level = len(_LEVELS)
        """Index of the level that the session's server was told; beyond all of them while it was told none."""
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
        return await self._ask(method, params, Clock(timeout_s), headers or {}, on_notice, {})

    async def call(self, call: Call, target: Target, on_notice: OnNotice, interview: Interview) -> RawReply:
        """Carry out one call of the corridor.

        Raises:
            UpstreamError: there is no reply.
            TimeoutError: none came within `target.timeout_s`.
        """
        own, answers = own_arguments(call.arguments), answers_of(call.arguments)
        method, params = _request_of(target, own)
        headers = self._param_headers(target, own) if target.kind is TargetKind.TOOL else {}
        params["_meta"] = await self._with_log_level(call)
        clock = Clock(target.timeout_s)
        owner = (call.identity.principal, call.identity.actors, target.masking)
        in_rounds = self.peer.modern and target.kind in ASKING
        may_be_task = in_rounds and target.kind is TargetKind.TOOL and takes_tasks(call)
        declares = {**(interview.declares if in_rounds else {}), **(WITH_TASKS if may_be_task else {})}

        async def send(more: JsonObject) -> RawReply:
            return await self._ask(method, {**params, **more}, clock, headers, on_notice, declares, owner)

        async def of_task(method: str, about: JsonObject) -> RawReply:
            return await self._ask(method, about, clock, {}, on_notice, {**declares, **WITH_TASKS}, owner)

        if in_rounds:
            rounds = Rounds(self._name, interview, clock)
            if target.kind is not TargetKind.TOOL:
                return await rounds.carry_out(send, answers)
            task = ExtensionTask(self._name, of_task, clock, on_notice, is_declared=may_be_task)
            async with task.cancelled_unless_over(self._cancel_task):
                return await rounds.carry_out(lambda more: task.carry_out(send, more), answers)
        if answers:
            raise UpstreamError(self._says("speaks a protocol in which a call cannot bring answers along"), sent=False)
        if target.kind is TargetKind.TOOL and works_only_as_task(target, self.peer.capabilities):
            augmented = AugmentedTask(self._name, of_task, clock, on_notice)
            async with augmented.cancelled_unless_over(self._cancel_task):
                return await self._with_questions(lambda: augmented.carry_out(send), on_notice, interview, clock)
        return await self._with_questions(lambda: send({}), on_notice, interview, clock)

    async def _with_questions(
        self, work: Callable[[], Awaitable[RawReply]], on_notice: OnNotice, interview: Interview, clock: Clock
    ) -> RawReply:
        """Carry out a call of an earlier protocol, in which a server asks meanwhile or not at all."""
        reply = await (self._questions.relay(interview, on_notice, clock, work) if self._declares else work())
        if reply.asks:
            raise UpstreamError(self._says("asked for input where its protocol has no such answer"), sent=True)
        return reply

    async def _cancel_task(self, about: JsonObject) -> None:
        if self.peer.modern or "cancel" in as_object(self.peer.capabilities.get("tasks")):
            declares = WITH_TASKS if self.peer.modern else {}
            await self._ask("tasks/cancel", about, Clock(_CANCEL_S), {}, None, declares)

    async def _with_log_level(self, call: Call) -> JsonObject:
        """Return the call's metadata as this server gets it, with the level of log messages that the call's client is to have.

        A client of an earlier protocol gets all until it sets a level (2025-11-25 server/utilities/logging); a modern server
        sends none that a request does not ask for. A legacy server has one level for all its callers: the lowest that any of
        them set, and each is told only of what it asked for.
        """
        wanted = call.meta.get(LOG_LEVEL_META_KEY)
        if self.peer.modern:
            implied = wanted is None and call.origin.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS
            return {**call.meta, LOG_LEVEL_META_KEY: _LEVELS[0]} if implied else call.meta
        meta = {key: value for key, value in call.meta.items() if key not in (LOG_LEVEL_META_KEY, CLIENT_CAPABILITIES_META_KEY)}
        if wanted in _LEVELS and "logging" in self.peer.capabilities and _LEVELS.index(wanted) < self._log_level:
            self._log_level = _LEVELS.index(wanted)
            with suppress(UpstreamError, TimeoutError):  # it logs as it did, then: no reason to fail a call
                await self.ask("logging/setLevel", {"level": wanted}, timeout_s=_LOG_LEVEL_S)
        return meta

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
                self._log_level = len(_LEVELS)
                self._on_renewed()

    # --- requests ----------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        method: str,
        params: Mapping[str, Json],
        clock: Clock,
        headers: Mapping[str, str],
        on_notice: OnNotice | None,
        declares: JsonObject,
        owner: Hashable = None,
    ) -> RawReply:
        try:
            return await self._wire.request(self._asking(method, params, clock, headers, on_notice, declares, owner))
        except SessionExpired as expired:
            with clock.scope():
                await self.renew(expired.session_id)
            if clock.left_s <= 0:
                raise UpstreamError(self._says("forgot the session and did not begin another in time"), sent=False) from None
            return await self._wire.request(self._asking(method, params, clock, headers, on_notice, declares, owner))

    def _asking(
        self,
        method: str,
        params: Mapping[str, Json],
        clock: Clock,
        headers: Mapping[str, str],
        on_notice: OnNotice | None,
        declares: JsonObject,
        owner: Hashable = None,
    ) -> Ask:
        ask_id = next(self._ids)
        meta = dict(as_object(params.get("_meta")))
        meta.pop("progressToken", None)  # the client's own; the upstream gets ours
        if on_notice is not None:
            meta["progressToken"] = ask_id
        if self.peer.modern:
            meta |= envelope(self.peer.version, self._client_info, declares)
            headers = {**self._routing(method, params), **headers}
        return Ask(
            id=ask_id,
            method=method,
            params={**params, "_meta": meta} if meta else params,
            clock=clock,
            headers=headers,
            on_notice=on_notice,
            owner=owner,
        )

    def _routing(self, method: str, params: Mapping[str, Json]) -> dict[str, str]:
        """The headers of 2026-07-28 that repeat the body, for intermediaries."""
        headers = {MCP_PROTOCOL_VERSION_HEADER: self.peer.version, MCP_METHOD_HEADER: method}
        named = params.get(_NAMED.get(method, ""))
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


def _request_of(target: Target, arguments: JsonObject) -> tuple[str, dict[str, Json]]:
    """Translate a call into the upstream's method and parameters."""
    match target.kind:
        case TargetKind.TOOL:
            return "tools/call", {"name": target.upstream_name, "arguments": arguments}
        case TargetKind.RESOURCE:
            # A template is read by the URI that inbound found it to cover.
            uri = arguments["uri"] if target.is_template else target.upstream_name
            return "resources/read", {"uri": uri}
        case TargetKind.PROMPT:
            return "prompts/get", {"name": target.upstream_name, "arguments": arguments}
        case TargetKind.COMPLETION:
            return "completion/complete", {**arguments, "ref": _reference(target)}


def _reference(target: Target) -> dict[str, Json]:
    """Return the `ref` of a completion: what is completed, as its server calls it."""
    if target.is_template:
        return {"type": "ref/resource", "uri": target.upstream_name}
    return {"type": "ref/prompt", "name": target.upstream_name}
