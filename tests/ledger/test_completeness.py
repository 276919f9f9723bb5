"""Records withheld, repeated or miscounted by somebody who holds the signing key, so that all else about the log is sound."""

# ruff: noqa: E501 (tables: one case to a line)

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import pytest
from ledger_parts import ORIGIN, Open, intent, opened, outcome, refusal
from stores import Kept, verified
from test_sessions import IDLE_S, Clock

from mcpgw.ledger.checkpoint import Checkpoint
from mcpgw.ledger.checks import ProblemKind as K
from mcpgw.ledger.completeness import DAY_NS, CountedWindows, DailySummaries, SessionNumbers
from mcpgw.ledger.keys import load_signer
from mcpgw.ledger.record import Draft, Members, parse, seal
from mcpgw.ledger.store import Head
from mcpgw.ledger.tree import Frontier

Change = Callable[[list[Members]], object]
_PLACE = ("v", "log", "seq", "id", "kind", "time_ns")


def written_again(kept: Kept, change: Change) -> None:
    """Rewrite the whole log as the holder of its key could: every place, hash, column and signature fits."""
    with closing(kept.database().connect_read_only()) as store:
        before = store.records(0, 10_000)
        payloads = {record.event_id: store.payloads(record.seq, record.seq + 1) for record in before}
    leaves = [parse(record.leaf) for record in before]
    change(leaves)
    with kept.tampering() as admin:
        for table in ("records", "payloads", "checkpoints"):
            admin.execute(f"DELETE FROM {table}")
    signer = load_signer(kept.folder / "keys", ORIGIN)
    frontier = Frontier()
    with closing(kept.database().connect()) as store:
        tx = store.begin()
        for seq, leaf in enumerate(leaves):
            members = {name: value for name, value in leaf.items() if name not in _PLACE}
            made = Draft(event_id=f"{leaf['id']}", kind=leaf["kind"], members=members)
            record = seal(made, log=ORIGIN, seq=seq, time_ns=int(leaf["time_ns"]))
            tx.insert(record)
            frontier = frontier.appended(record.hash)
        tx.save_head(Head(frontier, signer.sign(Checkpoint(ORIGIN, frontier.size, frontier.root()).text())))
        tx.commit()
    with kept.tampering() as admin:
        for seq, leaf in enumerate(leaves):
            for payload in payloads.get(leaf["id"], ()):
                values = (seq, payload.slot, payload.salt, payload.packed)
                admin.execute("INSERT INTO payloads (seq, slot, salt, body) VALUES (?, ?, ?, ?)", values)


def found(kept: Kept) -> set[tuple[K, str]]:
    """Kind and words of what verification finds, without the record that it names."""
    return {(problem.kind, problem.what.partition(": ")[2]) for problem in verified(kept).problems}


@pytest.fixture
async def written(anyio_backend: str, open_ledger: Open, kept: Kept) -> Kept:
    """0 started, 1 opened, 2 intent, 3 outcome, 4 refused, 5 held, 6 closed, 7 opened, 8 intent, 9 stopped."""
    clock = Clock()
    async with open_ledger(clock=clock, session_idle_s=IDLE_S) as ledger:
        await ledger.append(outcome(await ledger.append(intent())))
        await ledger.append(refusal())
        await ledger.append(opened("a"))
        clock.pass_s(2 * IDLE_S)
        await ledger.close_idle_sessions()
        await ledger.append(intent())
    return kept


def renumber(leaves: list[Members]) -> None:
    """Close the gap in the numbers of the first session, too."""
    session = leaves[1]["session"]["id"]
    for number, leaf in enumerate(leaf for leaf in leaves if leaf.get("session", {}).get("id") == session):
        leaf["session"]["seq"] = number


def without(*seqs: int) -> Change:
    def change(leaves: list[Members]) -> None:
        leaves[:] = [leaf for leaf in leaves if leaf["seq"] not in seqs]

    return change


def copied(leaves: list[Members], seq: int, to: int) -> None:
    copy = json.loads(json.dumps(leaves[seq]))
    copy["id"] = copy["id"][:-4] + "beef"
    copy.pop("payloads", None)
    leaves.insert(to, copy)


