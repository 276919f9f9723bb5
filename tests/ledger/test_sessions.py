"""Sessions: who shares one, that its numbers have no gap on any path, and that it is closed once, by whoever comes first."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import pytest
from ledger_parts import (
    Open,
    answered,
    asked,
    buried,
    failed,
    intent,
    opened,
    outcome,
    person,
    refusal,
    rejection,
    settled,
    shown,
    spend,
    vote,
)
from stores import Kept, verified
from test_processes import acknowledged, start

from mcpgw.core.entries import Joined
from mcpgw.core.errors import ApprovalConflict
from mcpgw.core.model import (
    Call,
    Intent,
    Origin,
    Ruling,
    Sealed,
)
from mcpgw.ledger import Ledger, Query
from mcpgw.ledger.record import Members, parse
from mcpgw.ledger.sessions import key_of

IDLE_S = 60.0
_RULING = Ruling(rule_ids=(), reason="", policy_hash="")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.ns = 1_800_000_000 * 10**9

    def __call__(self) -> int:
        self.ns += 1
        return self.ns

    def pass_s(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


async def leaves(ledger: Ledger, query: Query | None = None) -> Sequence[Members]:
    return [parse(record.leaf) for record in await ledger.search(query or Query(limit=10_000))]


async def session_of(ledger: Ledger, sealed: Sealed[Any]) -> str:
    (record,) = await ledger.records_after(sealed.seq - 1, 1)
    return str(parse(record.leaf)["session"]["id"])


async def numbered(ledger: Ledger) -> dict[str, list[tuple[int, str]]]:
    """Number and kind of every record of each session, in the log's order."""
    found: dict[str, list[tuple[int, str]]] = {}
    for leaf in await leaves(ledger):
        if "session" in leaf:
            found.setdefault(leaf["session"]["id"], []).append((leaf["session"]["seq"], leaf["kind"]))
    return found


def by(call: Call, **changes: Any) -> Intent:
    """The intent of a call like that one, but for who makes it or where it comes from."""
    base = intent()
    return replace(base, shown=replace(base.shown, call=replace(call, id=base.shown.call.id, **changes)))


# --- what belongs to a session ---------------------------------------------------------------------------------------------


async def test_everything_that_belongs_to_a_call_is_numbered_and_nothing_else_is(ledger: Ledger) -> None:
    await ledger.append(outcome(await ledger.append(intent())))
    await ledger.append(refusal())
    await ledger.append(rejection())
    await ledger.append(opened("a"))
    await ledger.append(Joined(shown=shown(), approval_id="a", ruling=_RULING))
    await ledger.append(vote("a"))
    await ledger.append(settled("a", ballots=1))
    begun = await ledger.append(spend("a"))
    for entry in (asked(begun), answered(begun), outcome(begun, failed())):
        await ledger.append(entry)
    ((_, records),) = (await numbered(ledger)).items()
    assert records == [*enumerate(("session.opened", "call.intent", "call.outcome", "call.refused", "call.held", "call.held",
                                   "call.intent", "call.asked", "call.answered", "call.outcome"))]  # fmt: skip
    assert {leaf["kind"] for leaf in await leaves(ledger) if "session" not in leaf} == {
        "gateway.started", "call.refused", "approval.voted", "approval.settled",
    }  # fmt: skip


async def test_a_session_is_opened_in_the_commit_of_its_first_record_and_says_whose_it_is(kept: Kept, ledger: Ledger) -> None:
    first = await ledger.append(intent("alice"))
    opening = (await leaves(ledger, Query(kind="session.opened")))[0]
    assert opening["seq"] == first.seq - 1
    assert (opening["who"]["sub"], opening["origin"]["transport"], opening["session"]["seq"]) == ("alice", "http", 0)
    with kept.admin() as admin:
        sizes = [size for (size,) in admin.execute("SELECT size FROM checkpoints ORDER BY size").fetchall()]
    assert first.seq not in sizes  # no commit ends between the two
    assert verified(kept).ok


async def test_what_is_refused_by_the_store_opens_no_session_and_takes_no_number(ledger: Ledger) -> None:
    with pytest.raises(ApprovalConflict):
        await ledger.append(spend("nothing"))
    assert await numbered(ledger) == {}
    await ledger.append(intent())
    with pytest.raises(ApprovalConflict):
        await ledger.append(spend("nothing"))
    await ledger.append(intent())
    assert [[seq for seq, _ in records] for records in (await numbered(ledger)).values()] == [[0, 1, 2]]


async def test_a_session_is_one_caller_with_one_client_in_one_conversation(ledger: Ledger) -> None:
    base = Origin(transport="http", protocol_version="2026-07-28", client="agent/1", session="t1")
    call = replace(shown().call, origin=base)
    same = [
        call,
        replace(call, origin=replace(base, request_id="2", address="10.9.9.9", traceparent="x")),
    ]
    others = [
        replace(call, identity=person("bob")),
        replace(call, identity=replace(call.identity, actors=("agent-7",))),
        replace(call, identity=replace(call.identity, client_id="desktop")),
        replace(call, origin=replace(base, client="editor/1")),
        replace(call, origin=replace(base, session="t2")),
        replace(call, origin=replace(base, conversation="c1")),
        replace(call, origin=replace(base, conversation="c2")),
        replace(call, origin=replace(base, conversation="t1")),
    ]
    assert len({key_of(one) for one in same}) == 1
    assert len({key_of(one) for one in (*same, *others)}) == 1 + len(others)
    # A conversation goes on over another connection.
    assert key_of(others[5]) == key_of(replace(others[5], origin=replace(others[5].origin, session="t9")))
    ids = [await session_of(ledger, await ledger.append(by(one))) for one in (*same, *others)]
    assert len(set(ids)) == 1 + len(others)
    assert ids[0] == ids[1]


