"""Approvals as the desk sees them: every transition, every conflict, and the races between callers and processes."""

import time
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import anyio
import apsw
import pytest
from ledger_parts import HOUR_NS, Open, buried, failed, opened, outcome, person, proposed, reply, settled, shown, spend, vote
from stores import Kept

from mcpgw.core.entries import (
    Entry,
    Escalated,
    Happened,
    Joined,
    Lapsed,
    Opened,
    Resolved,
    Reviewed,
    Settled,
    SettledAs,
    Stopped,
    StoppedAs,
    Verdict,
    VoteWithdrawn,
)
from mcpgw.core.errors import ApprovalConflict, LedgerUnavailable
from mcpgw.core.model import Replay, Ruling
from mcpgw.core.terms import BreakGlass, Level, Seats, Terms
from mcpgw.ledger import Ledger, Query
from mcpgw.ledger.describe import Indeterminate
from mcpgw.ledger.record import parse
from mcpgw.ledger.schema import _TERMS, MIGRATIONS
from mcpgw.ledger.sqlite import SqliteDatabase
from mcpgw.ports import ApprovalState

S = ApprovalState
RULING = Ruling(rule_ids=("r1",), reason="because", policy_hash="ee" * 32)


def stopped(approval_id: str, state: StoppedAs) -> Stopped:
    return Stopped(approval_id=approval_id, state=state, person=person("carol"), comment="not now")


async def state(ledger: Ledger, approval_id: str = "a") -> ApprovalState:
    (approval,) = await ledger.approval(approval_id)
    return approval.state


async def reach(ledger: Ledger, wanted: ApprovalState) -> None:
    """Take the approval `a` into a state by the shortest way."""
    await ledger.append(opened("a"))
    if wanted is S.PENDING:
        return
    if wanted in (S.DENIED, S.EXPIRED):
        await ledger.append(settled("a", SettledAs(wanted.value)))
        return
    await ledger.append(settled("a"))
    if wanted in (S.WITHDRAWN, S.REVOKED):
        await ledger.append(stopped("a", StoppedAs(wanted.value)))
    if wanted in (S.APPROVED, S.WITHDRAWN, S.REVOKED):
        return
    intent = await ledger.append(spend("a"))
    if wanted is S.INDETERMINATE:
        lost = Indeterminate(
            call_id=intent.entry.shown.call.id, intent_seq=intent.seq, intent_node="n", approval_id="a", reason="it died"
        )
        await ledger.append(lost)  # type: ignore[type-var]  # what recovery writes
    if wanted is S.DONE:
        await ledger.append(outcome(intent))
    if wanted is S.FAILED:
        await ledger.append(outcome(intent, failed()))


