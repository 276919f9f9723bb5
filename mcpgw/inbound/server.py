"""The gateway as one MCP server: the SDK's kernel with our own answers to what carries payloads.

The SDK routes eras, keeps sessions and frames messages. What lists, calls, gets, reads and completes is answered by a
middleware with plain dicts, because results that pass through the SDK's models lose what the models do not know.
"""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import anyio
import mcp_types
import mcp_types.methods
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import handler_exception_to_error_data
from mcp_types.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND

from mcpgw.core.model import (
    JsonObject,
    RefusalCode,
    Refused,
    TargetKind,
)
from mcpgw.core.tasks import TASKS_EXTENSION
from mcpgw.inbound.asked import KINDS
from mcpgw.inbound.caller import caller_of
from mcpgw.inbound.calling import Calls
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.entries import Publish
from mcpgw.inbound.gate import Challenge, Rim
from mcpgw.inbound.head import Turned
from mcpgw.inbound.in_flight import InFlight
from mcpgw.inbound.listing import LISTING_OF, Lists
from mcpgw.inbound.origin import origin_of
from mcpgw.inbound.parking import Parking
from mcpgw.inbound.presentation import Presentation
from mcpgw.inbound.rounds import INVALID_STATE, StateSeal
from mcpgw.inbound.shaping import is_modern, shape_result
from mcpgw.inbound.shares import must_have_room
from mcpgw.inbound.subscriptions import Subscriptions, Unsubscribe, telling_of_resources
from mcpgw.inbound.task_stream import telling_of_tasks
from mcpgw.inbound.task_view import TaskViewer
from mcpgw.inbound.tasks import METHODS, Tasks
from mcpgw.inbound.unattended import Unattended
from mcpgw.inbound.watching import OwnListBus, Watchers
from mcpgw.pipeline import Corridor
from mcpgw.ports import Authenticator, Catalog, HeldCalls, ListingPolicy

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]

_LOG_LEVEL: Final = "mcpgw.log_level"
"""Key of a legacy connection's state: the level of its last `logging/setLevel`."""
_WATCHED: Final = "mcpgw.watched"
"""Key of a legacy connection's state: it is told of changes already, however often it says that it is initialized."""
_SUBSCRIBED: Final = "mcpgw.subscribed"
"""Key of a legacy connection's state: its subscriptions to resources."""
_CANCEL_GRACE_S: Final = 10.0
"""After a shutdown cancelled the calls: time for their outcomes to become durable."""
_WRONG_STATE: Final = "A requestState was refused: it was not given to this caller for this call, or has expired."
_FLUSH_S: Final = 0.2
"""After the last call was answered: its bytes are written by other tasks, which give no sign when they are done."""


