"""What takes the corridor: from validated parameters to a `Request`, through it, and the answer back to a result."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import anyio
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import InboundLadderRejection, validate_mcp_param_headers, x_mcp_header_map
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params
from mcp_types import LOG_LEVEL_META_KEY
from mcp_types.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, MISSING_REQUIRED_CLIENT_CAPABILITY

from mcpgw.core.answers import with_answers
from mcpgw.core.model import (
    Answer,
    Completed,
    Held,
    Patience,
    Request,
    Target,
    TargetKind,
    UnknownTarget,
    Waiting,
)
from mcpgw.inbound.answers import completed_meta, held_meta, misses_it_of_the_gateway, to_result
from mcpgw.inbound.argument_names import has_case_variant
from mcpgw.inbound.asked import Asked, asked_of, inner_of, schema_of
from mcpgw.inbound.caller import Caller, caller_of
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.in_flight import InFlight
from mcpgw.inbound.origin import client_of, is_traceparent, origin_of
from mcpgw.inbound.parking import Parked, ParkedPeer, Parking
from mcpgw.inbound.peer import SEVERITY, RequestPeer
from mcpgw.inbound.presentation import TAKES_TASKS, Presentation, choose, declares_all, declares_tasks
from mcpgw.inbound.questions import declares
from mcpgw.inbound.rounds import Round, asked_by_server, asked_meanwhile, round_of
from mcpgw.inbound.shaping import is_modern
from mcpgw.inbound.tasks import Tasks
from mcpgw.inbound.unattended import Unattended
from mcpgw.pipeline import Corridor
from mcpgw.ports import Catalog, Policy

_MAX_TRACESTATE: Final = 512
"""Characters that W3C Trace Context section 3.3.1.5 asks everybody to pass on."""


class Calls:
    """Everything between the SDK's context of a request that takes the corridor, and the corridor."""

    def __init__(
        self,
        *,
        corridor: Corridor,
        catalog: Catalog,
        policy: Policy,
        config: InboundConfig,
        in_flight: InFlight,
        tasks: Tasks,
        unattended: Unattended,
        parking: Parking,
    ) -> None:
        self._corridor = corridor
        self._catalog = catalog
        self._policy = policy
        self._config = config
        self._in_flight = in_flight
        self._tasks = tasks
        self._unattended = unattended
        self._parking = parking

    async def call(self, ctx: ServerRequestContext[Any, Any], *, log_level: str = "") -> dict[str, Any]:
        """Walk the call and return its result, before it is shaped for an era. `log_level`: of the session, if it set one.

        Raises:
            MCPError: the answer is a JSON-RPC error.
        """
        caller = caller_of(ctx)
        params = ctx.params or {}
        modern = is_modern(ctx.protocol_version)
        outer = asked_of(ctx.method, params, self._catalog)
        asked = inner_of(outer, self._catalog) if self._check(outer, caller, modern=modern) else outer
        if asked is not outer:
            self._check(asked, caller, modern=modern)
        token = progress_token_from_params(params)
        presentation = self._presentation(ctx, asked.kind)
        this_round = round_of(ctx)
        patience = self._config.patience.of(client_of(ctx)[0], wants_progress=token is not None)
        peer = RequestPeer(ctx, token=token, log_level=log_level, answer_timeout_s=self._config.answer_timeout_s)
        request = Request(
            identity=caller.identity,
            kind=asked.kind,
            name=asked.name,
            arguments=with_answers(asked.sent, this_round.answers),
            origin=replace(origin_of(ctx), via=asked.via),
            patience=_patience(presentation, this_round, patience),
            meta=_forwarded(params.get("_meta") or {}, log_level) | (TAKES_TASKS if declares_tasks(ctx) else {}),
            declares=declares(ctx) if self._may_be_asked(asked, caller) else {},
            resumes=this_round.resumes,
        )
        caller.trail.recorded = True  # from here on by the corridor
        answer = await self._answer(request, peer, caller, this_round)
        if isinstance(answer, Parked):
            return asked_meanwhile(answer.peer.questions.requests, answer.id)
        attended = isinstance(answer, Held) and self._wait_for(answer, caller, request)
        meta = held_meta(answer, self._config.public_url, receipts=self._config.receipts, attended=attended)
        if isinstance(answer, Held) and presentation is Presentation.TASK:
            return await self._tasks.created(answer, caller.identity, meta)
        if isinstance(answer, Held) and presentation is Presentation.URL and this_round.can_ask(meta):
            return this_round.asking(answer, meta)
        if isinstance(answer, Completed) and answer.reply.asks and peer.in_rounds and not answer.replayed_from:
            return asked_by_server(answer.reply, completed_meta(answer, receipts=self._config.receipts))
        try:
            return to_result(
                answer,
                asked.target,
                public_url=self._config.public_url,
                receipts=self._config.receipts,
                attended=attended,
                uri=asked.uri,
                modern=modern,
            )
        except MCPError as error:
            raise (misses_it_of_the_gateway(error) if _is_declared(ctx, error) else error) from None

    def _check(self, asked: Asked, caller: Caller, *, modern: bool) -> bool:
        """Refuse what could be read in two ways, where the caller may know what the target declares; return whether it may."""
        if not isinstance(asked.target, Target) or not self._policy.sees(caller.identity, asked.target):
            return False
        if has_case_variant(asked.arguments, schema_of(asked.target)):
            raise MCPError(INVALID_PARAMS, f"An argument has the name of one of the {asked.kind.value}'s but for its case.")
        if modern and asked.kind is TargetKind.TOOL and not asked.via:  # the head is about what the client itself named
            _check_parameter_headers(asked.target, asked.arguments, caller.headers)
        return True

    def _presentation(self, ctx: ServerRequestContext[Any, Any], kind: TargetKind) -> Presentation:
        """Return how a held call is presented. Only a tool's can be a task, by the extension."""
        allowed = self._config.presentations
        if kind is not TargetKind.TOOL:
            allowed = allowed - {Presentation.TASK}
        return choose(ctx, allowed, has_pages=bool(self._config.public_url))

    def _may_be_asked(self, asked: Asked, caller: Caller) -> bool:
        """Whether the target's server may ask this caller anything. Nobody is asked to complete an argument."""
        target = asked.target
        if isinstance(target, UnknownTarget) or not target.questions or asked.kind is TargetKind.COMPLETION:
            return False
        return self._policy.sees(caller.identity, target)

    async def _answer(self, request: Request, peer: RequestPeer, caller: Caller, this_round: Round) -> Answer | Parked:
        """Walk, or go on with what this round answers. A call whose client has something to answer stays parked.

        Raises:
            Turned: there is no room for a call that can be asked, or none waits for what this round answers.
        """
        if this_round.parked:
            caller.trail.recorded = False  # nothing walks: whoever may not go on with the call is recorded at the rim
            parked = self._parking.resume(this_round.parked, peer, caller.identity, this_round.answers.responses)
            caller.trail.recorded = True
        elif peer.in_rounds and request.declares:
            parked = self._parking.begin(peer, caller.identity, lambda kept: self._walk(request, kept, caller))
        else:
            return await self._walk(request, peer, caller)
        return await self._parking.next(parked)

    async def _walk(self, request: Request, peer: RequestPeer | ParkedPeer, caller: Caller) -> Answer:
        answers: list[Answer] = []
        with anyio.move_on_after(self._config.call_timeout_s) as scope:
            self._in_flight.enter(scope)
            try:
                async with anyio.create_task_group() as tasks:
                    peer.once_held(lambda: tasks.start_soon(_end_without_client, caller.gone, scope))
                    answers.append(await self._corridor.walk(request, peer))
                    tasks.cancel_scope.cancel()
            finally:
                self._in_flight.leave(scope)
                if not answers and not peer.is_cancelled:  # its client left, or it took too long
                    for waiting in peer.waits:
                        self._wait_for(waiting, caller, request)
        if answers:
            return answers[0]
        why = "The gateway is shutting down" if self._in_flight.stopping else "The call took too long"
        raise MCPError(
            INTERNAL_ERROR, f"{why}, so it was given up. It may have had an effect; the record says how far it came."
        )

    def _wait_for(self, held: Held | Waiting, caller: Caller, request: Request) -> bool:
        """Wait in the client's place where the rule says so. Only a tool has an effect that is wanted without its answer."""
        if request.kind is not TargetKind.TOOL or not held.unattended or held.running:
            return False
        return self._unattended.wait_for(held.approval_id, caller, request.origin)