MOVES: dict[str, Callable[[str], Entry]] = {
    "vote": vote,
    "approve": settled,
    "deny": lambda approval: settled(approval, SettledAs.DENIED),
    "expire": lambda approval: settled(approval, SettledAs.EXPIRED),
    "spend": spend,
    "spend other facts": lambda approval: spend(approval, digest="d2" * 32),
    "revoke itself": lambda approval: settled(approval, SettledAs.REVOKED),
    "withdraw": lambda approval: stopped(approval, StoppedAs.WITHDRAWN),
    "revoke": lambda approval: stopped(approval, StoppedAs.REVOKED),
    "approve from stale votes": lambda approval: settled(approval, ballots=1),
    "take a vote back": lambda approval: VoteWithdrawn(approval_id=approval, voter=person("bob")),
    "escalate": lambda approval: Escalated(approval_id=approval, level=1, asked=()),
    "propose": proposed,
    "let lapse": lambda approval: Lapsed(approval_id=approval),
    "take up what nobody proposed": lambda approval: replace(opened("b", key="other"), accepts=approval),
    "resolve": lambda approval: Resolved(approval_id=approval, person=person("bob"), happened=Happened.NO, comment="looked"),
    "review": lambda approval: Reviewed(approval_id=approval, person=person("bob"), comment="looked"),
    "open again": lambda approval: opened(approval, key="another"),
    "open the identical call": lambda approval: opened("b"),
}
ALLOWED: dict[tuple[ApprovalState, str], ApprovalState] = {
    (S.PENDING, "vote"): S.PENDING,
    (S.PENDING, "approve"): S.APPROVED,
    (S.PENDING, "deny"): S.DENIED,
    (S.PENDING, "expire"): S.EXPIRED,
    (S.PENDING, "propose"): S.DENIED,
    (S.APPROVED, "spend"): S.SPENT,
    (S.PENDING, "withdraw"): S.WITHDRAWN,
    (S.APPROVED, "withdraw"): S.WITHDRAWN,
    (S.APPROVED, "revoke"): S.REVOKED,
    (S.APPROVED, "revoke itself"): S.REVOKED,
    (S.INDETERMINATE, "resolve"): S.INDETERMINATE,
    **{(state, "open the identical call"): state for state in (S.DENIED, S.EXPIRED, S.WITHDRAWN, S.REVOKED)},
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("start", ApprovalState)
async def test_only_the_moves_of_the_table_are_made(start: ApprovalState, move: str, ledger: Ledger) -> None:
    await reach(ledger, start)
    size = len(await ledger.search(Query()))
    if (start, move) in ALLOWED:
        await ledger.append(MOVES[move]("a"))
        assert await state(ledger) is ALLOWED[start, move]
        return
    with pytest.raises(ApprovalConflict):
        await ledger.append(MOVES[move]("a"))
    assert await state(ledger) is start
    assert len(await ledger.search(Query())) == size, "a conflict must not leave a record"


@pytest.mark.parametrize(
    ("start", "move", "then"),
    [
        (S.PENDING, "vote", None),
        (S.PENDING, "propose", None),
        (S.PENDING, "approve", None),
        (S.PENDING, "deny", S.DENIED),
        (S.PENDING, "expire", S.EXPIRED),
        (S.APPROVED, "spend", None),
        (S.APPROVED, "expire", S.EXPIRED),
        (S.APPROVED, "open the identical call", S.APPROVED),
    ],
)
async def test_after_the_deadline_nothing_is_approved_or_spent(
    start: ApprovalState, move: str, then: ApprovalState | None, ledger: Ledger
) -> None:
    approval, deadline_ns = await standing(start, ledger)
    while time.time_ns() <= deadline_ns:  # noqa: ASYNC110  the clock that deadlines are read from may go at another pace
        await anyio.sleep(0.01)
    if then is None:
        with pytest.raises(ApprovalConflict, match="deadline"):
            await ledger.append(MOVES[move](approval))
        assert await state(ledger, approval) is start
    else:
        await ledger.append(MOVES[move](approval))
        assert await state(ledger, approval) is then
    assert {a.id for a in await ledger.live("key")} <= {"b"}


async def standing(start: ApprovalState, ledger: Ledger) -> tuple[str, int]:
    """Return an approval in that state and its deadline, which is near: as near as this machine is quick today."""
    for patience_s in (0.05, 0.5, 5.0, 50.0):
        approval, deadline_ns = f"a{patience_s}", time.time_ns() + int(patience_s * 1e9)
        await ledger.append(opened(approval, deadline_ns=deadline_ns))
        if start is S.PENDING:
            return approval, deadline_ns
        with suppress(ApprovalConflict):  # the deadline was there first
            await ledger.append(settled(approval))
            return approval, deadline_ns
    raise AssertionError("nothing can be approved within 50 s")


async def test_what_does_not_exist_cannot_be_voted_on_settled_or_spent(ledger: Ledger) -> None:
    for entry in (vote("x"), settled("x"), spend("x")):
        with pytest.raises(ApprovalConflict, match="no approval x"):
            await ledger.append(entry)
    assert await ledger.approval("x") == ()


async def test_an_approval_is_read_back_with_all_its_facts(ledger: Ledger) -> None:
    entry = opened("a", deadline_ns=time.time_ns() + HOUR_NS)
    sealed = await ledger.append(entry)
    await ledger.append(vote("a", "bob", Verdict.APPROVE, "looks right"))
    (approval,) = await ledger.approval("a")
    assert (approval.digest, approval.request_key, approval.deadline_ns) == (entry.digest, entry.request_key, entry.deadline_ns)
    assert (approval.facts, approval.exact, approval.opened_ns) == (entry.facts, entry.exact, sealed.time_ns)
    assert (approval.requester, approval.call_id) == ("https://idp.example#alice", entry.shown.call.id)
    assert (approval.terms, approval.rule_ids) == (Terms.simple(("group:managers",)), ("r1",))
    (cast,) = approval.votes
    assert (cast.voter, cast.verdict, cast.comment) == ("https://idp.example#bob", "approve", "looks right")
    assert approval.done == ()


@pytest.mark.parametrize("end", [S.DENIED, S.EXPIRED, S.SPENT])
async def test_the_exact_arguments_are_overwritten_once_nobody_may_need_them(
    end: ApprovalState, ledger: Ledger, kept: Kept, folder: Path
) -> None:
    await reach(ledger, end)
    (approval,) = await ledger.approval("a")
    assert approval.exact == b""
    if kept.kind == "postgres":
        return  # an old row version stays until it is vacuumed: see docs/postgres.md
    with closing(apsw.Connection(str(folder / "data" / "ledger.db"))) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert opened("a").exact not in (folder / "data" / "ledger.db").read_bytes()


@pytest.mark.parametrize("is_error", [False, True])
async def test_a_done_approval_gives_the_recorded_reply_again(is_error: bool, ledger: Ledger) -> None:
    await reach(ledger, S.APPROVED)
    intent = await ledger.append(spend("a"))
    given = reply("the result", is_error=is_error)
    await ledger.append(outcome(intent, given))
    (approval,) = await ledger.live("key")
    (done,) = approval.done
    assert (approval.state, done.approval_id, done.call_id) == (S.DONE, "a", intent.entry.shown.call.id)
    assert (done.reply.kind, done.reply.payload, done.reply.manifest) == (given.kind, given.payload, given.manifest)
    assert (done.reply.raw.digest, done.reply.raw.size, done.reply.raw.salt) == (given.raw.digest, given.raw.size, b"")
    replay = await ledger.append(Replay(shown=shown(), done=done, ruling=RULING))
    (record,) = await ledger.search(Query(after_seq=replay.seq - 1))
    assert (record.index["kind"], record.index["outcome"]) == ("call.outcome", "tool_error" if is_error else "completed")


async def test_an_outcome_is_recorded_even_if_its_approval_says_otherwise(ledger: Ledger) -> None:
    await reach(ledger, S.APPROVED)
    intent = await ledger.append(spend("a"))
    await ledger.append(outcome(intent))
    await ledger.append(outcome(intent, failed()))  # a second outcome of the same call changes no state
    assert await state(ledger) is S.DONE


async def test_a_call_whose_process_died_leaves_its_approval_indeterminate_until_an_outcome_says_more(
    open_ledger: Open,
) -> None:
    async with open_ledger() as ledger:
        await reach(ledger, S.APPROVED)
        intent = await ledger.append(spend("a"))
    async with open_ledger() as ledger:
        await buried(ledger)
        assert await state(ledger) is S.INDETERMINATE
        await ledger.append(outcome(intent))
        assert await state(ledger) is S.DONE


async def test_of_many_who_spend_at_once_one_wins(open_ledger: Open) -> None:
    async with open_ledger() as one, open_ledger() as other:
        await reach(one, S.APPROVED)
        assert await raced([lambda where=where: where.append(spend("a")) for where in (one, other) * 10]) == 1
        assert len(await one.search(Query(kind="call.intent"))) == 1


async def test_of_many_who_settle_at_once_one_wins(open_ledger: Open) -> None:
    async with open_ledger() as one, open_ledger() as other:
        await reach(one, S.PENDING)
        states = (SettledAs.APPROVED, SettledAs.DENIED, SettledAs.EXPIRED)
        entries = [settled("a", state) for state in states]
        assert await raced([lambda w=where, e=entry: w.append(e) for where in (one, other) for entry in entries]) == 1


async def test_of_many_identical_calls_that_open_at_once_one_opens(open_ledger: Open) -> None:
    async with open_ledger() as one, open_ledger() as other:
        names = [(one, f"a{number}") for number in range(10)] + [(other, f"b{number}") for number in range(10)]
        assert await raced([lambda w=where, n=name: w.append(opened(n)) for where, name in names]) == 1
        assert len(await other.live("key")) == 1


async def raced(moves: list[Callable[[], Awaitable[object]]]) -> int:
    """Start all moves at once; return how many won. The others must have met a conflict."""
    won = 0

    async def run(move: Callable[[], Awaitable[object]]) -> None:
        nonlocal won
        try:
            await move()
        except ApprovalConflict:
            return
        won += 1

    async with anyio.create_task_group() as tasks:
        for move in moves:
            tasks.start_soon(run, move)
    return won


async def test_approvals_are_listed_by_state_the_newest_first(ledger: Ledger) -> None:
    for name in "abc":
        await ledger.append(opened(name, key=name))
    await ledger.append(settled("b"))
    assert [approval.id for approval in await ledger.approvals()] == ["c", "b", "a"]
    assert [approval.id for approval in await ledger.approvals([S.PENDING])] == ["c", "a"]
    assert [approval.id for approval in await ledger.approvals([S.PENDING, S.APPROVED], limit=2)] == ["c", "b"]
    await ledger.append(Joined(shown=shown(), approval_id="a", ruling=RULING))
    assert [record.index["kind"] for record in await ledger.search(Query(approval_id="a"))] == ["call.held", "call.held"]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in this process", "through another connection"])
async def test_a_waiter_learns_of_a_change_at_once(elsewhere: bool, open_ledger: Open) -> None:
    async with open_ledger() as one, open_ledger() as other:
        await reach(one, S.PENDING)
        assert await state(one) is S.PENDING
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.changed, 60.0)
                tasks.start_soon(one.changed, 60.0)
                await anyio.wait_all_tasks_blocked()
                await (other if elsewhere else one).append(settled("a"))


