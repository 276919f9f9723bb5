"""Appending: what a record says, who shares a commit, and how a flood of refusals is counted."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_parts import CONTEXT, ORIGIN, Open, failed, intent, opened, outcome, refusal, rejection, shown, vote

from mcpgw.core.canonical import canonical
from mcpgw.core.entries import Event, Refusal
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.model import (
    Identity,
    IdentityKind,
    Manifest,
    Masked,
    RefusalCode,
    Refused,
)
from mcpgw.ledger import COUNTED, FloodLimits, Ledger, Query, new_id
from mcpgw.ledger.describe import draft
from mcpgw.ledger.record import parse, seal
from mcpgw.ledger.sqlite import SqliteDatabase, SqliteStore, SqliteTransaction
from mcpgw.ledger.tree import leaf_hash

SECRET = "078-05-1120"


async def last(ledger: Ledger) -> dict[str, object]:
    (record,) = await ledger.search(Query(limit=1))
    return parse(record.leaf)


async def test_an_intent_and_its_outcome_stand_in_the_log_in_order(ledger: Ledger) -> None:
    before = await ledger.append(intent())
    after = await ledger.append(outcome(before))
    found = await ledger.search(Query(call_id=before.entry.shown.call.id))
    assert [(r.seq, r.index["kind"], r.index["outcome"]) for r in found] == [
        (before.seq, "call.intent", ""),
        (after.seq, "call.outcome", "completed"),
    ]
    assert leaf_hash(found[0].leaf).hex() == before.leaf_hash
    assert found[0].event_id == before.event_id < after.event_id
    assert found[0].index["time_ns"] == before.time_ns


async def test_a_record_says_who_did_what_and_why_and_never_with_what(ledger: Ledger) -> None:
    await ledger.append(intent())
    leaf = await last(ledger)
    assert (leaf["v"], leaf["log"], leaf["seq"], leaf["kind"]) == (1, ORIGIN, 2, "call.intent")
    assert leaf["gateway"] == {"version": "0.1.0", "config": CONTEXT.config_hash, "catalog": CONTEXT.catalog_hash}
    assert leaf["decision"] == {"effect": "allow", "rules": ["r1"], "reason": "because", "policy": "ee" * 32}
    assert leaf["masking"]["arguments"]["masked"] == [["US_SSN", "rows[*].ssn", "column@1", 1]]
    assert set(leaf["payloads"]) == {"arguments.clean", "arguments.raw"}
    assert SECRET not in json.dumps(leaf)
    assert "[SSN]" not in json.dumps(leaf)


@pytest.mark.sqlite
async def test_neither_raw_payloads_nor_their_salts_reach_the_disk(ledger: Ledger, folder: Path) -> None:
    await ledger.append(outcome(await ledger.append(intent())))
    with closing(apsw.Connection(str(folder / "data" / "ledger.db"))) as db:
        slots = {slot for (slot,) in db.execute("SELECT slot FROM payloads")}
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    disk = (folder / "data" / "ledger.db").read_bytes()
    assert slots == {"arguments.clean", "result.clean"}
    assert SECRET.encode() not in disk
    assert b"s" * 32 not in disk


async def test_a_failure_a_refusal_and_a_rejection_say_why(ledger: Ledger) -> None:
    await ledger.append(outcome(await ledger.append(intent()), failed()))
    assert (await last(ledger))["outcome"] == {"class": "failed", "code": "timeout", "reason": "too slow", "reached": True}
    await ledger.append(refusal())
    assert (await last(ledger))["decision"]["effect"] == "deny"
    await ledger.append(Refusal(shown=shown(), refused=Refused(code=RefusalCode.UNAVAILABLE, reason="no", approval_id="a")))
    leaf = await last(ledger)
    assert "decision" not in leaf
    assert leaf["approval"] == {"id": "a"}
    await ledger.append(rejection())
    leaf = await last(ledger)
    assert (leaf["actor"], leaf["origin"]["address"], leaf["outcome"]["code"]) == ("", "10.0.0.1", "unauthenticated")


async def test_a_comment_is_committed_to_and_not_quoted(ledger: Ledger) -> None:
    await ledger.append(opened("a"))
    await ledger.append(vote("a", comment="Mrs Robinson called"))
    leaf = await last(ledger)
    assert "Robinson" not in json.dumps(leaf)
    assert set(leaf["payloads"]) == {"comment"}
    await ledger.append(vote("a", comment=""))
    assert "payloads" not in await last(ledger)


async def test_what_callers_make_long_is_cut(ledger: Ledger) -> None:
    long = "x" * 5000
    unknown = shown(tool=long, unknown=True)
    await ledger.append(Refusal(shown=unknown, refused=Refused(code=RefusalCode.UNKNOWN, reason=long + "\ud800")))
    leaf = await last(ledger)
    assert (len(leaf["target"]["name"]), len(leaf["outcome"]["reason"])) == (128, 1024)
    assert leaf["target"]["name"].endswith("…")


async def test_long_lists_are_cut_and_what_is_cut_is_counted(ledger: Ledger) -> None:
    base = shown()
    many = tuple(Masked("PERSON", f"p{n}", "x@1", 2) for n in range(500))
    who = Identity(
        subject="a", issuer="i", kind=IdentityKind.AGENT, method="jwt", groups=frozenset(f"g{n}" for n in range(100))
    )
    call = type(base.call)(id=new_id(), identity=who, target=base.call.target, arguments={}, origin=base.call.origin)
    wide = type(base)(
        call=call, arguments=base.arguments, raw=base.raw, manifest=Manifest(profile="p", profile_hash="h", masked=many)
    )
    await ledger.append(Refusal(shown=wide, refused=Refused(code=RefusalCode.DENIED, reason="no")))
    leaf = await last(ledger)
    assert (len(leaf["who"]["groups"]), leaf["who"]["groups_cut"]) == (64, 36)
    assert (len(leaf["masking"]["arguments"]["masked"]), leaf["masking"]["arguments"]["masked_cut"]) == (200, 600)


@pytest.mark.parametrize("letter", ["x", "\u4e00", "\U00020000", "\x01"])
async def test_no_keys_that_a_caller_may_choose_keep_his_call_out_of_the_record(ledger: Ledger, letter: str) -> None:
    base = shown(unknown=True)
    many = tuple(Masked("US_SSN", f"{letter * 60}.{letter * 60}{n}", "presidio.UsSsnRecognizer@2.2", 1) for n in range(220))
    wide = replace(base, manifest=Manifest(profile="p", profile_hash="h", masked=many))
    await ledger.append(Refusal(shown=wide, refused=Refused(code=RefusalCode.UNKNOWN, reason="no")))
    told = (await last(ledger))["masking"]["arguments"]
    assert len(told["masked"]) >= 40
    assert len(told["masked"]) + told["masked_cut"] == 220


async def test_payloads_that_are_not_json_are_refused(ledger: Ledger) -> None:
    for wrong in ({"n": float("nan")}, {"n": "\ud800"}, {"n": object()}):
        entry = opened("a")
        with pytest.raises(LedgerUnavailable, match="cannot be recorded"):
            await ledger.append(type(entry)(**{name: getattr(entry, name) for name in entry.__slots__} | {"facts": wrong}))


names = st.text(st.characters(max_codepoint=127), max_size=5)
json_leaves = st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | st.text(max_size=20)
json_values = st.recursive(
    json_leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(names, json_values, max_size=4))
def test_a_leaf_has_the_bytes_of_rfc_8785(facts: dict[str, object]) -> None:
    made = draft(Event(kind="x", actor="a", facts=facts), node="n", context=CONTEXT)
    record = seal(made, log=ORIGIN, seq=7, time_ns=8)
    members = json.loads(record.leaf)
    assert record.leaf == canonical(members)
    assert parse(record.leaf) == members
    assert members["facts"] == facts


@pytest.mark.parametrize("leaf", [b"[]", b"{", b'{"b":1,"a":2}', b'{"a": 1}', b"\xff", b'{"a":"\\u0041"}'])
def test_bytes_that_are_not_canonical_are_no_leaf(leaf: bytes) -> None:
    with pytest.raises(ValueError):
        parse(leaf)


def test_ids_are_ordered_by_time_and_say_their_version() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [i[:13] for i in ids] == sorted(i[:13] for i in ids)
    assert {(i[14], i[19] in "89ab") for i in ids} == {("7", True)}


# --- group commit --------------------------------------------------------------------------------------------------------


class Counting(SqliteStore):
    begun = 0

    def begin(self) -> SqliteTransaction:
        Counting.begun += 1
        return super().begin()


@pytest.mark.sqlite
async def test_callers_that_append_at_once_share_commits(open_ledger: Open, folder: Path) -> None:
    async with open_ledger(
        database=SqliteDatabase(folder / "data", lambda: Counting.connect(folder / "data" / "ledger.db"))
    ) as ledger:
        Counting.begun = 0
        async with anyio.create_task_group() as tasks:
            for _ in range(200):
                tasks.start_soon(ledger.append, intent())
        assert Counting.begun < 50
        assert len(await ledger.search(Query(kind="call.intent", limit=1000))) == 200


async def test_a_caller_that_went_away_leaves_its_record_and_disturbs_nobody(ledger: Ledger) -> None:
    with anyio.move_on_after(0):
        await ledger.append(intent())
    await ledger.append(intent())
    assert len(await ledger.search(Query(kind="call.intent"))) in (1, 2)


async def test_whoever_follows_the_log_reads_it_forwards_page_by_page(ledger: Ledger) -> None:
    for _ in range(5):
        await ledger.append(intent())
    size = await ledger.size()
    seen: list[int] = []
    while page := await ledger.records_after(seen[-1] if seen else -1, 4):
        assert len(page) <= 4
        seen += [record.seq for record in page]
    assert seen == list(range(size))


async def test_the_newest_checkpoint_can_be_exported(ledger: Ledger) -> None:
    sealed = await ledger.append(intent())
    assert (await ledger.export_checkpoint()).startswith(f"{ORIGIN}\n{sealed.seq + 1}\n")


async def test_a_log_in_which_nothing_stands_has_no_checkpoint(open_ledger: Open) -> None:
    async with open_ledger(announce=False) as ledger:
        with pytest.raises(LedgerUnavailable, match="nothing was recorded"):
            await ledger.export_checkpoint()


# --- floods --------------------------------------------------------------------------------------------------------------


def counts(found: list[dict[str, object]]) -> dict[tuple[str, str], int]:
    total: dict[tuple[str, str], int] = {}
    for leaf in found:
        for line in leaf["facts"]["counts"]:
            key = (line["who"], line["code"])
            total[key] = total.get(key, 0) + line["count"]
    return total


async def test_a_flood_of_refusals_is_recorded_then_counted_and_none_is_missing(open_ledger: Open) -> None:
    limits = FloodLimits(window_s=60, per_caller=5)
    async with open_ledger(limits=limits) as ledger:
        own = [await ledger.append(refusal("mallory")) for _ in range(12)]
        own += [await ledger.append(rejection("10.0.0.9")) for _ in range(8)]
        own += [await ledger.append(refusal("alice"))]
        assert [sealed.seq == COUNTED for sealed in own] == [False] * 5 + [True] * 7 + [False] * 5 + [True] * 3 + [False]
    async with open_ledger() as ledger:
        found = [parse(record.leaf) for record in await ledger.search(Query(kind="refusals.counted"))]
        assert len(await ledger.search(Query(kind="call.refused"))) == 11
    assert counts(found) == {("https://idp.example#mallory", "denied"): 7, ("10.0.0.9", "unauthenticated"): 3}


async def test_counts_are_written_when_the_window_ends(open_ledger: Open) -> None:
    async with open_ledger(limits=FloodLimits(window_s=0.5, per_caller=1)) as ledger:
        for _ in range(3):
            await ledger.append(refusal())
        counted = 0
        with anyio.fail_after(20):
            while not counted:
                await anyio.sleep(0.01)
                found = [parse(record.leaf) for record in await ledger.search(Query(kind="refusals.*"))]
                counted = sum(counts(found).values())
        recorded = await ledger.search(Query(kind="call.refused"))
        assert len(recorded) + counted == 3  # two are counted, unless the machine needed a window for each
        assert counts(found) == {("https://idp.example#alice", "denied"): counted}


async def test_a_flood_from_many_addresses_is_one_flood_and_bounded_in_memory(open_ledger: Open) -> None:
    limits = FloodLimits(window_s=60, in_all=10, callers=120)
    async with open_ledger(limits=limits) as ledger:
        for number in range(200):
            await ledger.append(rejection(f"10.0.0.{number}"))
    async with open_ledger() as ledger:
        found = [parse(record.leaf) for record in await ledger.search(Query(kind="refusals.counted"))]
        assert len(await ledger.search(Query(kind="call.refused"))) == 10
    total = counts(found)
    assert sum(total.values()) == 190
    assert total["(many)", "unauthenticated"] == 70
    assert len(found) == 3


@pytest.mark.sqlite
async def test_refusals_that_could_not_be_recorded_are_counted_once_they_can(open_ledger: Open, folder: Path) -> None:
    dark = [False]

    def connect() -> SqliteStore:
        if dark[0]:
            raise LedgerUnavailable("the store cannot be reached")
        return SqliteStore.connect(folder / "data" / "ledger.db", busy_timeout_s=0.05)

    async with open_ledger(database=SqliteDatabase(folder / "data", connect), limits=FloodLimits(window_s=0.05)) as ledger:
        with closing(apsw.Connection(str(folder / "data" / "ledger.db"))) as other:
            other.execute("BEGIN IMMEDIATE")
            dark[0] = True
            for _ in range(3):
                with pytest.raises(LedgerUnavailable):
                    await ledger.append(refusal())
            await anyio.sleep(0.2)  # windows end, and their counts cannot be written
            other.execute("ROLLBACK")
        dark[0] = False
    async with open_ledger() as ledger:
        found = [parse(record.leaf) for record in await ledger.search(Query(kind="refusals.counted"))]
        assert counts(found) == {("https://idp.example#alice", "denied"): 3}
