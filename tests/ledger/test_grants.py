"""Grants in the ledger, on both stores: used no more than granted, by however many at once, and told as they were used."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from ledger_parts import Open, allowance, buried, failed, opened, outcome, settled, spend, use
from stores import Kept, verified

from mcpgw.approval import Desk
from mcpgw.core.entries import SettledAs, Verdict
from mcpgw.core.errors import ApprovalConflict
from mcpgw.core.model import Allow, Patience
from mcpgw.ledger import Ledger, Query
from mcpgw.ledger.checks import ProblemKind as K
from mcpgw.ledger.projections import compare
from mcpgw.ledger.record import parse
from mcpgw.ledger.schema import MIGRATIONS
from mcpgw.ledger.sqlite import SqliteStore
from mcpgw.ports import ApprovalState
from tests.approval.granting import GRANTING, access
from tests.approval.world import BOB, KEY, Everybody, Witness, World

USER = Path(__file__).with_name("grant_user.py")


def blamed(kept: Kept) -> set[int]:
    """The records that approvals or grants are wrong in; nothing else is wrong."""
    problems = verified(kept).problems
    assert {problem.kind for problem in problems} <= {K.APPROVAL}
    return {problem.records.start for problem in problems}


async def granted(ledger: Ledger, **limits: object) -> None:
    await ledger.append(opened("g", allowances=(allowance(**limits),)))
    await ledger.append(settled("g"))


async def test_each_use_is_counted_and_numbered_in_its_record(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        await granted(ledger)
        await ledger.append(outcome(await ledger.append(use("g", "0.1"))))
        await ledger.append(outcome(await ledger.append(use("g", "99.9")), failed()))
        with pytest.raises(ApprovalConflict, match="nothing left"):
            await ledger.append(use("g", "0.1"))
        await ledger.append(use("g", "0"))
        with pytest.raises(ApprovalConflict, match="nothing left"):
            await ledger.append(use("g", "0"))
        (grant,) = await ledger.approval("g")
        assert grant.state is ApprovalState.APPROVED
        assert [(one.amount, one.outcome) for one in grant.uses] == [("0.1", "done"), ("99.9", "failed"), ("0", "")]
        intents = [parse(record.leaf)["approval"] for record in await ledger.search(Query(kind="call.intent"))]
        assert [one["use"] for one in intents] == [
            {"amount": "0.1", "number": 1},
            {"amount": "99.9", "number": 2},
            {"amount": "0", "number": 3},
        ]
        (held,) = [parse(record.leaf)["approval"] for record in await ledger.search(Query(kind="call.held"))]
        assert (held["grant"]["max_calls"], held["grant"]["total_of"], held["grant"]["max_total"]) == (3, "amount", "100")
    assert verified(kept).ok, verified(kept).problems
    with closing(kept.database().connect_read_only()) as store:
        assert [*compare(store)] == []


async def test_the_requesters_grants_for_a_tool_are_found(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await granted(ledger)
        await ledger.append(opened("pending", key="other", allowances=(allowance(),)))
        await ledger.append(opened("call", key="third"))
        await ledger.append(settled("call"))
        requester = "https://idp.bank.example#alice"
        (found,) = await ledger.grants((await ledger.approval("g"))[0].requester, "bank__transfer")
        assert found.id == "g"
        assert await ledger.grants(requester + "x", "bank__transfer") == ()
        assert await ledger.grants(found.requester, "bank__other") == ()


async def test_uses_that_come_at_once_from_two_ledgers_never_exceed_the_grant(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as one, open_ledger() as two:
        await granted(one, calls=5, total="45")
        taken: list[int] = []

        async def take(ledger: Ledger) -> None:
            try:
                taken.append((await ledger.append(use("g", "10"))).seq)
            except ApprovalConflict:
                return

        async with anyio.create_task_group() as tasks:
            for ledger in [one, two] * 10:
                tasks.start_soon(take, ledger)
        assert len(taken) == 4
        (grant,) = await two.approval("g")
        assert len(grant.uses) == 4
    assert verified(kept).ok, verified(kept).problems


async def test_two_processes_that_race_over_five_calls_make_five(open_ledger: Open, kept: Kept, folder: Path) -> None:
    """Real processes, each with a desk of its own: settle, intent, effect."""
    world = World()
    async with open_ledger() as ledger:
        desk = Desk(ledger, ledger, KEY, Everybody())
        waiting = await desk.ask(world.call(), GRANTING, access(vary={"amount": {"any": True}}), {"reason": ""})
        await desk.vote(waiting.approval_id, BOB, Verdict.APPROVE)
        with anyio.fail_after(60):
            command = [sys.executable, str(USER), str(folder), kept.address]
            async with anyio.create_task_group() as tasks:
                for number in range(2):
                    tasks.start_soon(_run, [*command, str(number)])
        (grant,) = await ledger.approval(waiting.approval_id)
        effects = (folder / "effects").read_text().split()
        assert len(effects) == len(set(effects)) == 5
        assert sorted(effects) == sorted(one.call_id for one in grant.uses)
        assert {one.outcome for one in grant.uses} == {"done"}
        answer = await desk.settle(world.call(), GRANTING, Patience(budget_s=0.0), Witness())
        assert not isinstance(answer, Allow)
    assert verified(kept).ok, verified(kept).problems


async def _run(command: list[str]) -> None:
    await anyio.run_process(command, cwd=Path(__file__).parents[2])


async def test_a_use_whose_process_died_is_of_unknown_outcome_and_the_grant_goes_on(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        await granted(ledger)
        await ledger.append(use("g"))
    async with open_ledger() as ledger:
        await buried(ledger)
        (grant,) = await ledger.approval("g")
        assert (grant.state, [one.outcome for one in grant.uses]) == (ApprovalState.APPROVED, ["indeterminate"])
        await ledger.append(outcome(await ledger.append(use("g"))))
    with closing(kept.database().connect_read_only()) as store:
        assert [*compare(store)] == []
    assert verified(kept).ok


async def test_a_grant_that_was_made_larger_in_the_database_alone_is_found(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        await granted(ledger, calls=1)
        await ledger.append(outcome(await ledger.append(use("g", "60"))))
    with kept.tampering() as admin:
        admin.execute("UPDATE approvals SET allowances = replace(replace(allowances, ': 1,', ': 9,'), '\"100\"', '\"900\"')")
    async with open_ledger() as ledger:
        beyond = await ledger.append(use("g", "60"))
    assert blamed(kept) == {beyond.seq}
    with closing(kept.database().connect_read_only()) as store:
        assert [*compare(store)] == ["approval g is not what its records say: allowances"]


async def test_uses_that_were_taken_back_in_the_database_alone_are_found(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        await granted(ledger, calls=2)
        await ledger.append(outcome(await ledger.append(use("g"))))
    with kept.tampering() as admin:
        admin.execute("UPDATE approvals SET uses = '[]'")
    async with open_ledger() as ledger:
        again = await ledger.append(use("g"))
    assert blamed(kept) == {again.seq}


async def test_a_use_after_the_grant_was_revoked_and_a_grant_spent_whole_are_found(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        await granted(ledger)
        await ledger.append(opened("whole", key="whole", allowances=(allowance(),)))
        await ledger.append(settled("whole"))
    with kept.tampering() as admin:
        admin.execute("UPDATE approvals SET allowances = '[]' WHERE id = 'whole'")
    async with open_ledger() as ledger:
        whole = await ledger.append(spend("whole"))
        await ledger.append(settled("g", SettledAs.REVOKED))
    with kept.tampering() as admin:
        admin.execute("UPDATE approvals SET state = 'approved' WHERE id = 'g'")
    async with open_ledger() as ledger:
        late = await ledger.append(use("g"))
    assert blamed(kept) == {whole.seq, late.seq}


@pytest.mark.sqlite
async def test_a_log_from_before_grants_is_taken_over(open_ledger: Open, kept: Kept, folder: Path) -> None:
    path = folder / "data" / "ledger.db"
    with closing(sqlite3.connect(path)) as db:
        for migration in MIGRATIONS[:4]:
            db.executescript(migration)
        db.execute("PRAGMA user_version = 4")
    SqliteStore.connect(path).close()
    async with open_ledger() as ledger:
        await granted(ledger)
        await ledger.append(use("g"))
        # What a gateway of before writes when it settles: the columns that it knows.
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE approvals SET state = 'expired', exact = x'' WHERE id = 'g'")
        (grant,) = await ledger.approval("g")
        assert grant.is_grant
        assert len(grant.uses) == 1
        assert grant.uses[0].amount == "10"