async def test_a_change_between_reading_and_waiting_is_not_missed(open_ledger: Open) -> None:
    async with open_ledger() as one, open_ledger() as other:
        await reach(one, S.PENDING)
        assert await state(one) is S.PENDING
        await other.append(settled("a"))
        with anyio.fail_after(5):
            await one.changed(60.0)


async def test_waiting_ends_with_its_timeout(ledger: Ledger) -> None:
    with anyio.fail_after(5):
        await ledger.changed(0.01)
        await anyio.sleep(0.1)  # the poller has found that nobody waits, and ended
        await ledger.changed(0.0)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (
            f"UPDATE payloads SET salt = x'{'00' * 32}' WHERE slot = 'facts'",
            "was altered",
        ),
        ("UPDATE payloads SET salt = x'00' WHERE slot = 'facts'", "was altered"),
        ("UPDATE payloads SET body = x'00' WHERE slot = 'facts'", "was altered"),
        ("DELETE FROM payloads WHERE slot = 'facts'", "is missing"),
    ],
)
async def test_facts_that_were_changed_behind_the_gateway_are_not_shown(
    statement: str, says: str, ledger: Ledger, kept: Kept
) -> None:
    await reach(ledger, S.PENDING)
    with kept.tampering() as admin:
        admin.execute(statement)
    with pytest.raises(LedgerUnavailable, match=says):
        await ledger.approval("a")


