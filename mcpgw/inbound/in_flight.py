"""The calls under way, so that a shutdown can wait for them and then end them."""

from dataclasses import dataclass, field

import anyio


@dataclass(slots=True)
class InFlight:
    """Each call's cancel scope, from before it walks the corridor until after."""

    scopes: set[anyio.CancelScope] = field(default_factory=set)
    stopping: bool = False
    _idle: anyio.Event = field(default_factory=anyio.Event)

    def enter(self, scope: anyio.CancelScope) -> None:
        self.scopes.add(scope)

    def leave(self, scope: anyio.CancelScope) -> None:
        self.scopes.discard(scope)
        if not self.scopes:
            self._idle.set()
            self._idle = anyio.Event()

    async def drained(self) -> None:
        while self.scopes:
            await self._idle.wait()

    def cancel(self) -> None:
        self.stopping = True
        for scope in list(self.scopes):
            scope.cancel()
