"""Who is told that a resource changed: subscriptions of sessions before 2026-07-28, and of streams since.

Each is judged as a read of the resource would be, and recorded. It stands while that stays so: whenever something changed, and
before anything is told, its caller's credential and the policy are asked again. A client is told the URI that it subscribed to,
and nothing that a server wrote.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import anyio
import mcp_types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from mcpgw.core.errors import AuthenticationError
from mcpgw.core.model import (
    Completed,
    Patience,
    ReplyKind,
    Request,
    Target,
    UnknownTarget,
)
from mcpgw.core.uris import MAX_URI, upstream_uri
from mcpgw.inbound.answers import to_result
from mcpgw.inbound.asked import Asked, asked_of
from mcpgw.inbound.caller import Caller, caller_of, session_owner
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.origin import origin_of
from mcpgw.inbound.peer import AbsentPeer, RequestPeer
from mcpgw.inbound.shaping import is_modern
from mcpgw.inbound.shares import must_have_room
from mcpgw.inbound.watching import OwnListBus
from mcpgw.pipeline import Corridor
from mcpgw.ports import Catalog

logger = logging.getLogger(__name__)

_CALM_S: Final = 0.1
"""Between two rounds of telling, however often servers say that something changed."""
_TELL_TIMEOUT_S: Final = 5.0
"""A client that does not read its stream must not hold up the others."""

_Key = tuple[str, str]
"""Server, and the URI as it knows it."""
Unsubscribe = Callable[[str, str], None]
"""Called with server and URI once nobody wants to hear of that resource any more."""

Context = ServerRequestContext[Any, Any]


@dataclass(slots=True, eq=False)
class _Subscription:
    caller: Caller
    request: Request
    key: _Key
    tell: Callable[[], Awaitable[None]]
    fingerprint: str
    """Of the server that was asked."""


class Subscriptions:
    """All of this process, in a bounded number: each server is asked once for each resource, whoever wants to hear of it."""

    def __init__(self, *, corridor: Corridor, catalog: Catalog, config: InboundConfig, unsubscribe: Unsubscribe) -> None:
        self._corridor = corridor
        self._catalog = catalog
        self._config = config
        self._unsubscribe = unsubscribe
        self._by_key: dict[_Key, set[_Subscription]] = {}
        self._holders: list[str] = []
        """The principal of each, those included that are not open yet."""
        self._opening: list[_Key] = []
        self._changed: set[_Subscription] = set()
        self._news = anyio.Event()
        self._moved: set[_Subscription] = set()
        """Those whose server is another one than was asked."""
        self._moves = anyio.Event()

    async def open(self, ctx: Context, uri: str, tell: Callable[[], Awaitable[None]]) -> Callable[[], None]:
        """Call `tell` whenever the resource changed, and return how to stop that, once or more.

        Raises:
            MCPError: there is no such resource, it may not be subscribed to, or its server does not tell of changes.
            Turned: there is no room for one more.
        """
        caller = caller_of(ctx)
        asked = asked_of("resources/read", {"uri": uri}, self._catalog)
        principal = caller.identity.principal
        must_have_room(principal, self._holders, self._config, "subscriptions to resources")
        found = upstream_uri(uri)
        subscription = _Subscription(caller, _request(ctx, asked), (found.server, found.uri), tell, _fingerprint(asked.target))
        self._holders.append(principal)
        self._opening.append(subscription.key)
        peer = RequestPeer(ctx, token=None, log_level="", answer_timeout_s=self._config.answer_timeout_s)
        opened = False
        try:
            caller.trail.recorded = True  # from here on by the corridor
            answer = await self._corridor.walk(subscription.request, peer)
            to_result(answer, asked.target, public_url="", receipts=False, uri=uri, modern=is_modern(ctx.protocol_version))
            opened = isinstance(answer, Completed)
        finally:
            self._opening.remove(subscription.key)
            if opened:
                self._by_key.setdefault(subscription.key, set()).add(subscription)
            else:
                self._holders.remove(principal)
                self._let_go(subscription.key)
        return lambda: self._close(subscription)

    def updated(self, server: str, uri: str) -> None:
        """Note that a resource changed, or one below it: a server may tell of a part of what was subscribed to
        (2025-11-25 schema, `ResourceUpdatedNotification`)."""
        for key in _covering(server, uri):
            self._changed |= self._by_key.get(key, set())
        if self._changed:
            self._news.set()

    async def review(self) -> None:
        """End those that would not be opened any more, by policy and catalog, and have the others opened again whose server is
        another one now: it knows of none."""
        for subscription in self._all():
            if not self._corridor.allows(subscription.request):
                self._close(subscription)
            elif self._server_of(subscription) != subscription.fingerprint:
                self._moved.add(subscription)
                self._moves.set()
            await anyio.lowlevel.checkpoint()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While this is open, clients are told, and credentials checked again every `recheck_s`."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tell_forever)
            tasks.start_soon(self._recheck_forever)
            tasks.start_soon(self._reopen_forever)
            yield
            tasks.cancel_scope.cancel()

    async def _tell_forever(self) -> None:
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            changed, self._changed = self._changed, set()
            async with anyio.create_task_group() as tasks:
                for subscription in changed:
                    tasks.start_soon(self._tell, subscription)
            await anyio.sleep(_CALM_S)

    async def _tell(self, subscription: _Subscription) -> None:
        if not await self._stands(subscription) or subscription not in self._by_key.get(subscription.key, ()):
            return
        try:
            with anyio.move_on_after(_TELL_TIMEOUT_S):
                await subscription.tell()
        except Exception:
            # Whatever is wrong with one client's stream ends its subscription: the others are told all the same.
            logger.exception("a subscription to a resource is ended: its client could not be told")
            self._close(subscription)

    async def _recheck_forever(self) -> None:
        while True:
            await anyio.sleep(self._config.recheck_s)
            for subscription in self._all():
                await self._stands(subscription)

    async def _reopen_forever(self) -> None:
        while True:
            await self._moves.wait()
            self._moves = anyio.Event()
            moved, self._moved = self._moved, set()
            async with anyio.create_task_group() as tasks:
                for subscription in moved:
                    tasks.start_soon(self._reopen, subscription)

    async def _reopen(self, subscription: _Subscription) -> None:
        """Ask the server that has the name now, in the place of the client: judged and recorded as its own request was.

        What is missed meanwhile nobody knows, so that the resource counts as changed. Where the server does not take it, the
        subscription is over.
        """
        if not await self._stands(subscription) or subscription not in self._by_key.get(subscription.key, ()):
            return
        subscription.fingerprint = self._server_of(subscription)
        self._opening.append(subscription.key)
        request = replace(subscription.request, origin=replace(subscription.request.origin, attended=False))
        answer = await self._corridor.walk(request, AbsentPeer(subscription.caller))
        self._opening.remove(subscription.key)
        if not (isinstance(answer, Completed) and answer.reply.kind is ReplyKind.RESULT):
            logger.info("a subscription to a resource is ended: its server is another one now, and did not take it")
            self._close(subscription)
        elif subscription in self._by_key.get(subscription.key, ()):
            self._changed.add(subscription)
            self._news.set()
        else:
            self._let_go(subscription.key)

    def _server_of(self, subscription: _Subscription) -> str:
        """Return the fingerprint of the server that has the resource now."""
        return _fingerprint(self._catalog.find(subscription.request.kind, subscription.request.name))

    async def _stands(self, subscription: _Subscription) -> bool:
        """Ask again whether the caller is who it was and may hear of it; where not, it is over."""
        try:
            identity = await subscription.caller.identify()
        except AuthenticationError as error:
            logger.info("a subscription to a resource is ended: %s", error)
            self._close(subscription)
            return False
        except Exception:
            # Whatever is wrong with keys or issuers: who cannot be checked is told nothing.
            logger.exception("a subscription to a resource is ended: its credential could not be checked")
            self._close(subscription)
            return False
        now = replace(subscription.request, identity=identity)
        stands = session_owner(identity) == session_owner(subscription.caller.identity) and self._corridor.allows(now)
        if not stands:
            self._close(subscription)
        return stands

    def _all(self) -> list[_Subscription]:
        return [one for subscriptions in self._by_key.values() for one in subscriptions]

    def _close(self, subscription: _Subscription) -> None:
        standing = self._by_key.get(subscription.key, set())
        if subscription in standing:
            standing.remove(subscription)
            self._holders.remove(subscription.caller.identity.principal)
            self._changed.discard(subscription)
            self._moved.discard(subscription)
            self._let_go(subscription.key)

    def _let_go(self, key: _Key) -> None:
        """Unsubscribe from the server, unless somebody else wants to hear of it, or is about to."""
        if not self._by_key.get(key) and key not in self._opening:
            self._by_key.pop(key, None)
            self._unsubscribe(*key)


@asynccontextmanager
async def telling_of_resources(
    ctx: Context, params: mcp_types.SubscriptionsListenRequestParams, subscriptions: Subscriptions, bus: OwnListBus
) -> AsyncIterator[mcp_types.SubscriptionsListenRequestParams]:
    """Yield the parameters with those resources alone whose changes are told, on the bus, until the block ends.

    The others are on record, and not acknowledged: what a stream does not agree to, it leaves out (2026-07-28, subscriptions).

    Raises:
        Turned: there is no room for as many.
    """
    agreed: list[str] = []
    with ExitStack() as opened:
        for uri in dict.fromkeys(params.notifications.resource_subscriptions or ()):
            try:
                opened.callback(await subscriptions.open(ctx, uri, partial(bus.resource_updated, uri)))
            except MCPError as error:
                logger.info("a subscription to a resource is not agreed to: JSON-RPC %d", error.error.code)
                continue
            agreed.append(uri)
        wanted = params.notifications.model_copy(update={"resource_subscriptions": agreed or None})
        yield params.model_copy(update={"notifications": wanted})


def _fingerprint(target: Target | UnknownTarget) -> str:
    return target.server_fingerprint if isinstance(target, Target) else ""


def _request(ctx: Context, asked: Asked) -> Request:
    return Request(
        identity=caller_of(ctx).identity,
        kind=asked.kind,
        name=asked.name,
        arguments=asked.sent,
        origin=origin_of(ctx),
        patience=Patience(budget_s=0.0),
        subscribes=True,
    )


def _covering(server: str, uri: str) -> list[_Key]:
    """Return the keys of a URI and of every URI above it, which end at one of its slashes: of those that anybody can have
    subscribed to, however long a URI a server tells of."""
    ends = [position for position, character in enumerate(uri[:MAX_URI]) if character == "/"]
    above = [uri[:end] for end in ends] + [uri[: end + 1] for end in ends]
    return [(server, one) for one in dict.fromkeys([uri, *above])]
