"""`tools/call`: from validated parameters to a `Request`, through the corridor, and the answer back to a result."""

import re
from collections.abc import Mapping
from typing import Any, Final

import anyio
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import InboundLadderRejection, validate_mcp_param_headers, x_mcp_header_map
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params
from mcp_types.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS

from mcpgw.core.model import Answer, Origin, Request, Target, TargetKind
from mcpgw.inbound.answers import to_result
from mcpgw.inbound.argument_names import has_case_variant
from mcpgw.inbound.caller import Caller, caller_of
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.in_flight import InFlight
from mcpgw.inbound.peer import RequestPeer
from mcpgw.inbound.shaping import is_modern
from mcpgw.pipeline import Corridor
from mcpgw.ports import Catalog, Policy

_MAX_NAME: Final = 256
"""Characters. Published names have at most 64, and every name asked for is recorded."""
_MAX_HINT: Final = 128
"""Characters of what a client claims about itself, for the record."""
_MAX_TRACESTATE: Final = 512
"""Characters that W3C Trace Context section 3.3.1.5 asks everybody to pass on."""
_CONVERSATION: Final = ("mcpgw/conversation", "openai/session", "vscode.conversationId")
"""Keys of `_meta` that name the conversation: ours, and what clients in use send. The specification has none."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context section 3.2.2, version 00 and what later versions keep of it."""


class ToolCalls:
    """Everything between the SDK's context of a `tools/call` and the corridor."""

    def __init__(
        self, *, corridor: Corridor, catalog: Catalog, policy: Policy, config: InboundConfig, in_flight: InFlight
    ) -> None:
        self._corridor = corridor
        self._catalog = catalog
        self._policy = policy
        self._config = config
        self._in_flight = in_flight

    async def call(self, ctx: ServerRequestContext[Any, Any], *, log_floor: str = "debug") -> dict[str, Any]:
        """Walk the call and return its result, before it is shaped for an era.

        Raises:
            MCPError: the answer is a JSON-RPC error.
        """
        caller = caller_of(ctx)
        params = ctx.params or {}
        name, arguments = _named(params)
        meta: Mapping[str, Any] = params.get("_meta") or {}
        token = progress_token_from_params(params)
        target = self._catalog.find(TargetKind.TOOL, name)
        if isinstance(target, Target) and self._policy.sees(caller.identity, target):
            if has_case_variant(arguments, target.definition.get("inputSchema")):
                raise MCPError(INVALID_PARAMS, "An argument has the name of one of the tool's but for its case.")
            if is_modern(ctx.protocol_version):
                _check_parameter_headers(target, arguments, caller.headers)
        client = _client(ctx)
        request = Request(
            identity=caller.identity,
            kind=TargetKind.TOOL,
            name=name,
            arguments=arguments,
            origin=_origin(ctx, caller, client, meta),
            patience=self._config.patience.of(client[0], wants_progress=token is not None),
            meta=_forwarded(meta),
        )
        caller.trail.recorded = True  # from here on by the corridor
        answer = await self._walk(request, RequestPeer(ctx, token=token, log_floor=log_floor), caller.gone)
        return to_result(answer, target, public_url=self._config.public_url, receipts=self._config.receipts)

    async def _walk(self, request: Request, peer: RequestPeer, gone: anyio.Event) -> Answer:
        answers: list[Answer] = []
        with anyio.move_on_after(self._config.call_timeout_s) as scope:
            self._in_flight.enter(scope)
            try:
                async with anyio.create_task_group() as tasks:
                    peer.once_held(lambda: tasks.start_soon(_end_without_client, gone, scope))
                    answers.append(await self._corridor.walk(request, peer))
                    tasks.cancel_scope.cancel()
            finally:
                self._in_flight.leave(scope)
        if answers:
            return answers[0]
        why = "The gateway is shutting down" if self._in_flight.stopping else "The call took too long"
        raise MCPError(
            INTERNAL_ERROR, f"{why}, so it was given up. It may have had an effect; the record says how far it came."
        )


async def _end_without_client(gone: anyio.Event, scope: anyio.CancelScope) -> None:
    """Cancel a held call whose client has left, so that an approval later runs nothing that nobody waits for.

    2026-07-28 connections and pipes cancel by themselves. Before, a broken stream is no cancellation (2025-11-25
    basic/transports), so a call that is already with its upstream goes on; but its hold ends here.
    """
    await gone.wait()
    scope.cancel()


def _named(params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return name and arguments. The SDK's models let some of these through, and policy must not meet them."""
    name, arguments = params.get("name"), params.get("arguments")
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
        raise MCPError(INVALID_PARAMS, f"A tool's name must be a string of 1 to {_MAX_NAME} characters.")
    if arguments is None:
        return name, {}
    if not isinstance(arguments, dict):
        raise MCPError(INVALID_PARAMS, "A tool's arguments must be an object.")
    return name, arguments


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


def _client(ctx: ServerRequestContext[Any, Any]) -> tuple[str, str]:
    """Name and version that the client claims; empty where it does not introduce itself."""
    params = ctx.session.client_params
    if params is None:
        return "", ""
    return params.client_info.name[:_MAX_HINT], params.client_info.version[:_MAX_HINT]


def _origin(ctx: ServerRequestContext[Any, Any], caller: Caller, client: tuple[str, str], meta: Mapping[str, Any]) -> Origin:
    traceparent = meta.get("traceparent")
    return Origin(
        transport=caller.transport,
        protocol_version=ctx.protocol_version,
        request_id=str(ctx.request_id),
        address=caller.address,
        client="/".join(part for part in client if part),
        traceparent=str(traceparent) if _is_traceparent(traceparent) else "",
        session=caller.session,
        conversation=_conversation(meta),
    )


def _conversation(meta: Mapping[str, Any]) -> str:
    """What the client calls its conversation, by the first of the keys that it sends; empty where it says nothing of use."""
    said = (meta.get(key) for key in _CONVERSATION)
    return next((value for value in said if isinstance(value, str) and 0 < len(value) <= _MAX_HINT), "")


def _forwarded(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What of `_meta` goes to the upstream: the trace context, and nothing that could say what the call does.

    Policy does not judge `_meta`, an approval does not bind it (clients write another id into it with each call), and the
    record does not hold it. So an upstream that heeds a key of it could be told one thing for the approval and another for
    the call.
    """
    traceparent, tracestate = meta.get("traceparent"), meta.get("tracestate")
    if not _is_traceparent(traceparent):
        return {}
    told = isinstance(tracestate, str) and len(tracestate) <= _MAX_TRACESTATE
    return {"traceparent": traceparent, **({"tracestate": tracestate} if told else {})}


def _is_traceparent(value: object) -> bool:
    return isinstance(value, str) and _TRACEPARENT.fullmatch(value) is not None
