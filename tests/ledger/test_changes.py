"""Changes of what the gateway stands for: one record each, by whoever comes first, and a chain without a gap."""

import json
import signal
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from ledger_parts import Open, intent
from stores import Kept, verified
from test_completeness import found, written_again

from mcpgw.core.entries import Changed, Standing
from mcpgw.core.model import JsonObject
from mcpgw.ledger import Ledger, Query, changes
from mcpgw.ledger.checks import ProblemKind as K
from mcpgw.ledger.completeness import Changes
from mcpgw.ledger.projections import compare, rebuild
from mcpgw.ledger.record import Members, parse

CHANGER = Path(__file__).with_name("changer.py")


def policy(*rules: str, actor: str = "os:root") -> Changed:
    standing = Standing.of("policy", {f"rule {rule.split('=')[0]}": rule for rule in rules})
    return Changed(kind="policy.activated", actor=actor, standing=standing)


async def told(ledger: Ledger) -> list[Members]:
    return [parse(record.leaf) for record in await ledger.search(Query(kind="policy.activated"))]


def facts_of(before: Changed | None, after: Changed, **named: list[str]) -> JsonObject:
    lists: JsonObject = {"added": [], "removed": [], "changed": [], **named}
    was = before.standing.hash if before else ""
    return {"aspect": "policy", "before": was, "after": after.standing.hash, "unnamed": 0, **lists}


async def test_a_change_is_recorded_once_by_whoever_tells_of_it_first(open_ledger: Open, kept: Kept) -> None:
    first, second = policy("a=1", "b=1"), policy("b=2", "c=1")
    async with open_ledger() as one, open_ledger() as two:
        assert [await one.record_changes(first), await two.record_changes(first)] == [1, 0]
        counts: list[int] = []

        async def tell(ledger: Ledger) -> None:
            counts.append(await ledger.record_changes(second))

        async with anyio.create_task_group() as tasks:
            for ledger in (one, two, one, two):
                tasks.start_soon(tell, ledger)
        assert sorted(counts) == [0, 0, 0, 1]
        assert [leaf["facts"] for leaf in await told(one)] == [
            facts_of(None, first, added=["rule a", "rule b"]),
            facts_of(first, second, added=["rule c"], removed=["rule a"], changed=["rule b"]),
        ]
    assert verified(kept).ok, verified(kept).problems


async def test_changes_that_are_told_together_are_recorded_in_order_but_for_those_that_are_known(open_ledger: Open) -> None:
    known, edited, ours = policy("a=1"), policy("a=2", actor="unknown"), policy("a=3", actor="os:alice")
    async with open_ledger() as ledger:
        await ledger.record_changes(known)
        assert await ledger.record_changes(known, edited, ours) == 2
        leaves = await told(ledger)
        assert [(leaf["actor"], leaf["facts"]["after"]) for leaf in leaves[1:]] == [
            ("unknown", edited.standing.hash),
            ("os:alice", ours.standing.hash),
        ]


