"""The desk on the real ledger: real commits, real time, several processes' worth of ledgers on one file."""

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import anyio
import pytest

from mcpgw.approval import Desk, NotEntitled
from mcpgw.core.entries import Verdict
from mcpgw.core.errors import ApprovalConflict
from mcpgw.core.model import (
    Allow,
    AlreadyDone,
    Deny,
    Intent,
    Outcome,
    Patience,
    Waiting,
)
from mcpgw.ledger import Ledger, RecordContext, create_keys
from mcpgw.ports import ApprovalState
from tests.approval.race import race
from tests.approval.world import BOB, CAROL, FAILED, HOLD, IBAN, KEY, MALLORY, REPLY, Everybody, Witness, World, asking

ORIGIN = "bank.example/mcpgw"
CONTEXT = RecordContext(version="0", config_hash="c0" * 32, catalog_hash="ca" * 32)
NOW = Patience(budget_s=0.0)
PATIENT = Patience(budget_s=8.0, heartbeat_s=0.2)


def opened(folder: Path) -> AbstractAsyncContextManager[Ledger]:
    return Ledger.open(folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT)


def desk_on(ledger: Ledger) -> Desk:
    return Desk(ledger, ledger, KEY, Everybody())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_keys(tmp_path / "keys", ORIGIN)
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
async def ledger(folder: Path) -> AsyncIterator[Ledger]:
    with anyio.fail_after(20):
        async with opened(folder) as ledger:
            yield ledger


@pytest.fixture
async def other(folder: Path) -> AsyncIterator[Ledger]:
    """The same ledger as another process would have it open."""
    async with opened(folder) as ledger:
        yield ledger


async def test_a_call_is_held_by_one_process_and_approved_at_another(ledger: Ledger, other: Ledger, world: World) -> None:
    shown, peer = world.call(), Witness()
    answers: list[object] = []

    async def call() -> None:
        answers.append(await desk_on(ledger).settle(shown, HOLD, PATIENT, peer))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        while not (pending := await other.approvals((ApprovalState.PENDING,))):
            await other.changed(5.0)
        asked = time.monotonic()
        await desk_on(other).vote(pending[0].id, BOB, Verdict.APPROVE)
    assert isinstance(answers[0], Allow)
    assert time.monotonic() - asked < 2.0
    assert peer.heard[0][0] < 1.0


async def test_an_approved_call_runs_once_and_its_duplicate_gets_the_result(ledger: Ledger, world: World) -> None:
    desk, first = desk_on(ledger), world.call()
    waiting = await desk.settle(first, HOLD, NOW, Witness())
    assert isinstance(waiting, Waiting)
    await desk.vote(waiting.approval_id, BOB, Verdict.APPROVE, "seen")
    allow = await desk.settle(first, HOLD, NOW, Witness())
    assert isinstance(allow, Allow)
    intent = await ledger.append(Intent(shown=first, allow=allow))
    with pytest.raises(ApprovalConflict):
        await ledger.append(Intent(shown=world.call(), allow=allow))
    assert isinstance(await desk.settle(world.call(), HOLD, NOW, Witness()), Waiting)
    await ledger.append(Outcome(intent=intent, result=REPLY))
    again = await desk.settle(world.call(), HOLD, NOW, Witness())
    assert isinstance(again, AlreadyDone)
    assert (again.call_id, again.reply.payload) == (first.call.id, REPLY.payload)


async def test_identical_calls_at_two_processes_open_one_approval(ledger: Ledger, other: Ledger, world: World) -> None:
    ids: set[str] = set()

    async def call(desk: Desk) -> None:
        answer = await desk.settle(world.call(), HOLD, NOW, Witness())
        assert isinstance(answer, Waiting)
        ids.add(answer.approval_id)

    async with anyio.create_task_group() as group:
        for desk in [desk_on(ledger), desk_on(other)] * 10:
            group.start_soon(call, desk)
    assert len(ids) == 1
    assert len(await ledger.approvals()) == 1


async def test_approvers_race_at_two_gateways_and_each_hold_is_settled_and_run_once(ledger: Ledger, other: Ledger) -> None:
    await race(ledger, other, holds=8, approvers=20)


async def test_silence_ends_in_a_denial_and_the_sweeper_ends_the_unclaimed(ledger: Ledger, world: World) -> None:
    desk = desk_on(ledger)
    hasty = asking(deadline_s=0.3)
    denied = await desk.settle(world.call(), hasty, PATIENT, Witness())
    assert isinstance(denied, Deny)
    assert denied.ruling.reason.startswith("Not approved in time")
    waiting = await desk.settle(world.call(arguments={"to": "x"}), hasty, NOW, Witness())
    assert isinstance(waiting, Waiting)
    async with anyio.create_task_group() as group:
        group.start_soon(desk.run)
        while (await ledger.approval(waiting.approval_id))[0].state is not ApprovalState.EXPIRED:
            await ledger.changed(5.0)
        group.cancel_scope.cancel()
    with pytest.raises(ApprovalConflict, match="expired"):
        await desk.vote(waiting.approval_id, BOB, Verdict.APPROVE)
    assert isinstance(await desk.settle(world.call(), hasty, NOW, Witness()), Waiting)


@pytest.mark.parametrize("end", ["failed", "crashed"])
async def test_after_a_restart_everything_stands_and_nothing_is_sent_again(folder: Path, world: World, end: str) -> None:
    shown, hold = world.call(), asking(2)
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(opened(folder))
        waiting = await desk_on(ledger).settle(shown, hold, NOW, Witness())
        assert isinstance(waiting, Waiting)
        await desk_on(ledger).vote(waiting.approval_id, BOB, Verdict.APPROVE)
    async with opened(folder) as ledger:
        desk = desk_on(ledger)
        await desk.vote(waiting.approval_id, CAROL, Verdict.APPROVE)
        allow = await desk.settle(world.call(), hold, NOW, Witness())
        assert isinstance(allow, Allow)
        intent = await ledger.append(Intent(shown=shown, allow=allow))
        if end == "failed":
            await ledger.append(Outcome(intent=intent, result=FAILED))
    async with opened(folder) as ledger:
        answer = await desk_on(ledger).settle(world.call(), hold, NOW, Witness())
        assert isinstance(answer, Deny)
        assert "not sent again by itself" in answer.ruling.reason


async def test_what_is_shown_is_exact_and_what_is_kept_is_not(ledger: Ledger, folder: Path, world: World) -> None:
    desk = desk_on(ledger)
    waiting = await desk.settle(world.call(), HOLD, NOW, Witness())
    assert isinstance(waiting, Waiting)
    sheet = await desk.show(waiting.approval_id, BOB)
    assert IBAN in sheet.arguments
    with pytest.raises(NotEntitled):
        await desk.show(waiting.approval_id, MALLORY)
    await desk.vote(waiting.approval_id, BOB, Verdict.DENY, shown=sheet.commitment)
    after = await desk.show(waiting.approval_id, BOB)
    assert not after.exact
    assert "<IBAN>" in after.arguments
    iban = IBAN.encode()
    assert all(iban not in path.read_bytes() for path in (folder / "data").rglob("*") if path.is_file())
