"""What is erased is gone, from files too; a record says so; nothing under a legal hold goes; and the rest still proves."""

import hashlib
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pyrage
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_parts import HOUR_NS, Open, answered, asked, intent, opened, outcome, reply, settled, vote
from shredder import STEPS
from stores import Kept, verified

from mcpgw.core.canonical import commitment
from mcpgw.core.entries import SettledAs
from mcpgw.core.model import (
    Commitment,
    Intent,
    Sealed,
)
from mcpgw.ledger.backup import back_up, restore
from mcpgw.ledger.checks import ProblemKind
from mcpgw.ledger.erasure import CLEAN_SLOTS, RAW_SLOTS, Erasures, named, places_named
from mcpgw.ledger.holds import LegalHold
from mcpgw.ledger.journal import Ledger
from mcpgw.ledger.keys import load_verifiers
from mcpgw.ledger.places import Place, is_named
from mcpgw.ledger.projections import compare, rebuild
from mcpgw.ledger.record import parse, unpack
from mcpgw.ledger.shredding import Asked, Retention
from mcpgw.ledger.sqlite import SqliteDatabase
from mcpgw.ledger.store import StoredPayload
from mcpgw.ledger.unseal import Identities
from mcpgw.ledger.vault import Sheet, seal
from mcpgw.ledger.verify import verify
from mcpgw.ports import ApprovalState

WHY, WHO = "she asked for it", "os:officer"
DAY_NS = 24 * HOUR_NS


async def called(ledger: Ledger, who: str, text: str = "done", *, sealed: bytes = b"") -> Sealed[Intent]:
    """Record a whole call, whose raw payloads are sealed if `sealed` says as what."""
    wanted = intent(who)
    files = (sealed,) if sealed else ()
    begun = await ledger.append(replace(wanted, shown=replace(wanted.shown, sealed=files)))
    await ledger.append(outcome(begun, replace(reply(text), sealed=files)))
    return begun


def payloads(kept: Kept) -> dict[tuple[int, str], StoredPayload]:
    with closing(kept.database().connect_read_only()) as store:
        return {(one.seq, one.slot): one for one in store.payloads(0, 2**62)}


def of(kept: Kept, who: str) -> set[tuple[int, str]]:
    with closing(kept.database().connect_read_only()) as store:
        records = {one.seq: one for one in store.records(0, 10_000)}
    return {place for place in payloads(kept) if str(records[place[0]].index["principal"]).endswith(f"#{who}")}


def facts(kept: Kept, kind: str) -> list[dict[str, Any]]:
    with closing(kept.database().connect_read_only()) as store:
        found = [parse(one.leaf) for one in store.records(0, 10_000)]
    return [one["facts"] for one in found if one["kind"] == kind]


def bytes_kept(kept: Kept) -> bytes:
    """Return all that the store holds: its files on SQLite, its tables on PostgreSQL."""
    if kept.kind == "sqlite":
        return b"".join(path.read_bytes() for path in sorted((kept.folder / "data").rglob("*")) if path.is_file())
    found = b""
    with kept.admin() as admin:
        for table in ("records", "checkpoints", "payloads", "approvals", "open_calls", "nodes", "sessions", "marks", "holds"):
            for row in admin.execute(f"SELECT * FROM {table}").fetchall():
                found += b"\0".join(one if isinstance(one, bytes) else str(one).encode() for one in row)
    return found


async def test_a_persons_payloads_are_shredded_and_everything_else_stands(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        for who in ("alice", "bob"):
            await called(ledger, who, "the same answer", sealed=b"age file of both")
        others, hers = of(kept, "bob"), of(kept, "alice")
        before = {place: payloads(kept)[place] for place in others}
        assert {slot for _, slot in hers} == {"arguments.clean", "result.clean", "arguments.sealed", "result.sealed"}
        looked = await ledger.eraser.shred(Asked(who="alice"), WHY, WHO, dry_run=True)
        assert looked.count == 4 and not looked.records and of(kept, "alice") == hers
        tally = await ledger.eraser.shred(Asked(who="alice"), WHY, WHO)
    assert tally.payloads == dict.fromkeys(["arguments.clean", "arguments.sealed", "result.clean", "result.sealed"], 1)
    assert of(kept, "alice") == set()
    assert {place: payloads(kept)[place] for place in others} == before, (
        "equal payloads of others have rows and salts of their own"
    )
    (told,) = facts(kept, "payload.shredded")
    assert (told["reason"], told["asked"]) == (WHY, {"who": "alice"})
    report = verified(kept)
    assert report.ok, report.problems
    assert [(one.seq, one.payloads, one.reason, one.actor) for one in report.erased] == [(tally.records[0], 4, WHY, WHO)]


async def test_what_was_shredded_is_in_no_file_and_no_table(open_ledger: Open, kept: Kept) -> None:
    """The packed payload, the sealed file and the salts, while the ledger is open as well."""
    file = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(200))  # over several pages of the database
    async with open_ledger() as ledger:
        await called(ledger, "alice", "a long and quite peculiar answer " * 5, sealed=file)
        gone = [payloads(kept)[place] for place in of(kept, "alice")]
        pieces = [piece for one in gone for piece in (one.salt, one.packed[8:40], one.packed[-30:])]
        assert all(piece in bytes_kept(kept) for piece in pieces), "this searches where they are"
        assert (await ledger.eraser.shred(Asked(who="alice"), WHY, WHO)).count == 4
        assert not [piece for piece in pieces if piece in bytes_kept(kept)]
        await called(ledger, "alice")
    assert not [piece for piece in pieces if piece in bytes_kept(kept)]