async def test_what_a_client_calls_its_conversation_is_committed_to_and_not_quoted(kept: Kept, ledger: Ledger) -> None:
    call = shown().call
    await ledger.append(by(call, origin=replace(call.origin, conversation="Mrs Robinson's loan")))
    assert not [leaf for leaf in await leaves(ledger) if "Robinson" in str(leaf)]
    assert set((await leaves(ledger, Query(kind="session.opened")))[0]["payloads"]) == {"conversation"}
    assert verified(kept).ok


async def test_records_are_found_by_their_session(ledger: Ledger) -> None:
    one = await ledger.append(intent("alice"))
    await ledger.append(intent("bob"))
    await ledger.append(outcome(one))
    found = await leaves(ledger, Query(session=await session_of(ledger, one)))
    assert [leaf["kind"] for leaf in found] == ["session.opened", "call.intent", "call.outcome"]


# --- many writers ----------------------------------------------------------------------------------------------------------


async def test_two_processes_number_one_session_between_them(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as one, open_ledger() as two:

        async def calls(ledger: Ledger) -> None:
            for _ in range(20):
                await ledger.append(outcome(await ledger.append(intent())))
                await ledger.append(refusal("bob"))

        with anyio.fail_after(60):
            await asyncio.gather(calls(one), calls(two), calls(one))
        sessions = await numbered(one)
    assert sorted(len(records) for records in sessions.values()) == [61, 121]
    for records in sessions.values():
        assert [seq for seq, _ in records] == list(range(len(records)))
    assert verified(kept).ok


async def test_processes_that_are_killed_leave_no_gap(kept: Kept, open_ledger: Open) -> None:
    with anyio.fail_after(60):
        async with await start(kept) as first, await start(kept) as second:
            await acknowledged(first, 20)
            await acknowledged(second, 20)
            first.kill()
            second.kill()
            await first.wait()
            await second.wait()
        async with open_ledger() as ledger:
            await buried(ledger)
            await ledger.append(intent())
            ((_, records),) = (await numbered(ledger)).items()
    assert [seq for seq, _ in records] == list(range(len(records)))
    assert "call.indeterminate" in {kind for _, kind in records}  # of a call belongs to the session of its intent
    assert verified(kept).ok


# --- the end of a session --------------------------------------------------------------------------------------------------


async def test_an_idle_session_is_closed_once_with_its_counts_and_the_next_call_opens_another(
    open_ledger: Open, kept: Kept
) -> None:
    clock = Clock()
    async with open_ledger(clock=clock, session_idle_s=IDLE_S) as one, open_ledger(clock=clock, session_idle_s=IDLE_S) as two:
        first = await one.append(intent())
        await two.append(outcome(first))
        await one.append(refusal())
        await one.append(opened("a"))
        assert await one.close_idle_sessions() == 0
        clock.pass_s(IDLE_S)
        assert sorted(await asyncio.gather(one.close_idle_sessions(), two.close_idle_sessions())) == [0, 1]
        (closed,) = await leaves(one, Query(kind="session.closed"))
        assert (closed["session"]["id"], closed["session"]["seq"]) == (await session_of(one, first), 5)
        assert closed["counts"] == {"records": 6, "permitted": 1, "held": 1, "refused": 1, "replayed": 0}
        assert closed["actor"] == "gateway"
        later = await two.append(intent())
        assert await session_of(one, later) != await session_of(one, first)
        assert [seq for seq, _ in (await numbered(one))[await session_of(one, later)]] == [0, 1]
    assert verified(kept).ok


async def test_a_session_is_not_closed_while_a_call_is_under_way(open_ledger: Open) -> None:
    clock = Clock()
    async with open_ledger(clock=clock, session_idle_s=IDLE_S) as ledger:
        slow = await ledger.append(intent())
        clock.pass_s(10 * IDLE_S)
        assert await ledger.close_idle_sessions() == 0
        done = await ledger.append(outcome(slow))
        assert await session_of(ledger, done) == await session_of(ledger, slow)
        assert await ledger.close_idle_sessions() == 0
        clock.pass_s(10 * IDLE_S)
        assert await ledger.close_idle_sessions() == 1
        assert await ledger.close_idle_sessions() == 0


async def test_sessions_outlive_the_process_that_opened_them(open_ledger: Open) -> None:
    clock = Clock()
    async with open_ledger(clock=clock, session_idle_s=IDLE_S) as ledger:
        before = await session_of(ledger, await ledger.append(intent()))
    async with open_ledger(clock=clock, session_idle_s=IDLE_S) as ledger:
        assert await session_of(ledger, await ledger.append(intent())) == before


async def test_the_end_of_a_call_whose_session_nobody_knows_stands_in_none(open_ledger: Open, kept: Kept) -> None:
    """As of an intent that an older gateway wrote."""
    async with open_ledger() as ledger:
        old = await ledger.append(intent())
    with kept.tampering() as admin:
        admin.execute("DELETE FROM sessions")
    async with open_ledger() as ledger:
        with anyio.fail_after(30):
            await buried(ledger)
        (end,) = await leaves(ledger, Query(kind="call.indeterminate"))
        assert end["call"] == old.entry.shown.call.id
        assert "session" not in end


async def test_a_leaf_without_a_session_is_searched_by_its_transports(ledger: Ledger) -> None:
    await ledger.append(replace(rejection(), origin=Origin(transport="http", protocol_version="", session="t7")))
    (found,) = await ledger.search(Query(session="t7"))
    assert found.index["kind"] == "call.refused"
