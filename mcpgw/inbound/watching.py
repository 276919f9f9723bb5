"""Who is told that a list of its changed: only those whose own list did, and never what changed."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import anyio
from mcp.server.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated, ServerEvent, ToolsListChanged

from mcpgw.core.model import Identity, TargetKind
from mcpgw.inbound.listing import Lists

EVENTS: Final[Mapping[TargetKind, ServerEvent]] = {
    TargetKind.TOOL: ToolsListChanged(),
    TargetKind.PROMPT: PromptsListChanged(),
    TargetKind.RESOURCE: ResourcesListChanged(),
}
"""What can change, and what is told then; templates count as resources."""

_TELL_TIMEOUT_S = 5.0
"""A client that does not read its stream must not hold up the others; it is told nothing and asks again by itself."""


@dataclass(slots=True, eq=False)
class _Watcher:
    identity: Identity
    kind: TargetKind
    tell: Callable[[], Awaitable[None]]
    seen: str


class Watchers:
    """Open connections by identity, with a fingerprint of the list that each was last known to see."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists
        self._watchers: set[_Watcher] = set()

    def add(self, identity: Identity, kind: TargetKind, tell: Callable[[], Awaitable[None]]) -> Callable[[], None]:
        """Call `tell` whenever the identity's list of that kind changes; return how to stop that, once or more."""
        watcher = _Watcher(identity, kind, tell, self._lists.fingerprint(identity, kind))
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    async def announce(self) -> None:
        """Tell everybody whose list is no longer what it was."""
        async with anyio.create_task_group() as tasks:
            for watcher in list(self._watchers):
                now = self._lists.fingerprint(watcher.identity, watcher.kind)
                if now != watcher.seen:
                    watcher.seen = now
                    tasks.start_soon(_tell, watcher)


async def _tell(watcher: _Watcher) -> None:
    with anyio.move_on_after(_TELL_TIMEOUT_S):
        await watcher.tell()


class OwnListBus:
    """The SDK's `SubscriptionBus` for one `subscriptions/listen` stream of one identity."""

    def __init__(self, watchers: Watchers, identity: Identity) -> None:
        self._watchers = watchers
        self._identity = identity
        self._listener: Callable[[ServerEvent], None] | None = None  # None until the stream listens
        self._early: list[ServerEvent] = []
        """What happened before that."""

    async def resource_updated(self, uri: str) -> None:
        """Tell the stream that a resource changed, by the URI that it asked for."""
        if self._listener is None:
            self._early.append(ResourceUpdated(uri=uri))
        else:
            self._listener(ResourceUpdated(uri=uri))

    async def publish(self, event: ServerEvent) -> None:
        """Nothing publishes here: `Watchers.announce` and `Subscriptions` are the sources."""

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        self._listener = listener
        for event in self._early:
            listener(event)

        def watching(kind: TargetKind) -> Callable[[], None]:
            async def tell() -> None:
                listener(EVENTS[kind])

            return self._watchers.add(self._identity, kind, tell)

        forgetting = [watching(kind) for kind in EVENTS]

        def forget() -> None:
            for one in forgetting:
                one()

        return forget