# --- escalation, break-glass, what people add ----------------------------------------------------------------------------


def stepped(deadline_ns: int, *, levels: int = 3, lasts_ns: int = HOUR_NS, glass_ns: int = 0) -> Opened:
    """A hold that goes on to others twice, an hour each."""
    terms = Terms(
        levels=tuple(Level(seats=(Seats(1, (f"group:level-{number}",)),), lasts_ns=lasts_ns) for number in range(levels)),
        break_glass=BreakGlass(openers=("group:duty",), lasts_ns=glass_ns),
    )
    plain = opened("a", deadline_ns=deadline_ns)
    return replace(plain, hold=replace(plain.hold, terms=terms))


def escalated(level: int) -> Escalated:
    return Escalated(approval_id="a", level=level, asked=(f"group:level-{level}",))


async def test_a_level_is_escalated_once_in_order_and_only_when_it_is_over(open_ledger: Open) -> None:
    async with open_ledger() as one, open_ledger() as other:
        await one.append(stepped(time.time_ns() + 2 * HOUR_NS + HOUR_NS // 2))  # the first hour has half an hour left
        with pytest.raises(ApprovalConflict, match="level 0 of approval a is not over"):
            await one.append(escalated(1))
    async with open_ledger() as one, open_ledger() as other:
        overdue = stepped(time.time_ns() + HOUR_NS + HOUR_NS // 2)  # as the next test of the desk: the first hour is over
        await one.append(replace(overdue, approval_id="b", request_key="b"))
        with pytest.raises(ApprovalConflict, match="cannot go to 2"):
            await one.append(replace(escalated(2), approval_id="b"))
        results = []

        async def race(ledger: Ledger) -> None:
            try:
                results.append(await ledger.append(replace(escalated(1), approval_id="b")))
            except ApprovalConflict as conflict:
                results.append(conflict)

        async with anyio.create_task_group() as group:
            for ledger in (one, other, one, other):
                group.start_soon(race, ledger)
        assert sum(isinstance(result, ApprovalConflict) for result in results) == 3
        (approval,) = await other.approval("b")
        assert (approval.level, approval.state) == (1, S.PENDING)
        assert [record.index["kind"] for record in await one.search(Query(kind="approval.escalated"))] == ["approval.escalated"]


async def test_break_glass_is_used_soon_or_never_and_is_reviewed_once(ledger: Ledger) -> None:
    await ledger.append(stepped(time.time_ns() + 3 * HOUR_NS, glass_ns=150_000_000))
    await ledger.append(Settled(approval_id="a", state=SettledAs.APPROVED, reason="two openers", break_glass=True))
    (approval,) = await ledger.open_items()
    assert (approval.needs_review, approval.break_glass) == (True, True)
    assert approval.usable_until_ns < approval.deadline_ns - 2 * HOUR_NS
    await anyio.sleep(0.2)
    with pytest.raises(ApprovalConflict, match="deadline"):
        await ledger.append(spend("a"))
    await ledger.append(settled("a", SettledAs.EXPIRED))
    assert [item.id for item in await ledger.open_items()] == ["a"], "unused, it is reviewed all the same"
    review = Reviewed(approval_id="a", person=person("eve"), comment="a fire drill")
    await ledger.append(review)
    with pytest.raises(ApprovalConflict, match="nothing to review"):
        await ledger.append(review)
    assert await ledger.open_items() == ()
    (approval,) = await ledger.approval("a")
    assert [(remark.kind.value, remark.person, remark.comment) for remark in approval.remarks] == [
        ("reviewed", "https://idp.example#eve", "a fire drill")
    ]


async def test_a_proposal_stands_until_it_is_taken_up_once_by_the_very_call(ledger: Ledger) -> None:
    await ledger.append(opened("a"))
    await ledger.append(vote("a", who="carol"))
    await ledger.append(proposed("a"))
    (denied,) = await ledger.offers("other")
    assert (denied.id, denied.state, denied.exact, denied.settled_ns > 0) == ("a", S.DENIED, b"", True)
    assert denied.offered == proposed("a").exact and denied.usable_until_ns == denied.settled_ns + denied.terms.lasts_ns
    assert [one.id for one in await ledger.live("key")] == ["a"], "the identical call is answered by it"
    assert await ledger.offers("key") == ()
    with pytest.raises(ApprovalConflict, match="stands for the identical call"):
        await ledger.append(opened("b"))
    for wrong in (replace(opened("b", key="third"), accepts="a"), replace(opened("b", key="other"), accepts="nobody's")):
        with pytest.raises(ApprovalConflict):
            await ledger.append(wrong)
    with pytest.raises(ApprovalConflict, match="no proposal whose time is over"):
        await ledger.append(Lapsed(approval_id="a"))
    await ledger.append(replace(opened("b", key="other"), accepts="a"))
    (taken,), (accepted,) = await ledger.approval("a"), await ledger.approval("b")
    assert (taken.taken_by, taken.offered, [one.voter for one in taken.offer]) == ("b", b"", ["https://idp.example#bob"])
    assert accepted.votes == taken.offer and accepted.state is S.PENDING
    (vote_of,) = accepted.votes
    assert (vote_of.verdict, vote_of.time_ns, vote_of.comment) == ("approve", taken.settled_ns, "for less")
    await ledger.append(settled("b", SettledAs.DENIED, ballots=1))
    with pytest.raises(ApprovalConflict, match="no proposal of this call"):
        await ledger.append(replace(opened("c", key="other"), accepts="a"))
    assert await ledger.offers() == () and await ledger.live("key") == ()
    (record,) = await ledger.search(Query(kind="approval.proposed"))
    members = parse(record.leaf)
    assert members["approval"]["changed"] == ["amount"] and members["approval"]["state"] == "denied"
    assert b"encrypted" not in record.leaf and b"for less" not in record.leaf


async def test_a_proposal_of_two_calls_at_once_is_taken_up_by_one(open_ledger: Open) -> None:
    async with open_ledger() as one, open_ledger() as other:
        await one.append(opened("a"))
        await one.append(proposed("a"))
        results: list[object] = []

        async def take_up(ledger: Ledger, name: str) -> None:
            try:
                results.append(await ledger.append(replace(opened(name, key="other"), accepts="a")))
            except ApprovalConflict as conflict:
                results.append(conflict)

        async with anyio.create_task_group() as group:
            for number, ledger in enumerate((one, other, one, other)):
                group.start_soon(take_up, ledger, f"b{number}")
        assert sum(isinstance(result, ApprovalConflict) for result in results) == 3
        (taken,) = await other.approval("a")
        (accepted,) = await other.approval(taken.taken_by)
        assert len(accepted.votes) == 1


async def test_a_proposal_whose_time_is_over_can_only_lapse(open_ledger: Open) -> None:
    now = [time.time_ns()]
    async with open_ledger(clock=lambda: now[0]) as ledger:
        await ledger.append(opened("a", deadline_ns=now[0] + HOUR_NS))
        await ledger.append(proposed("a"))
        now[0] += HOUR_NS
        assert await ledger.live("key") == ()
        with pytest.raises(ApprovalConflict, match="no proposal of this call"):
            await ledger.append(replace(opened("b", key="other", deadline_ns=now[0] + HOUR_NS), accepts="a"))
        await ledger.append(Lapsed(approval_id="a"))
        (lapsed,) = await ledger.approval("a")
        assert (lapsed.offered, lapsed.taken_by) == (b"", "") and await ledger.offers() == ()


async def test_a_vote_taken_back_stays_in_the_store_and_counts_for_what_it_is(ledger: Ledger) -> None:
    await ledger.append(opened("a"))
    await ledger.append(vote("a"))
    await ledger.append(VoteWithdrawn(approval_id="a", voter=person("bob")))
    with pytest.raises(ApprovalConflict, match="no vote of"):
        await ledger.append(VoteWithdrawn(approval_id="a", voter=person("bob")))
    with pytest.raises(ApprovalConflict, match="other votes"):
        await ledger.append(settled("a", ballots=1))
    await ledger.append(vote("a", comment="after all"))
    (approval,) = await ledger.approval("a")
    assert [bool(one.withdrawn_ns) for one in approval.votes] == [True, False]
    assert approval.votes[1].comment == "after all"
    await ledger.append(settled("a", ballots=3))
    assert await state(ledger) is S.APPROVED


async def test_an_unknown_outcome_is_listed_until_a_person_says_what_became_of_it(ledger: Ledger) -> None:
    await reach(ledger, S.INDETERMINATE)
    assert [item.needs_resolution for item in await ledger.open_items()] == [True]
    assert [approval.id for approval in await ledger.live("key")] == ["a"]
    resolved = Resolved(approval_id="a", person=person("bob"), happened=Happened.NO, comment="nothing on the account")
    await ledger.append(resolved)
    assert await ledger.open_items() == ()
    assert await ledger.live("key") == (), "now it may be asked for afresh"
    with pytest.raises(ApprovalConflict, match="resolved already"):
        await ledger.append(resolved)
    (approval,) = await ledger.approval("a")
    assert (approval.state, approval.remarks[0].happened) == (S.INDETERMINATE, "no")


def test_an_approval_of_before_there_were_terms_is_read_as_it_was(folder: Path) -> None:
    data = folder / "data"
    data.mkdir(exist_ok=True)
    with closing(apsw.Connection(str(data / "ledger.db"))) as db:
        older = MIGRATIONS.index(_TERMS)
        for migration in MIGRATIONS[:older]:
            db.execute(migration).fetchall()
        db.execute(
            "INSERT INTO approvals VALUES ('a','pending','d','k',0,'c','i#alice','[]','bank__transfer','[\"group:leads\"]',2,"
            '\'["r1"]\',\'because\',\'p\',1000,5000,\'[{"voter":"i#bob","verdict":"approve","comment":"","time_ns":7}]\',x\'\',\'\',\'\')'
        ).fetchall()
        db.pragma("user_version", older)
    with closing(SqliteDatabase(data).connect()) as store:
        (row,) = store.approvals((), (), 10)
    level = Level(seats=(Seats(2, ("group:leads",)),), lasts_ns=4_000)
    assert (row.terms, row.usable_until_ns, row.level, row.remarks) == (Terms(levels=(level,)), 5_000, 0, ())
    assert (row.votes[0].voter, row.votes[0].fits) == ("i#bob", ())