def closed_first(leaves: list[Members]) -> None:
    leaves.insert(4, leaves.pop(6))
    leaves[4]["session"]["seq"] = 3


def test_the_log_rewritten_as_it_was_is_good(written: Kept) -> None:
    written_again(written, lambda leaves: None)
    assert verified(written).ok, verified(written).problems


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without(4), ["it is number 4 of session S, and 3 comes next: 1 of it are missing"]),
        (
            lambda leaves: (without(4)(leaves), renumber(leaves)),
            ["it closes session S and says 6 records where there are 5, 1 refused where there are 0"],
        ),
        (without(1), ["it belongs to session S, which no record opened"]),
        (
            lambda leaves: copied(leaves, 4, 5),
            ["it is number 3 of session S, and 4 comes next: there is one of that number already"],
        ),
        (lambda leaves: copied(leaves, 4, 7), ["it belongs to session S, which was closed before"]),
        (closed_first, ["it closes session S and says 6 records where there are 4, 1 held where there are 0, "
                        "1 refused where there are 0", "it belongs to session S, which was closed before"]),
        (lambda leaves: leaves[6]["counts"].update(permitted=2), ["it closes session S and says 2 permitted where there are 1"]),
    ],
    ids=["withheld", "withheld and renumbered", "opening withheld", "repeated", "after its end", "closed too early", "miscounted"],
)  # fmt: skip
def test_a_session_that_does_not_add_up_is_found(change: Change, says: Sequence[str], written: Kept) -> None:
    with closing(written.database().connect_read_only()) as store:
        session = parse(store.records(1, 1)[0].leaf)["session"]["id"]
    written_again(written, change)
    told = {(kind, what.replace(session, "S")) for kind, what in found(written)}
    assert told == {(K.SESSION, what) for what in says}


def test_a_record_that_was_deleted_is_reported_once_and_not_for_every_number_after_it(written: Kept) -> None:
    with written.tampering() as admin:
        admin.execute("DELETE FROM records WHERE seq = 4")
        admin.execute("DELETE FROM payloads WHERE seq = 4")
    assert [problem.kind for problem in verified(written).problems] == [K.MISSING]


# --- counted refusals ------------------------------------------------------------------------------------------------------


def window(from_ns: int, to_ns: int, page: int = 1, pages: int = 1, node: str = "n") -> Members:
    facts = {"from_ns": str(from_ns), "to_ns": str(to_ns), "page": page, "pages": pages, "counts": []}
    return {"kind": "refusals.counted", "node": node, "facts": facts}


def objections(check: Any, leaves: Sequence[Members]) -> list[str]:
    notes = [check.noted(leaf) for leaf in leaves]
    return [what for note in notes if note is not None for _, what in check.objections(note)]


@pytest.mark.parametrize(
    ("windows", "says"),
    [
        ([window(1, 2), window(2, 3), window(5, 6)], []),
        ([window(1, 2, 1, 2), window(1, 2, 2, 2), window(2, 3)], []),
        ([window(1, 5), window(2, 6, node="other")], []),
        ([window(1, 5), window(4, 6)], ["the window in which it counts refusals overlaps with the one before it of the same process"]),
        ([window(1, 5), window(1, 5)], ["it is page 1 of 1 of counted refusals, and page 2 comes next"]),
        ([window(1, 5, 2, 2)], ["it is page 2 of 2 of counted refusals, and page 1 comes next"]),
        ([window(1, 5, 1, 2), window(5, 6)], ["the window in which it counts refusals comes before all pages of the one before it "
                                               "of the same process"]),
        ([window(5, 1)], ["the window in which it counts refusals ends before it begins"]),
    ],
)  # fmt: skip
def test_counted_refusals_that_are_told_twice_or_in_part_are_found(windows: list[Members], says: list[str]) -> None:
    assert objections(CountedWindows(from_start=True), windows) == says


# --- daily summaries -------------------------------------------------------------------------------------------------------


def call(seq: int, day: int, who: str, server: str = "bank", kind: str = "call.intent") -> Members:
    identity = {"iss": "i", "sub": who}
    decision = {"effect": "allow"}
    return {
        "kind": kind,
        "seq": seq,
        "time_ns": str(day * DAY_NS),
        "who": identity,
        "target": {"server": server},
        "decision": decision,
    }