class GatewayServer:
    """One per process, whatever the transports. `http.make_app` and `stdio.serve_stdio` put it on the wire."""

    def __init__(
        self,
        *,
        config: InboundConfig,
        corridor: Corridor,
        catalog: Catalog,
        policy: ListingPolicy,
        authenticator: Authenticator,
        publish: Publish,
        challenge: Challenge,
        resource_metadata: Callable[[], JsonObject],
        ready: Callable[[], Mapping[str, str]],
        held_calls: HeldCalls,
        unsubscribe: Unsubscribe,
    ) -> None:
        """
        publish: the definition to list for a target, under its published name.
        challenge: the value of `WWW-Authenticate` for what was wrong with a credential (empty: there was none).
        resource_metadata: the RFC 9728 document, or an empty object where there is no authorization server.
        ready: problems by name; empty means ready.
        unsubscribe: ends the subscription to a resource at its server, which nobody here has any more.
        """
        self.config = config
        self.corridor = corridor
        self.resource_metadata = resource_metadata
        self._ready = ready
        self._draining = False
        self._in_flight = InFlight()
        self._lists = Lists(catalog=catalog, policy=policy, publish=publish, config=config)
        self.kernel = _kernel(self)
        self._tasks = Tasks(
            calls=held_calls,
            corridor=corridor,
            catalog=catalog,
            policy=policy,
            viewer=TaskViewer(
                public_url=config.public_url,
                server_info=self.kernel.server_info_stamp,
                after_deadline_s=config.call_timeout_s,
            ),
            in_flight=self._in_flight,
            call_timeout_s=config.call_timeout_s,
            answer_timeout_s=config.answer_timeout_s,
        )
        self._calls = Calls(
            corridor=corridor,
            catalog=catalog,
            policy=policy,
            config=config,
            in_flight=self._in_flight,
            tasks=self._tasks,
            unattended=Unattended(
                tasks=self._tasks,
                calls=held_calls,
                most=config.max_unattended,
                most_per_identity=config.max_unattended_per_identity,
                is_draining=lambda: self._draining,
            ),
            parking=Parking(
                tasks=self._tasks,
                most=config.max_parked,
                most_per_identity=config.max_parked_per_identity,
                answer_timeout_s=config.answer_timeout_s,
            ),
        )
        self._state = StateSeal(config.state_key, audience=config.name, lifetime_s=config.state_lifetime_s)
        self._watchers = Watchers(self._lists)
        self._subscriptions = Subscriptions(corridor=corridor, catalog=catalog, config=config, unsubscribe=unsubscribe)
        self._listening: dict[ListenHandler, str] = {}
        """Open streams of `subscriptions/listen`, and the principal of each."""
        self.rim = Rim(
            corridor=corridor,
            authenticator=authenticator,
            challenge=challenge,
            config=config,
            is_draining=lambda: self._draining,
        )

    def problems(self) -> Mapping[str, str]:
        """Return why this process should be sent no requests now; empty while it should."""
        stopping = {"shutdown": "The gateway is shutting down."} if self._draining else {}
        return {**stopping, **self._ready()}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold this open while requests are served: in it, approved calls run for clients that ask for their tasks, and
        unattended where their rule says so; and clients are told of resources that changed."""
        async with self._tasks.running(), self._subscriptions.running():
            yield

    async def prepare_lists(self) -> None:
        """Do ahead what the first client after a start, or after a change of the catalog, would wait for."""
        await self._lists.prepare()

    async def notify_list_changed(self) -> None:
        """Tell every open connection of which own list changed since it was last told, and nobody else. Whoever may hear of a
        resource no more hears of it no more."""
        await self._subscriptions.review()
        await self._watchers.announce()

    def resource_updated(self, server: str, uri: str) -> None:
        """Have those told who subscribed to a resource, by the URI that its server knows."""
        self._subscriptions.updated(server, uri)

    async def drain(self, grace_s: float) -> None:
        """Take no more requests, let the calls under way finish, and end those that have not after `grace_s` seconds.

        When it returns, every call that was under way has an outcome in the ledger, and every standing stream is closed.
        """
        self._draining = True
        busy = bool(self._in_flight.scopes or self._listening)
        with anyio.move_on_after(grace_s):
            await self._in_flight.drained()
        if self._in_flight.scopes:
            logger.warning("shutdown: %d calls are ended after %g s", len(self._in_flight.scopes), grace_s)
            self._in_flight.cancel()
            with anyio.move_on_after(_CANCEL_GRACE_S):
                await self._in_flight.drained()
        for listening in list(self._listening):
            listening.close()
        if busy:
            await anyio.sleep(_FLUSH_S)
        for closing in list(self.rim.standing):
            closing.set()

    async def serve_message(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Answer one message of any transport and era. The SDK's middleware protocol, which is provisional.

        Raises:
            MCPError: the answer is a JSON-RPC error; nothing else leaves, since the SDK would show it to the client.
        """
        try:
            match ctx.method:
                case method if method in LISTING_OF:
                    return self._list(ctx)
                case method if method in KINDS:
                    return await self._call(ctx)
                case method if method in METHODS and self._has_tasks(ctx):
                    return self._shaped(ctx, await self._tasks.answer(ctx))
                case "notifications/initialized":
                    await call_next(ctx)
                    self._watch(ctx)
                    return None
                case _:
                    return await call_next(ctx)
        except Exception as error:
            # The SDK would show `str(error)` to a legacy client. It becomes a code and a fixed text, and is recorded.
            raise await self._refusal(ctx, error) from None

    async def _refusal(self, ctx: Context, error: Exception) -> MCPError:
        known = handler_exception_to_error_data(error)
        if known is None:
            logger.error("a %s message failed", ctx.method[:64], exc_info=error)
            await self._reject(ctx, RefusalCode.UNAVAILABLE, f"The {ctx.method[:64]} message failed in the gateway.")
            return MCPError(INTERNAL_ERROR, "Internal error")
        why = f"The {ctx.method[:64]} message was refused: JSON-RPC {known.code}."
        await self._note(ctx, known.code, _WRONG_STATE if known.data == INVALID_STATE else why)
        return MCPError.from_error_data(known)

    def _list(self, ctx: Context) -> dict[str, Any]:
        _validate(ctx)
        modern = is_modern(ctx.protocol_version)
        cursor = (ctx.params or {}).get("cursor")
        caller, listing = caller_of(ctx), LISTING_OF[ctx.method]
        page = self._lists.page(caller.identity, listing, cursor, modern=modern)
        entries = [enclosed.stand_in(page.entries) for enclosed in caller.enclosed]
        return self._shaped(ctx, {listing.value: entries[0] if entries else page.decoded(), **page.about})

    async def _call(self, ctx: Context) -> HandlerResult:
        _validate(ctx)
        log_level = _connection(ctx).state.get(_LOG_LEVEL, "")

        async def answer(opened: Context) -> HandlerResult:
            async with self._turning_away(opened):
                return self._shaped(opened, await self._calls.call(opened, log_level=log_level))

        return await self._state.around(ctx, answer)

    def _has_tasks(self, ctx: Context) -> bool:
        """Elsewhere the methods do not exist; before 2026-07-28 others had their names."""
        return Presentation.TASK in self.config.presentations and is_modern(ctx.protocol_version)

    def _shaped(self, ctx: Context, result: dict[str, Any]) -> dict[str, Any]:
        return shape_result(result, modern=is_modern(ctx.protocol_version), server_info=self.kernel.server_info_stamp)

    def _watch(self, ctx: Context) -> None:
        """A legacy session is told of changes on its own stream for as long as it lives; modern clients listen instead."""
        connection = _connection(ctx)
        if is_modern(ctx.protocol_version) or not connection.initialize_accepted or connection.state.get(_WATCHED):
            return
        connection.state[_WATCHED] = True
        told = {
            TargetKind.TOOL: connection.send_tool_list_changed,
            TargetKind.PROMPT: connection.send_prompt_list_changed,
            TargetKind.RESOURCE: connection.send_resource_list_changed,
        }
        for kind, tell in told.items():
            connection.exit_stack.callback(self._watchers.add(caller_of(ctx).identity, kind, tell))

    async def listen(
        self, ctx: Context, params: mcp_types.SubscriptionsListenRequestParams
    ) -> mcp_types.SubscriptionsListenResult:
        """Serve one `subscriptions/listen` stream until its client leaves or the gateway drains."""
        identity = caller_of(ctx).identity
        bus = OwnListBus(self._watchers, identity)
        listening = ListenHandler(bus)
        async with self._turning_away(ctx):
            must_have_room(identity.principal, self._listening.values(), self.config, "subscriptions")
            self._listening[listening] = identity.principal
            try:
                async with (
                    telling_of_resources(ctx, params, self._subscriptions, bus) as agreed,
                    telling_of_tasks(ctx, self._tasks) as told,
                ):
                    return await listening(told, agreed)
            finally:
                del self._listening[listening]

    async def subscribe(self, ctx: Context, params: mcp_types.SubscribeRequestParams) -> mcp_types.EmptyResult:
        """Tell a session of before 2026-07-28 of changes of a resource, on its own stream and for as long as it lives."""
        connection, uri = _connection(ctx), str(params.uri)
        async with self._turning_away(ctx):
            opened = await self._subscriptions.open(ctx, uri, partial(connection.send_resource_updated, uri))
        _subscribed(connection).pop(uri, _nothing)()  # a second subscription takes the place of the first
        _subscribed(connection)[uri] = opened
        return mcp_types.EmptyResult()

    async def unsubscribe(self, ctx: Context, params: mcp_types.UnsubscribeRequestParams) -> mcp_types.EmptyResult:
        """End a session's subscription. One that it does not have is over already."""
        _subscribed(_connection(ctx)).pop(str(params.uri), _nothing)()
        return mcp_types.EmptyResult()

    @asynccontextmanager
    async def _turning_away(self, ctx: Context) -> AsyncIterator[None]:
        """Record that there was no room, or that nothing waited for this, and say so.

        Raises:
            MCPError: in place of `Turned`.
        """
        try:
            yield
        except Turned as turned:
            caller = caller_of(ctx)
            caller.trail.recorded = True
            refused = Refused(code=turned.code, reason=str(turned))
            await self.corridor.reject(origin_of(ctx), refused, caller.identity.principal)
            raise MCPError(INTERNAL_ERROR, str(turned)) from None

    async def _note(self, ctx: Context, code: int, reason: str) -> None:
        """Record a refusal that the corridor has not seen. Asking for an unknown method is how clients find their way."""
        if code not in (METHOD_NOT_FOUND, INTERNAL_ERROR):
            await self._reject(ctx, RefusalCode.MALFORMED, reason)

    async def _reject(self, ctx: Context, code: RefusalCode, reason: str) -> None:
        caller = caller_of(ctx)
        if not caller.trail.recorded:
            caller.trail.recorded = True
            await self.corridor.reject(origin_of(ctx), Refused(code=code, reason=reason), caller.identity.principal)