async def test_what_is_gone_and_what_never_was_are_the_same(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        assert await ledger.record_changes(policy()) == 0
        assert await ledger.record_changes(policy("a=1")) == 1
        assert await ledger.record_changes(policy()) == 1
        assert (await told(ledger))[-1]["facts"]["after"] == ""


async def test_many_parts_and_long_names_fit_a_leaf(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await ledger.record_changes(policy(*(f"{number:04}" + "ÿ" * 400 + "=1" for number in range(1000))))
        (leaf,) = await told(ledger)
    assert len(leaf["facts"]["added"]) + leaf["facts"]["unnamed"] == 1000
    assert max(map(len, leaf["facts"]["added"])) <= 128


async def test_two_processes_that_see_the_same_edit_record_it_once(kept: Kept) -> None:
    async def run() -> None:
        command = [sys.executable, str(CHANGER), str(kept.folder), kept.address, "one-state"]
        assert (await anyio.run_process(command, stderr=None)).returncode == 0

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(run)
    with closing(kept.database().connect_read_only()) as store:
        leaves = [parse(record.leaf) for record in store.search(Query(kind="policy.activated"))]
        assert not compare(store)
    assert [leaf["facts"]["before"] for leaf in leaves] == [""]
    assert verified(kept).ok, verified(kept).problems


async def test_a_process_that_died_between_edit_and_record_leaves_it_to_the_next_start(open_ledger: Open, kept: Kept) -> None:
    state = kept.folder / "state"
    command = [sys.executable, str(CHANGER), str(kept.folder), kept.address, "die-before-the-record"]
    with anyio.fail_after(60):
        died = await anyio.run_process(command, check=False, stderr=None)
    assert died.returncode == -signal.SIGKILL and state.read_text() == "a=2"
    edited = policy(state.read_text(), actor="unknown")
    async with open_ledger() as ledger:
        assert [leaf["facts"]["after"] for leaf in await told(ledger)] == [policy("a=1").standing.hash]
        assert await ledger.record_changes(edited) == 1
        assert (await told(ledger))[-1]["facts"] == facts_of(policy("a=1"), edited, changed=["rule a"])
    assert verified(kept).ok, verified(kept).problems


# --- marks are made again from the records -------------------------------------------------------------------------------


async def test_marks_are_compared_with_the_records_and_put_right(open_ledger: Open, kept: Kept) -> None:
    first, second = policy("a=1"), policy("a=2")
    async with open_ledger() as ledger:
        await ledger.record_changes(first)
        await ledger.record_changes(second)
    name = changes.mark_name("policy")
    for value in (changes.mark_of(first.standing), "no JSON", "[]"):
        with kept.tampering() as admin:
            admin.execute("UPDATE marks SET value = ? WHERE name = ?", (value, name))
            admin.execute("DELETE FROM marks WHERE name = 'standing.ghost'")
            admin.execute("INSERT INTO marks (name, value) VALUES ('standing.ghost', ?)", (value,))
        with closing(kept.database().connect()) as store:
            wrong = [f"the mark {one} is not what the records say" for one in ("standing.ghost", name)]
            assert list(compare(store)) == wrong
            assert list(rebuild(store)) == wrong
            assert not compare(store)
    async with open_ledger() as ledger:
        assert await ledger.record_changes(second) == 0
        assert await ledger.record_changes(policy("a=3")) == 1
        facts = (await told(ledger))[-1]["facts"]
        assert (facts["before"], "changed" in facts) == (second.standing.hash, False), "the parts stand in no record"
    assert verified(kept).ok, verified(kept).problems


# --- the chain -----------------------------------------------------------------------------------------------------------


async def test_a_change_that_was_withheld_is_missed(open_ledger: Open, kept: Kept) -> None:
    states = [policy(f"a={number}") for number in range(4)]
    async with open_ledger() as ledger:
        for state in states:
            await ledger.record_changes(state)
        await ledger.append(intent())

    def withhold(leaves: list[Members]) -> None:
        leaves.remove(next(leaf for leaf in leaves if leaf.get("facts", {}).get("after") == states[1].standing.hash))

    written_again(kept, withhold)
    hashes = [state.standing.hash for state in states]
    assert found(kept) == {(K.CHANGE, f"it changes policy from {hashes[1]}, and the one before it ended with {hashes[0]}")}


async def test_the_first_change_of_all_is_missed(open_ledger: Open, kept: Kept) -> None:
    first, second = policy("a=1"), policy("a=2")
    async with open_ledger() as ledger:
        await ledger.record_changes(first)
        await ledger.record_changes(second)

    def withhold(leaves: list[Members]) -> None:
        leaves.remove(next(leaf for leaf in leaves if leaf["kind"] == "policy.activated"))

    written_again(kept, withhold)
    assert found(kept) == {
        (K.CHANGE, f"it changes policy from {first.standing.hash}, and no change before it ended with anything")
    }


def leaf(before: str, after: str, aspect: str = "policy") -> Members:
    return {"kind": "policy.activated", "facts": {"aspect": aspect, "before": before, "after": after}}


def test_a_range_and_what_follows_a_gap_begin_unknown() -> None:
    chain = Changes(from_start=False)

    def objections(members: Members) -> int:
        note = Changes.noted(members)
        assert note is not None
        return len([*chain.objections(note)])

    assert objections(leaf("x", "y")) == 0
    assert objections(leaf("q", "r", "catalog")) == 0
    assert objections(leaf("x", "z")) == 1
    chain.unknown()
    assert objections(leaf("v", "w")) == 0
    assert objections(leaf("w", "w2")) == 0


@pytest.mark.parametrize("facts", [None, {}, {"before": "a", "after": "b"}])
def test_what_is_no_change_of_an_aspect_means_nothing(facts: JsonObject | None) -> None:
    assert Changes.noted({"kind": "catalog.changed"} if facts is None else {"kind": "catalog.changed", "facts": facts}) is None


def test_a_mark_tells_its_hash_and_its_parts() -> None:
    standing = Standing.of("policy", {"rule a": "1"})
    assert json.loads(changes.mark_of(standing)) == {"hash": standing.hash, "parts": {"rule a": "1"}}
    assert changes.hash_in(changes.bare_mark("ab")) == "ab"