def summary(seq: int, day: int, start: int, end: int, *counts: list[Any], page: int = 1, pages: int = 1) -> Members:
    facts = {"from": start, "to": end, "page": page, "pages": pages, "counts": [*counts]}
    return {"kind": "summary.daily", "seq": seq, "time_ns": str(day * DAY_NS), "facts": facts}


A, B = ["x", "bank", "call.intent", "allow", 2], ["y", "bank", "call.intent", "allow", 1]
CALLS = [call(0, 1, "alice"), call(1, 1, "bob"), call(2, 1, "alice")]


@pytest.mark.parametrize(
    ("leaves", "says"),
    [
        ([*CALLS, summary(3, 2, 0, 3, A, B)], []),
        ([*CALLS, summary(3, 2, 0, 3, A, page=1, pages=2), summary(4, 2, 0, 3, B, page=2, pages=2)], []),
        ([*CALLS, call(3, 2, "bob"), summary(4, 2, 0, 3, A, B), call(5, 9, "bob"), summary(6, 9, 3, 5, B)], []),
        ([*CALLS, summary(3, 2, 0, 3, A)], ["it does not add up with records 0 to 2: it says 2 of bank call.intent allow, where there are 3"]),
        ([*CALLS, summary(3, 2, 0, 3, ["x", "bank", "call.intent", "allow", 3])],
         ["it does not add up with records 0 to 2: the totals do, but not by identity"]),
        ([*CALLS, summary(3, 2, 1, 3, B)], ["it sums up records 1 to 2, where 0 to 2 are due to be summed up"]),
        ([*CALLS, summary(3, 2, 0, 3, A, B), summary(4, 2, 0, 3, A, B)], ["it sums up records 0 to 2, and no day is due to be summed up"]),
        ([*CALLS, summary(3, 1, 0, 3, A, B)], ["it sums up records 0 to 2, and no day is due to be summed up"]),
        ([*CALLS, summary(3, 2, 0, 3, B, page=2, pages=2)], ["it is page 2 of 2 of a daily summary, not the one that follows"]),
        ([*CALLS, call(3, 2, "bob"), call(4, 3, "bob"), summary(5, 3, 3, 4, B)],
         ["it sums up records 3 to 3, where 0 to 2 are due to be summed up"]),
    ],
)  # fmt: skip
def test_a_daily_summary_that_does_not_add_up_is_found(leaves: list[Members], says: list[str]) -> None:
    assert objections(DailySummaries(from_start=True), leaves) == says


def test_a_check_that_begins_in_the_middle_blames_nobody_for_what_it_has_not_seen() -> None:
    middle = [*CALLS[1:], summary(3, 2, 0, 3, A, B), call(4, 2, "bob"), call(5, 3, "bob")]
    late = [*middle, summary(6, 3, 3, 5, ["z", "bank", "call.intent", "allow", 7])]
    assert objections(DailySummaries(from_start=False), middle) == []
    assert len(objections(DailySummaries(from_start=False), late)) == 1
    assert objections(CountedWindows(from_start=False), [window(1, 2, 2, 2)]) == []
    numbered = {"kind": "call.intent", "session": {"id": "s", "seq": 7}}
    assert objections(SessionNumbers(from_start=False), [numbered]) == []
    assert len(objections(SessionNumbers(from_start=False), [numbered, numbered])) == 1


def test_counted_refusals_are_part_of_a_days_summary() -> None:
    counted = {"kind": "refusals.counted", "seq": 0, "time_ns": str(DAY_NS), "node": "n", "facts": {
        "counts": [{"who": "10.0.0.1", "code": "denied", "count": 70}]}}  # fmt: skip
    line = ["x", "", "refusals.counted", "denied", 70]
    assert objections(DailySummaries(from_start=True), [counted, summary(1, 2, 0, 1, line)]) == []
    line[-1] = 69
    assert len(objections(DailySummaries(from_start=True), [counted, summary(1, 2, 0, 1, line)])) == 1
