"""Deadlines fire by themselves, also when nobody asks, and after a restart."""

from collections.abc import Sequence

import anyio
import pytest

from mcpgw.core.entries import (
    Settled,
    Verdict,
    Vote,
)
from mcpgw.core.errors import ApprovalConflict, LedgerUnavailable
from mcpgw.core.model import Patience, Sealed
from mcpgw.ports import Approval, ApprovalState
from tests.approval.world import BOB, DEADLINE_S, LEADS, EntryT, MemoryLedger, World, asking


async def run_until(world: World, moment: float) -> None:
    """Run the sweeper until the timeline reaches the moment."""
    with anyio.fail_after(5), anyio.CancelScope() as scope:

        async def stop() -> None:
            scope.cancel()

        world.time.at(moment, stop)
        await world.desk.run()


async def test_the_sweeper_expires_a_pending_approval_at_its_deadline(world: World) -> None:
    approval_id = await world.held()
    settled: list[float] = []

    async def look() -> None:
        settled.append(world.state(approval_id) is ApprovalState.EXPIRED)

    world.time.at(DEADLINE_S - 0.001, look)
    world.time.at(DEADLINE_S + 0.001, look)
    await run_until(world, DEADLINE_S + 1)
    assert settled == [False, True]
    assert world.kinds() == ["Opened", "Settled"]


async def test_the_sweeper_expires_what_was_approved_and_never_called(world: World) -> None:
    approval_id = await world.held()
    await world.desk.vote(approval_id, BOB, Verdict.APPROVE)
    await run_until(world, DEADLINE_S + 1)
    assert world.state(approval_id) is ApprovalState.EXPIRED
    (_, unclaimed) = [entry for entry in world.ledger.entries if isinstance(entry, Settled)]
    assert unclaimed.reason == "Approved, but not called again by the deadline."


async def test_what_fell_due_while_no_process_ran_is_settled_at_the_start(world: World) -> None:
    overdue = await world.held()
    unsettled = await world.held(world.call(arguments={"to": "x"}), asking(deadline_s=10 * DEADLINE_S))
    await world.ledger.append(Vote(approval_id=unsettled, voter=BOB, verdict=Verdict.APPROVE, fits=LEADS))
    world.later(2 * DEADLINE_S)
    world.desk = world.new_desk()
    await run_until(world, world.time.elapsed + 0.001)
    assert world.state(overdue) is ApprovalState.EXPIRED
    assert world.state(unsettled) is ApprovalState.APPROVED


async def test_the_sweeper_goes_on_once_the_ledger_can_write_again(world: World) -> None:
    approval_id = await world.held()
    world.later(DEADLINE_S)
    world.ledger.lose_next = True
    await run_until(world, world.time.elapsed + 6)
    assert world.state(approval_id) is ApprovalState.EXPIRED


async def test_two_sweepers_settle_once(world: World) -> None:
    await world.held()
    world.later(DEADLINE_S)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(world.new_desk().sweep)
    assert world.kinds() == ["Opened", "Settled"]


async def test_the_sweep_says_how_long_nothing_is_due(world: World) -> None:
    assert await world.desk.sweep() == 30.0
    await world.held(hold=asking(deadline_s=14.0))
    assert await world.desk.sweep() == 10.0


async def test_an_approval_that_cannot_be_settled_does_not_spin_the_sweeper(world: World) -> None:
    class Refusing(MemoryLedger):
        looks = 0

        async def append(self, entry: EntryT) -> Sealed[EntryT]:
            if isinstance(entry, Settled):
                raise ApprovalConflict("never")
            return await super().append(entry)

        async def approvals(self, states: Sequence[ApprovalState] = (), limit: int = 200) -> tuple[Approval, ...]:
            self.looks += 1
            return await super().approvals(states, limit)

    world.ledger = refusing = Refusing(world.time)
    world.desk = world.new_desk()
    await world.held()
    world.later(DEADLINE_S)
    await run_until(world, world.time.elapsed + 100)
    assert refusing.looks <= 10


async def test_a_busy_desk_is_swept_once_a_second_and_not_at_every_change(world: World) -> None:
    class Counting(MemoryLedger):
        looks = 0

        async def approvals(self, states: Sequence[ApprovalState] = (), limit: int = 200) -> tuple[Approval, ...]:
            self.looks += 1
            return await super().approvals(states, limit)

    world.ledger = counting = Counting(world.time)
    world.desk = world.new_desk()
    for number in range(100):
        world.time.at(number / 100, lambda: world.settle(patience=Patience(budget_s=0.0)))
    await run_until(world, 1.0)
    assert counting.looks <= 3


async def test_an_unreadable_store_is_tried_again(world: World) -> None:
    class Unreadable(MemoryLedger):
        tries = 0

        async def approvals(self, states: Sequence[ApprovalState] = (), limit: int = 200) -> tuple[Approval, ...]:
            self.tries += 1
            raise LedgerUnavailable("gone")

    world.ledger = unreadable = Unreadable(world.time)
    world.desk = world.new_desk()
    await run_until(world, 12.0)
    assert 3 <= unreadable.tries <= 4  # at 0, 5 and 10 s, and perhaps as it stops
    with pytest.raises(LedgerUnavailable):
        await world.desk.sweep()
