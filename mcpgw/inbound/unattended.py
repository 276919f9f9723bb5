"""Held calls whose rule lets them run while nobody waits: this process waits in their clients' place.

What it does once people have approved is what a task's poll does (`Tasks.take_up`): the identical call is made again from what
the desk kept, and walks the corridor under its approval or not at all. So the ledger keeps it from running twice, whatever else
takes it up, and the caller's credential, the policy and the tool are judged again. Nothing is stored: a gateway that ends runs
nothing, and the approval stands for the identical call.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import anyio

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.model import Origin
from mcpgw.inbound.caller import Caller
from mcpgw.inbound.task_view import WAITING
from mcpgw.inbound.tasks import Tasks
from mcpgw.ports import ApprovalState, HeldCalls

logger = logging.getLogger(__name__)

_RECHECK_S: Final = 30.0
"""Longest time between two looks at the ledger. Changes are noticed at once; this bounds what a lost notice costs."""
_RETRY_S: Final = 5.0
"""Pause while the ledger cannot be read."""


@dataclass(frozen=True, slots=True)
class _Client:
    """Who asked last for one held call, and from where; the call that is made in his place says that he does not make it."""

    caller: Caller
    origin: Origin


@dataclass(slots=True, kw_only=True)
class Unattended:
    """The calls that this process waits for by itself, by their approval; few enough that each can be looked at."""

    tasks: Tasks
    calls: HeldCalls
    most: int
    most_per_identity: int
    is_draining: Callable[[], bool]
    _clients: dict[str, _Client] = field(default_factory=dict)

    def wait_for(self, approval_id: str, caller: Caller, origin: Origin) -> bool:
        """Go on waiting for a held call of this caller's until it is decided, and run it if it is approved.

        Of an approval that is waited for already, the newest credential counts from now on. False, if there is no room for
        one more or the gateway is ending: then nothing runs before the identical call is made.
        """
        if self.is_draining():
            return False
        if approval_id not in self._clients:
            principal = caller.identity.principal
            his = sum(client.caller.identity.principal == principal for client in self._clients.values())
            if len(self._clients) >= self.most or his >= self.most_per_identity:
                logger.warning("%s: it will not run unattended: too many calls wait already", approval_id)
                return False
            if not self.tasks.in_background(self._wait, approval_id):
                return False
        self._clients[approval_id] = _Client(caller, replace(origin, attended=False))
        return True

    async def _wait(self, approval_id: str) -> None:
        try:
            while await self._is_waiting(approval_id):
                await self._pause()
        except Exception:
            # A failure of one wait ends in the log, and the others go on: the approval stands for the identical call.
            logger.exception("%s: it is not waited for any more", approval_id)
        finally:
            del self._clients[approval_id]

    async def _is_waiting(self, approval_id: str) -> bool:
        """Look once, and take the call up if it is approved. False: there is nothing left to wait for."""
        client = self._clients[approval_id]
        try:
            found = await self.calls.held(approval_id, client.caller.identity)
        except LedgerUnavailable as error:
            logger.error("%s: its state cannot be read, trying again: %s", approval_id, error)
            await anyio.sleep(_RETRY_S)
            return True
        for approval in found:
            if approval.state is ApprovalState.APPROVED and not self.is_draining():
                await self.tasks.take_up(approval, client.caller, client.origin, {})
                return False  # whatever came of it: refused at its release, it would be refused again
            return approval.state in WAITING
        return False

    async def _pause(self) -> None:
        try:
            await self.calls.changed(_RECHECK_S)
        except LedgerUnavailable:
            await anyio.sleep(_RETRY_S)
