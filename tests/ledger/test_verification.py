"""Verification in parts: ranges, vigils, many anchors, several processes; on either store."""

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from ledger_parts import Open, failed, intent, opened, outcome, settled, spend
from stores import Kept

from mcpgw.core.entries import Event
from mcpgw.ledger import verify as verifying
from mcpgw.ledger.checkpoint import Checkpoint, Verifier, open_checkpoint
from mcpgw.ledger.checks import Approvals
from mcpgw.ledger.checks import ProblemKind as K
from mcpgw.ledger.examiners import Examiners
from mcpgw.ledger.keys import load_verifiers
from mcpgw.ledger.store import Reading
from mcpgw.ledger.verify import WHOLE, Report, verify
from mcpgw.ledger.vigil import Vigil

LAST = 24
"""Records that `written` writes, each under a checkpoint of its own, but for the first two."""


@pytest.fixture
async def written(anyio_backend: str, open_ledger: Open, kept: Kept) -> Kept:
    """0 the session opened, with 1 held, 2 settled, 3 its intent, 4 its outcome, 5 to 22 intents and outcomes, 23 stopped."""
    async with open_ledger(announce=False) as ledger:
        await ledger.append(opened("a"))
        await ledger.append(settled("a"))
        await ledger.append(outcome(await ledger.append(spend("a"))))
        for _ in range(9):
            await ledger.append(outcome(await ledger.append(intent()), failed()))
        await ledger.append(Event(kind="gateway.stopped", actor="gateway", facts={}))
    return kept


@contextmanager
def reading(kept: Kept) -> Iterator[Reading]:
    with closing(kept.database().connect_read_only()) as store:
        yield store


def keys(kept: Kept) -> tuple[Verifier, ...]:
    return load_verifiers(kept.folder / "keys")


def verified(kept: Kept, within: range = WHOLE, against: tuple[Checkpoint, ...] = ()) -> Report:
    with reading(kept) as store:
        return verify(store, keys(kept), within=within, against=against)


def anchors(kept: Kept, *sizes: int) -> tuple[Checkpoint, ...]:
    with reading(kept) as store:
        return tuple(open_checkpoint(store.checkpoint_at_most(size)[0].note, keys(kept)) for size in sizes)


def found(report: Report) -> list[tuple[K, int, int]]:
    return [(problem.kind, problem.records.start, problem.records.stop) for problem in report.problems]


def alter(kept: Kept, *statements: str) -> None:
    with kept.tampering() as admin:
        for statement in statements:
            assert admin.execute(statement).rowcount > 0


def cut_back(kept: Kept, size: int) -> None:
    """Put the log back to when it had so many records; sessions that went on are opened anew."""
    places = (("checkpoints", "size"), ("records", "seq + 1"), ("payloads", "seq + 1"))
    alter(kept, *[f"DELETE FROM {table} WHERE {column} > {size}" for table, column in places], "DELETE FROM sessions")


# --- ranges --------------------------------------------------------------------------------------------------------------


def test_every_range_of_a_good_log_is_good_whatever_came_before_it(written: Kept) -> None:
    """Record 3 spends an approval that a range from 3 on has not seen given."""
    for start, stop in itertools.combinations(range(LAST + 1), 2):
        report = verified(written, range(start, stop))
        first, end = (0 if start == 1 else start), max(stop, 2)  # there is no checkpoint over record 0 alone
        assert (report.ok, report.first, report.records) == (True, first, end - first), (start, stop, report.problems)


def test_a_range_finds_what_is_wrong_in_it_and_nothing_else(written: Kept) -> None:
    alter(written, "UPDATE records SET time_ns = 1 WHERE seq = 9", "DELETE FROM records WHERE seq = 20")
    assert found(verified(written, range(5, 15))) == [(K.COLUMNS, 9, 10)]
    assert found(verified(written, range(15, 23))) == [(K.MISSING, 20, 21)]
    assert verified(written, range(10, 20)).ok


def test_a_range_says_what_it_did_not_look_at(written: Kept) -> None:
    said = " / ".join(verified(written, range(5, 15), anchors(written, 3, 7, 20)).unestablished)
    for part in ("before record 5", "from record 15 on", "the database's file", "2 of the checkpoints kept elsewhere"):
        assert part in said
    assert verified(written, WHOLE, anchors(written, 3)).unestablished == ()


def test_a_range_begins_at_an_older_checkpoint_where_the_nearest_is_not_to_be_believed(written: Kept) -> None:
    alter(written, "UPDATE checkpoints SET frontier = x'00' WHERE size IN (9, 10)")
    report = verified(written, range(10, 15))
    assert report.first == 8
    assert found(report) == [(K.CHECKPOINT, 0, 0), (K.CHECKPOINT, 0, 0)]


def test_an_approval_that_is_spent_twice_within_a_range_is_found(written: Kept) -> None:
    part = Approvals(from_start=False)
    spent = ("a", None)
    assert [len([*part.objections(note)]) for note in (spent, spent, ("a", True), spent, ("a", False), spent)] == [
        0, 1, 0, 0, 0, 1,
    ]  # fmt: skip
    whole = Approvals(from_start=True)
    assert [len([*whole.objections(note)]) for note in (spent, ("a", True), spent, spent)] == [1, 0, 0, 1]