async def test_a_session_or_one_call_can_be_shredded(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        first, second = await called(ledger, "alice"), await called(ledger, "alice")
        await called(ledger, "bob")
        assert (await ledger.eraser.shred(Asked(event_id=first.event_id), WHY, WHO)).count == 2
        assert {seq for seq, _ in of(kept, "alice")} == {second.seq, second.seq + 1}
        with closing(kept.database().connect_read_only()) as store:
            session = str(store.records(second.seq, 1)[0].index["session"])
        assert (await ledger.eraser.shred(Asked(session=session), WHY, WHO)).count == 2
        assert (await ledger.eraser.shred(Asked(event_id="nothing"), WHY, WHO)).count == 0
    assert len(of(kept, "bob")) == 2 and of(kept, "alice") == set()
    assert verified(kept).ok


@pytest.mark.parametrize("by", ["who", "session", "event"])
async def test_questions_of_servers_and_answers_go_with_their_call(open_ledger: Open, kept: Kept, by: str) -> None:
    async with open_ledger() as ledger:
        begun = await ledger.append(intent("alice"))
        question = await ledger.append(asked(begun))
        await ledger.append(answered(begun, "the day of her wedding"))
        waits = await ledger.eraser.shred(Asked(who="alice"), WHY, WHO)
        assert (waits.count, waits.in_use) == (0, 3), "its call is under way"
        await ledger.append(outcome(begun))
        other = await called(ledger, "alice")
        with closing(kept.database().connect_read_only()) as store:
            session = str(store.records(begun.seq, 1)[0].index["session"])
        meant = {"who": Asked(who="alice"), "session": Asked(session=session), "event": Asked(event_id=question.event_id)}
        await ledger.eraser.hold(LegalHold(id="H1", session=session, reason="case 12"), WHO)
        under_hold = await ledger.eraser.shred(meant[by], WHY, WHO)
        assert under_hold.count == 0 and under_hold.held["H1"] >= 4
        await ledger.eraser.release("H1", WHY, WHO)
        tally = await ledger.eraser.shred(meant[by], WHY, WHO)
    calls = 1 if by == "event" else 2
    assert tally.payloads == {"arguments.clean": calls, "result.clean": calls, "question": 1, "answer": 1}
    assert {seq for seq, _ in of(kept, "alice")} == ({other.seq, other.seq + 1} if by == "event" else set())
    assert verified(kept).ok


async def test_a_sweep_leaves_what_was_asked_and_answered_in_a_session_that_is_held(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        begun = await ledger.append(intent("alice"))
        for entry in (asked(begun), answered(begun), outcome(begun)):
            await ledger.append(entry)
        with closing(kept.database().connect_read_only()) as store:
            session = str(store.records(begun.seq, 1)[0].index["session"])
        await ledger.eraser.hold(LegalHold(id="H1", session=session, reason="case 12"), WHO)
        over = Retention(clean_ns=-DAY_NS, raw_ns=-DAY_NS)
        swept = await ledger.eraser.sweep(over)
        assert (swept.count, swept.held) == (0, {"H1": 4})
        await ledger.eraser.release("H1", WHY, WHO)
        swept = await ledger.eraser.sweep(over)
        assert swept.payloads == dict.fromkeys(["answer", "arguments.clean", "question", "result.clean"], 1)


async def test_a_subject_is_named_to_the_letter(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        for who in ("alice", "malice", "al*"):
            await called(ledger, who)
        assert (await ledger.eraser.shred(Asked(who="al*"), WHY, WHO)).count == 2
        assert (await ledger.eraser.shred(Asked(who="https://idp.example#alice"), WHY, WHO)).count == 2
        assert len(of(kept, "malice")) == 2
    assert is_named("alice", "https://idp.example#alice") and not is_named("", "https://idp.example#")


async def test_nothing_under_a_legal_hold_is_shredded_until_it_is_released(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        await called(ledger, "alice")
        hold = LegalHold(id="H1", who="alice", reason="case 12")
        await ledger.eraser.hold(hold, WHO)
        await called(ledger, "alice")
        everything = payloads(kept)
        refused = await ledger.eraser.shred(Asked(who="alice"), WHY, WHO)
        assert refused.held == {"H1": 4} and not refused.records
        assert payloads(kept) == everything and not facts(kept, "payload.shredded")
        assert [one.id for one in await ledger.eraser.holds()] == ["H1"]
        assert not await ledger.eraser.release("H2", "no such hold", WHO)
        assert await ledger.eraser.release("H1", "the case is closed", WHO)
        assert (await ledger.eraser.shred(Asked(who="alice"), WHY, WHO)).count == 4
    assert verified(kept).ok
    assert facts(kept, "retention.released") == [{"id": "H1", "reason": "the case is closed"}]


async def test_a_call_under_way_and_a_hold_that_waits_are_not_shredded(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        begun = await ledger.append(intent("alice"))
        await ledger.append(opened("apr_1", who="bob"))
        for who in ("alice", "bob"):
            tally = await ledger.eraser.shred(Asked(who=who), WHY, WHO)
            assert tally.in_use and not tally.records
        await ledger.append(outcome(begun))
        assert (await ledger.eraser.shred(Asked(who="alice"), WHY, WHO)).count == 2


async def test_an_approvals_comments_go_with_its_requesters_payloads_and_it_can_still_be_listed(
    open_ledger: Open, kept: Kept
) -> None:
    async with open_ledger() as ledger:
        await ledger.append(opened("apr_1", who="alice"))
        await ledger.append(vote("apr_1", "carol", comment="Alice's rent"))
        await ledger.append(settled("apr_1", SettledAs.EXPIRED))
        assert (await ledger.approval("apr_1"))[0].votes[0].comment == "Alice's rent"
        assert (await ledger.eraser.shred(Asked(who="alice"), WHY, WHO)).payloads == {
            "arguments.clean": 1,
            "comment": 1,
            "facts": 1,
        }
        (approval,) = await ledger.approval("apr_1")
    assert approval.votes[0].comment == "" and approval.facts["erased"] is True and approval.facts["arguments"] == {}
    assert approval.state is ApprovalState.EXPIRED
    with closing(kept.database().connect()) as store:
        assert compare(store) == []
    assert verified(kept).ok


async def test_legal_holds_can_be_made_again_from_the_records(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        await ledger.eraser.hold(LegalHold(id="H1", session="s", from_ns=5, until_ns=9), WHO)
        await ledger.eraser.hold(LegalHold(id="H2", who="x"), WHO)
        await ledger.eraser.release("H2", "over", WHO)
        standing = await ledger.eraser.holds()
    with kept.tampering() as admin:
        admin.execute("UPDATE holds SET who = 'nobody'")
    with closing(kept.database().connect()) as store:
        assert compare(store) == ["the legal hold H1 does not stand as its records say"] * 2
        assert len(rebuild(store)) == 2 and compare(store) == [] and [*store.holds()] == [*standing]


async def test_a_sweep_erases_each_class_when_its_time_is_over_and_records_it(open_ledger: Open, kept: Kept) -> None:
    now = [time.time_ns()]
    async with open_ledger(clock=lambda: now[0]) as ledger:
        await called(ledger, "alice", sealed=b"age")
        await ledger.eraser.hold(LegalHold(id="H1", who="bob"), WHO)
        await called(ledger, "bob", sealed=b"age")
        kept_for = Retention(clean_ns=10 * DAY_NS, raw_ns=2 * DAY_NS)
        assert (await ledger.eraser.sweep(kept_for)).count == 0
        now[0] += 3 * DAY_NS
        await called(ledger, "carol", sealed=b"age")
        assert (await ledger.eraser.sweep(kept_for, dry_run=True)).count == 2
        swept = await ledger.eraser.sweep(kept_for)
        assert (swept.payloads, swept.held) == ({"arguments.sealed": 1, "result.sealed": 1}, {"H1": 2})
        assert {slot for _, slot in of(kept, "alice")} == {"arguments.clean", "result.clean"}
        now[0] += 8 * DAY_NS
        swept = await ledger.eraser.sweep(kept_for)
        assert (swept.count, swept.held) == (4, {"H1": 4}), "what alice has left, and what carol has sealed"
        assert (await ledger.eraser.sweep(kept_for)).count == 0
    assert of(kept, "alice") == set() and len(of(kept, "bob")) == 4 and len(of(kept, "carol")) == 2
    assert [one["class"] for one in facts(kept, "retention.swept")] == ["raw", "raw", "clean"]
    assert verified(kept).ok


async def test_a_sweep_takes_nothing_young_that_stands_before_a_record_of_a_clock_that_was_wrong(
    open_ledger: Open, kept: Kept
) -> None:
    now = [time.time_ns()]
    async with open_ledger(clock=lambda: now[0]) as ledger:
        for _ in range(10):
            await called(ledger, "alice")
        today, now[0] = now[0], DAY_NS  # a machine that has not asked for the time yet
        for _ in range(10):
            await called(ledger, "bob")
        now[0] = today
        for _ in range(10):
            await called(ledger, "carol")
        await ledger.eraser.sweep(Retention(clean_ns=10 * DAY_NS, raw_ns=10 * DAY_NS))
    assert len(of(kept, "alice")) == len(of(kept, "carol")) == 20
    assert verified(kept).ok


async def test_a_clock_that_ran_ahead_for_a_while_keeps_nothing_from_being_swept(open_ledger: Open, kept: Kept) -> None:
    now = [time.time_ns()]
    async with open_ledger(clock=lambda: now[0]) as ledger:
        for who, ahead_ns in (("alice", 0), ("bob", 10_000 * DAY_NS), ("carol", 0)):
            now[0] += ahead_ns
            for _ in range(10):
                await called(ledger, who)
            now[0] -= ahead_ns
        now[0] += 20 * DAY_NS
        await ledger.eraser.sweep(Retention(clean_ns=10 * DAY_NS, raw_ns=10 * DAY_NS))
    assert of(kept, "alice") == of(kept, "carol") == set() and len(of(kept, "bob")) == 20
    assert verified(kept).ok


async def test_a_sweep_that_was_made_to_take_what_was_not_due_is_found(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        begun = await called(ledger, "alice")
    told = "UPDATE records SET time_ns = ? WHERE seq <= ?"
    with kept.tampering() as admin:
        times = admin.execute("SELECT seq, time_ns FROM records WHERE seq <= ?", (begun.seq,)).fetchall()
        admin.execute(told, (DAY_NS, begun.seq))
    async with open_ledger() as ledger:
        swept = await ledger.eraser.sweep(Retention(clean_ns=10 * DAY_NS, raw_ns=10 * DAY_NS))
    assert swept.payloads["arguments.clean"] == 1
    with kept.tampering() as admin:
        for seq, time_ns in times:
            admin.execute("UPDATE records SET time_ns = ? WHERE seq = ?", (time_ns, seq))
    why = f"was swept, as record {swept.records[0]} says, before its time was over"
    whats = [problem.what for problem in verified(kept).problems]
    assert f"record {begun.seq}: the payload arguments.clean {why}" in whats
    assert sum(what.endswith(why) for what in whats) == swept.count


async def test_what_is_erased_while_the_records_say_that_it_is_held_is_found(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        begun = await called(ledger, "alice")
        await ledger.eraser.hold(LegalHold(id="H0", who="alice"), WHO)
        await ledger.eraser.release("H0", "over", WHO)
        held = await ledger.eraser.hold(LegalHold(id="H1", who="alice"), WHO)
    with kept.tampering() as admin:
        admin.execute("DELETE FROM holds")
    async with open_ledger() as ledger:
        shred = await ledger.eraser.shred(Asked(who="alice"), WHY, WHO)
        await ledger.eraser.hold(LegalHold(id="H2", who="alice"), WHO)
    why = f"was erased, as record {shred.records[0]} says, and the legal hold of record {held} stood"
    assert [problem.what for problem in verified(kept).problems] == [
        f"record {seq}: the payload {slot} {why}"
        for seq, slot in ((begun.seq, "arguments.clean"), (begun.seq + 1, "result.clean"))
    ]


async def test_one_process_of_several_sweeps(open_ledger: Open) -> None:
    now = [time.time_ns()]
    kept_for = Retention(clean_ns=DAY_NS, raw_ns=DAY_NS)
    async with open_ledger(clock=lambda: now[0]) as one, open_ledger(clock=lambda: now[0]) as other:
        await called(one, "alice")
        assert (await one.eraser.sweep(kept_for, every_ns=HOUR_NS)).count == 0
        now[0] += 2 * DAY_NS
        tallies = [await ledger.eraser.sweep(kept_for, every_ns=HOUR_NS) for ledger in (other, one)]
        assert [tally.count for tally in tallies] == [2, 0]


async def test_a_payload_that_no_record_erased_is_missing_and_one_that_came_back_is_told(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        mine, hers = await called(ledger, "bob"), await called(ledger, "alice")
        before = payloads(kept)[hers.seq, "arguments.clean"]
        await ledger.eraser.shred(Asked(who="alice"), WHY, WHO)
    with kept.tampering() as admin:
        admin.execute("DELETE FROM payloads WHERE seq = ? AND slot = 'arguments.clean'", (mine.seq,))
        admin.execute("INSERT INTO payloads VALUES (?, ?, ?, ?)", (before.seq, before.slot, before.salt, before.packed))
    report = verified(kept)
    assert {problem.kind for problem in report.problems} == {ProblemKind.PAYLOAD}
    assert [problem.what.partition(": ")[2] for problem in report.problems] == [
        "the payload arguments.clean is missing",
        f"the payload arguments.clean is there, and record {report.erased[0].seq} says that it was erased",
    ]


async def test_what_a_range_does_not_reach_is_not_established(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        begun = await called(ledger, "alice")
        for _ in range(3):
            await called(ledger, "bob")
        await ledger.eraser.shred(Asked(who="alice"), WHY, WHO)
    with closing(kept.database().connect_read_only()) as store:
        report = verify(store, load_verifiers(kept.folder / "keys"), within=range(begun.seq + 2))
    assert report.ok and any("1 records behind the range name" in sentence for sentence in report.unestablished)


@pytest.mark.postgres
async def test_a_gateway_deletes_what_a_record_of_its_own_names_and_nothing_else(open_ledger: Open, kept: Any) -> None:
    async with open_ledger() as ledger:
        begun = await called(ledger, "alice")
        await ledger.eraser.shred(Asked(event_id=begun.event_id), WHY, WHO)
        await called(ledger, "bob")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        kept.server.run("DELETE FROM mcpgw.payloads", "mcpgw", "mcpgw_gateway")
    everything = payloads(kept)
    with pytest.raises(psycopg.errors.NoDataFound):
        kept.server.run(f"SELECT mcpgw.erase({begun.seq})", "mcpgw", "mcpgw_gateway")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        kept.server.run("SELECT mcpgw.erase(0)", "mcpgw", "mcpgw_auditor")
    assert payloads(kept) == everything


async def test_a_shred_that_is_killed_has_erased_with_its_record_or_not_at_all(open_ledger: Open, kept: Kept) -> None:
    """Asked again, it goes on with what was left, and records nothing twice."""
    async with open_ledger() as ledger:
        for who in ("alice", "bob"):
            await called(ledger, who, sealed=b"age file")
    salts = [payloads(kept)[place].salt for place in of(kept, "alice")]
    for step in STEPS:
        command = [sys.executable, Path(__file__).with_name("shredder.py"), kept.folder, kept.address, "alice", step]
        with anyio.fail_after(60):
            done = await anyio.run_process([str(part) for part in command], check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        told, left = facts(kept, "payload.shredded"), of(kept, "alice")
        assert (len(told), len(left)) == ((1, 0) if step == STEPS[-1] else (0, 4)), step
        assert verified(kept).ok
    async with open_ledger() as ledger:
        assert (await ledger.eraser.shred(Asked(who="alice"), WHY, WHO)).count == 0
        assert not [salt for salt in salts if salt in bytes_kept(kept)], "files are scrubbed by whoever comes next"
    assert len(facts(kept, "payload.shredded")) == 1 and len(of(kept, "bob")) == 4 and verified(kept).ok


async def test_neither_a_raw_payload_nor_its_salt_is_in_the_store(open_ledger: Open, kept: Kept) -> None:
    """The file that only a private key opens is there, and so is what everybody needs to verify it."""
    salt, raw = hashlib.sha256(b"salt").digest(), b'{"ssn":"219-09-9999","to":"somebody"}'
    key = pyrage.x25519.Identity.generate()
    sheet = Sheet(slot="arguments", call_id="c1", body=raw, size=len(raw), salt=salt)
    wanted = intent("alice")
    shown = replace(
        wanted.shown,
        raw=Commitment(digest=commitment(salt, raw), salt=salt, size=len(raw)),
        sealed=(seal(sheet, [str(key.to_public())]),),
    )
    async with open_ledger() as ledger:
        begun = await ledger.append(replace(wanted, shown=shown))
        await ledger.append(outcome(begun))
        stored = bytes_kept(kept)
    file = unpack(payloads(kept)[begun.seq, "arguments.sealed"].packed)
    assert Identities(str(key)).open(file) == sheet and sheet.proves(commitment(salt, raw))
    assert file[-60:] in stored and commitment(salt, raw).encode() in stored, "this searches where they would be"
    for piece in (raw, b"219-09-9999", salt, salt.hex().encode(), str(key).encode()):
        assert piece not in stored
    assert verified(kept).ok


async def test_a_backup_has_what_is_left_and_the_holds(open_ledger: Open, kept: Kept, tmp_path: Path) -> None:
    async with open_ledger() as ledger:
        await called(ledger, "alice")
        await called(ledger, "bob")
        await ledger.eraser.hold(LegalHold(id=f"H{kept.kind}", who="bob"), WHO)
        await ledger.eraser.shred(Asked(who="alice"), WHY, WHO)
    with closing(kept.database().connect_read_only()) as store:
        back_up(store, tmp_path / "backup")
    elsewhere = SqliteDatabase(tmp_path / "restored")
    (tmp_path / "restored").mkdir()
    with closing(elsewhere.connect()) as store:
        restore(store, tmp_path / "backup")
        assert [hold.who for hold in store.holds()] == ["bob"] and compare(store) == []
        report = verify(store, load_verifiers(kept.folder / "keys"))
    assert report.ok and [one.payloads for one in report.erased] == [2]


# --- the format, and everything at once -------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(sorted(CLEAN_SLOTS | RAW_SLOTS)), st.sets(st.integers(0, 5000), min_size=1), max_size=4))
def test_what_a_record_names_can_be_read_again(wanted: dict[str, set[int]]) -> None:
    places = [place(seq, slot) for slot, seqs in wanted.items() for seq in sorted(seqs)]
    members = {"seq": 5001, "facts": {"payloads": named(places)}}
    assert {slot: set(seqs) for slot, seqs in places_named(members)} == wanted


@pytest.mark.parametrize("distances", [[], [5, 0], [-1], [5, -1], [10], ["1"], [5, 5]])
def test_what_names_payloads_that_were_not_there_is_no_erasing_record(distances: list[Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        [*places_named({"seq": 10, "facts": {"payloads": {"comment": distances}}})]
    assert Erasures().by(5, "comment") == -1


def place(seq: int, slot: str) -> Place:
    return Place(seq, slot, 1, "", "", "", "", "", False)


DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.sampled_from("abc"), st.sampled_from(["same", "other"])),
        st.tuples(st.just("hold"), st.sampled_from("abc")),
        st.tuples(st.just("release"), st.sampled_from("abc")),
        st.tuples(st.just("shred"), st.sampled_from("abc")),
    ),
    max_size=12,
)


@pytest.mark.sqlite
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DEEDS)
async def test_whatever_is_shared_held_and_shredded_each_call_has_its_own(
    open_ledger: Open, kept: Kept, steps: Sequence[tuple[str, ...]]
) -> None:
    """A model of what must be left: by person, and whole or not at all."""
    left: dict[str, int] = {}
    held: set[str] = set()
    async with open_ledger() as ledger:
        run = str(time.time_ns())  # the ledger stays: each example has people of its own
        for step in steps:
            who = f"{step[1]}{run}"
            match step[0]:
                case "call":
                    await called(ledger, who, step[2], sealed=step[2].encode())
                    left[who] = left.get(who, 0) + 4
                case "hold" if who not in held:
                    await ledger.eraser.hold(LegalHold(id=who, who=who), WHO)
                    held.add(who)
                case "release":
                    assert await ledger.eraser.release(who, "over", WHO) is (who in held)
                    held.discard(who)
                case "shred":
                    tally = await ledger.eraser.shred(Asked(who=who), WHY, WHO)
                    if who in held:
                        assert not tally.records and tally.held == ({who: left[who]} if left.get(who) else {})
                    else:
                        assert tally.count == left.get(who, 0)
                        left[who] = 0
            assert {person: len(of(kept, person)) for person in left} == left
    assert verified(kept).ok