class _Kernel(Server[dict[str, Any]]):
    """The SDK's server; legacy handshakes learn from it that lists change."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        changing = notification_options or NotificationOptions(tools_changed=True, prompts_changed=True, resources_changed=True)
        # Legacy handshakes: what extensions add, they add to 2026-07-28.
        return super().create_initialization_options(changing, experimental_capabilities, extensions or {})


def _kernel(gateway: GatewayServer) -> _Kernel:
    async def by_middleware(_: Context, __: object) -> Any:
        """Registered so that the capability is declared; the middleware answers before it is reached."""
        raise MCPError(INTERNAL_ERROR, "Internal error")

    kernel = _Kernel(
        gateway.config.name,
        version=gateway.config.version,
        instructions=gateway.config.instructions or None,
        # Header parameters are checked in `calling`, where it is known who asks; without this the SDK lists all tools first.
        get_tool_input_schema=lambda _: None,
        on_list_tools=by_middleware,
        on_call_tool=by_middleware,
        on_list_prompts=by_middleware,
        on_get_prompt=by_middleware,
        on_list_resources=by_middleware,
        on_list_resource_templates=by_middleware,
        on_read_resource=by_middleware,
        on_completion=by_middleware,
        on_subscriptions_listen=gateway.listen,
        on_subscribe_resource=gateway.subscribe,
        on_unsubscribe_resource=gateway.unsubscribe,
    )
    if Presentation.TASK in gateway.config.presentations:
        kernel.extensions[TASKS_EXTENSION] = {}
    kernel.add_request_handler("logging/setLevel", mcp_types.SetLevelRequestParams, _set_level)
    kernel.middleware[:] = [gateway.serve_message]  # and not the default OpenTelemetry one
    return kernel


async def _set_level(ctx: Context, params: mcp_types.SetLevelRequestParams) -> mcp_types.EmptyResult:
    _connection(ctx).state[_LOG_LEVEL] = params.level
    return mcp_types.EmptyResult()


def _validate(ctx: Context) -> None:
    """What the SDK does for the handlers that it calls itself: the schema of that revision, and a handshake before it.

    Raises:
        MCPError, pydantic.ValidationError: as the SDK would.
    """
    mcp_types.methods.validate_client_request(ctx.method, ctx.protocol_version, ctx.params)
    if not _connection(ctx).initialize_accepted:
        raise MCPError(INVALID_PARAMS, "Invalid request parameters: initialize first")


def _subscribed(connection: Connection) -> dict[str, Callable[[], None]]:
    """What a session is subscribed to, by URI, and how to end that; all of it ends with the session."""
    if _SUBSCRIBED not in connection.state:
        subscribed: dict[str, Callable[[], None]] = {}
        connection.state[_SUBSCRIBED] = subscribed
        connection.exit_stack.callback(lambda: [end() for end in subscribed.values()])
    found: dict[str, Callable[[], None]] = connection.state[_SUBSCRIBED]
    return found


def _nothing() -> None:
    """How to end what there is not."""


def _connection(ctx: Context) -> Connection:
    """The one look behind the SDK's public face: state and end of a connection are offered nowhere else in `mcp` 2.3."""
    return ctx.session._connection