# --- what was kept elsewhere ---------------------------------------------------------------------------------------------


def test_all_anchors_are_compared_in_one_walk(written: Kept) -> None:
    report = verified(written, WHOLE, anchors(written, *range(2, LAST + 1)))
    assert (report.ok, report.anchors, report.anchored) == (True, LAST - 1, LAST)


def test_a_log_cut_back_is_found_with_the_largest_anchor(written: Kept) -> None:
    kept = anchors(written, 5, 12, 18, LAST)
    cut_back(written, 15)
    assert verified(written).ok, "without what was kept elsewhere nobody can know"
    report = verified(written, WHOLE, kept)
    assert found(report) == [(K.ANCHOR, 15, LAST)]
    assert report.anchors == 2
    assert verified(written, range(3, 12), kept).ok, "a range that ends before says nothing of what comes behind it"


async def test_a_fork_is_located_between_two_anchors(written: Kept, open_ledger: Open) -> None:
    kept = anchors(written, 5, 12, 18, 22)
    cut_back(written, 15)
    async with open_ledger() as ledger:
        for _ in range(6):
            await ledger.append(intent())
    assert verified(written).ok
    report = verified(written, WHOLE, kept)
    assert found(report) == [(K.ANCHOR, 12, 18)]
    assert "1 more differ as well" in report.problems[-1].what


def test_an_anchor_where_records_are_missing_is_not_said_to_be_met(written: Kept) -> None:
    kept = anchors(written, 10)
    alter(written, "DELETE FROM records WHERE seq = 8", "DELETE FROM checkpoints WHERE size BETWEEN 9 AND 11")
    report = verified(written, WHOLE, kept)
    assert found(report) == [(K.MISSING, 8, 9), (K.ANCHOR, 0, 10)]
    assert "cannot be compared" in report.problems[-1].what


# --- vigils --------------------------------------------------------------------------------------------------------------


async def test_a_vigil_verifies_what_is_new_alone(written: Kept, open_ledger: Open) -> None:
    vigil = Vigil(keys(written))
    with reading(written) as store:
        assert vigil.look(store).records == LAST
    alter(written, "UPDATE records SET time_ns = 1 WHERE seq = 9")
    async with open_ledger() as ledger:
        await ledger.append(intent())
    with reading(written) as store:
        report = vigil.look(store)
    assert report.ok and report.records > LAST, "the past was verified already, and stays"
    async with open_ledger() as ledger:
        await ledger.append(intent())
    alter(written, f"UPDATE records SET time_ns = 1 WHERE seq = {report.records}")
    with reading(written) as store:
        assert found(vigil.look(store)) == [(K.COLUMNS, report.records, report.records + 1)]


async def test_a_vigil_locates_a_fork_by_what_it_remembers(written: Kept, open_ledger: Open) -> None:
    vigil = Vigil(keys(written))
    with reading(written) as store:
        vigil.look(store)
    async with open_ledger() as ledger:
        await ledger.append(intent())
    with reading(written) as store:
        newest = vigil.look(store).records
    cut_back(written, LAST)
    async with open_ledger() as ledger:
        for _ in range(8):
            await ledger.append(intent())
    assert verified(written).ok
    with reading(written) as store:
        assert found(vigil.look(store)) == [(K.ANCHOR, LAST, newest)]


# --- several processes ---------------------------------------------------------------------------------------------------


def test_processes_find_what_one_finds_in_the_same_order(written: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "_WORTH", 0)
    monkeypatch.setattr(verifying, "SPAN", 5)

    def by_processes(kept: tuple[Checkpoint, ...] = ()) -> Report:
        with reading(written) as store:
            return verify(store, keys(written), against=kept, database=written.database())

    kept = anchors(written, 3, 11, LAST)
    assert by_processes(kept) == verified(written, WHOLE, kept)
    assert by_processes().ok
    alter(
        written,
        "UPDATE records SET time_ns = 1 WHERE seq = 9",
        "DELETE FROM records WHERE seq IN (14, 15)",
        "UPDATE checkpoints SET frontier = x'00' WHERE size = 22",
    )
    report = by_processes(kept)
    assert report == verified(written, WHOLE, kept)
    assert found(report) == [(K.COLUMNS, 9, 10), (K.MISSING, 14, 15), (K.MISSING, 15, 16), (K.CHECKPOINT, 0, 0)]


def test_what_a_dead_process_does_not_answer_is_left_to_the_one_that_asked(written: Kept) -> None:
    with closing(Examiners(written.database(), keys(written)[0].name, keys(written), whole_file=True)) as examiners:
        answers = examiners.sound([range(at, at + 2) for at in range(0, LAST, 2)])
        assert next(answers)[1] is not None
        for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
            if b"mcpgw.ledger.examiners" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)
        rest = list(answers)
        assert examiners.damage() in (None, [])
    assert [span.start for span, _ in rest] == [*range(2, LAST, 2)]
    assert rest[-1][1] is None