def _is_declared(ctx: ServerRequestContext[Any, Any], error: MCPError) -> bool:
    """Tell whether a server misses a client capability that this client has."""
    if error.error.code != MISSING_REQUIRED_CLIENT_CAPABILITY:
        return False
    return isinstance(error.error.data, dict) and declares_all(ctx, error.error.data.get("requiredCapabilities"))


def _patience(presentation: Presentation, this_round: Round, client: Patience) -> Patience:
    """Return how long a held call waits before its client is told so in this way."""
    match presentation:
        case Presentation.URL:
            return this_round.patience(client)
        case Presentation.PROGRESS:
            return client
        case Presentation.TASK | Presentation.PENDING:
            return replace(client, budget_s=0.0)


async def _end_without_client(gone: anyio.Event, scope: anyio.CancelScope) -> None:
    """Cancel a held call whose client has left, so that an approval later runs nothing that nobody waits for: not by this
    request. Where the rule lets it run unattended, it is waited for apart from it.

    2026-07-28 connections and pipes cancel by themselves. Before, a broken stream is no cancellation (2025-11-25
    basic/transports), so a call that is already with its upstream goes on; but its hold ends here.
    """
    await gone.wait()
    scope.cancel()


def _check_parameter_headers(target: Target, arguments: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """Refuse `Mcp-Param-*` headers that contradict the body (2026-07-28 basic/transports).

    Not by the SDK's own hook: that runs before anyone knows who asks, so its error would betray tools that are hidden.
    """
    schema = target.definition.get("inputSchema")
    if not headers or not x_mcp_header_map(schema):
        return
    rejection = validate_mcp_param_headers(schema, arguments, headers)
    if isinstance(rejection, InboundLadderRejection):
        raise MCPError(rejection.code, rejection.message, rejection.data)


def _forwarded(meta: Mapping[str, Any], log_level: str) -> dict[str, Any]:
    """What of `_meta` goes to the upstream: trace context and log level, and nothing that could say what the call does.

    The level of a session stands for that of its requests, which an earlier protocol does not have.

    Policy does not judge `_meta`, an approval does not bind it (clients write another id into it with each call), and the
    record does not hold it. So an upstream that heeds a key of it could be told one thing for the approval and another for
    the call.
    """
    wanted = log_level or meta.get(LOG_LEVEL_META_KEY)
    level = {LOG_LEVEL_META_KEY: wanted} if isinstance(wanted, str) and wanted in SEVERITY else {}
    traceparent, tracestate = meta.get("traceparent"), meta.get("tracestate")
    if not is_traceparent(traceparent):
        return level
    told = isinstance(tracestate, str) and len(tracestate) <= _MAX_TRACESTATE
    return {**level, "traceparent": traceparent, **({"tracestate": tracestate} if told else {})}
