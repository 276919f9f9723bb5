"""Checkpoints leave by themselves: when, how often, what is on record of it, and what waits where it is required."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from ledger_parts import CONTEXT, ORIGIN, Open, intent, rejection

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.model import JsonObject
from mcpgw.ledger.anchors.anchor import Anchor, AnchorFailed, Head, Proofs
from mcpgw.ledger.anchors.directory import DirectoryAnchor
from mcpgw.ledger.anchors.loop import ANCHORED, FAILED, AnchoredJournal, Anchoring, AnchorRules
from mcpgw.ledger.journal import Ledger
from mcpgw.ledger.kept_elsewhere import checkpoints_in
from mcpgw.ledger.keys import PublicKeys, load_verifiers
from mcpgw.ledger.record import parse
from mcpgw.ledger.rotation import rotate
from mcpgw.ledger.store import Query
from mcpgw.ledger.tree import check_consistency

FAST = AnchorRules(interval_s=0.02, poll_s=0.01)
BOUND_S = 30.0


class Shelf:
    """An anchor in memory that can be out of order."""

    kind, where = "shelf", "memory"

    def __init__(self, name: str = "shelf") -> None:
        self.name = name
        self.sizes: list[int] = []
        self.tries = 0
        self.why: Exception | None = None

    async def accept(self, head: Head, proofs: Proofs) -> JsonObject:
        self.tries += 1
        await anyio.lowlevel.checkpoint()
        if self.why:
            raise self.why
        self.sizes.append(head.checkpoint.size)
        return {"shelf": len(self.sizes)}


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(BOUND_S):
        while True:
            if condition():
                return
            await anyio.sleep(0.005)


async def facts(ledger: Ledger, kind: str) -> list[dict[str, Any]]:
    return [parse(found.leaf)["facts"] for found in await ledger.search(Query(kind=kind))]


async def until_recorded(ledger: Ledger, kind: str, count: int = 1) -> list[dict[str, Any]]:
    with anyio.fail_after(BOUND_S):
        while True:
            if len(found := await facts(ledger, kind)) >= count:
                return found
            await anyio.sleep(0.005)


@pytest.fixture
def verifiers(kept: Any) -> Any:
    return load_verifiers(kept.folder / "keys")


@asynccontextmanager
async def running(
    anchors: Sequence[Anchor], ledger: Ledger, verifiers: Any, rules: AnchorRules = FAST
) -> AsyncIterator[Anchoring]:
    anchoring = Anchoring(anchors, ledger, verifiers, rules)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anchoring.run)
        yield anchoring
        tasks.cancel_scope.cancel()


async def test_what_the_log_grows_by_is_taken_to_every_anchor_and_recorded(kept: Any, ledger: Ledger, verifiers: Any) -> None:
    vault = kept.folder / "vault"
    vault.mkdir()
    shelf = Shelf()
    async with running([shelf, DirectoryAnchor("vault", vault, verifiers)], ledger, verifiers):
        await ledger.append(rejection())
        size = await ledger.size()
        await until(lambda: bool(shelf.sizes) and shelf.sizes[-1] >= size)
        await until_recorded(ledger, ANCHORED, 2)
    for found in await facts(ledger, ANCHORED):
        assert (found["kind"], found["where"]) in (("shelf", "memory"), ("directory", str(vault)))
        assert found["size"] > 0 and len(found["root"]) == 64
    sizes = [found["size"] for found in await facts(ledger, ANCHORED) if found["anchor"] == "vault"]
    assert [found.size for found in checkpoints_in(vault, verifiers)] == sizes
    assert await facts(ledger, FAILED) == []


async def test_anchors_follow_when_the_logs_key_is_rotated(kept: Any, ledger: Ledger) -> None:
    vault, keys = kept.folder / "vault", kept.folder / "keys"
    vault.mkdir()
    followed = PublicKeys(keys)
    async with running([DirectoryAnchor("vault", vault, followed)], ledger, followed):
        await ledger.append(rejection())
        await until_recorded(ledger, ANCHORED)
        await anyio.to_thread.run_sync(
            lambda: rotate(kept.database(), keys, ORIGIN, actor="os:ops", context=CONTEXT, quantum=True)
        )
        await ledger.append(rejection())
        size = await ledger.size()
        await until(lambda: checkpoints_in(vault, load_verifiers(keys))[-1].size >= size)
    sizes = [found.size for found in checkpoints_in(vault, load_verifiers(keys))]
    assert sizes[0] < load_verifiers(keys)[1].sizes.start < sizes[-1]
    assert await facts(ledger, FAILED) == []


async def test_the_record_of_it_is_no_reason_to_anchor_again(ledger: Ledger, verifiers: Any) -> None:
    one, two = Shelf("one"), Shelf("two")
    async with running([one, two], ledger, verifiers), running([other := Shelf("other")], ledger, verifiers):
        await until_recorded(ledger, ANCHORED, 3)
        size = await ledger.size()
        await anyio.sleep(20 * FAST.interval_s)  # as many occasions
        assert await ledger.size() == size
        assert [one.tries, two.tries, other.tries] == [1, 1, 1]
        await ledger.append(rejection())
        await until(lambda: [one.tries, two.tries, other.tries] == [2, 2, 2])
        await until_recorded(ledger, ANCHORED, 6)
        await anyio.sleep(20 * FAST.interval_s)
        assert [one.tries, two.tries, other.tries] == [2, 2, 2]


async def test_a_log_that_grows_is_anchored_once_an_interval(ledger: Ledger, verifiers: Any) -> None:
    shelf = Shelf()
    async with running([shelf], ledger, verifiers, AnchorRules(interval_s=1000, poll_s=0.01)):
        await until_recorded(ledger, ANCHORED)
        for _ in range(5):
            await ledger.append(rejection())
            await anyio.sleep(0.02)
    assert shelf.tries == 1


async def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends(
    ledger: Ledger, verifiers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Shelf()
    shelf.why = AnchorFailed("the shelf fell down", hint="Put it up.")
    async with running([shelf], ledger, verifiers):
        await until(lambda: shelf.tries >= 5)
        (failed,) = await facts(ledger, FAILED)
        assert (failed["anchor"], failed["why"]) == ("shelf", "the shelf fell down Put it up.")
        assert await facts(ledger, ANCHORED) == []
        shelf.why = None
        (kept_again,) = await until_recorded(ledger, ANCHORED)
        assert kept_again["outage_s"] >= 0
        shelf.why = AnchorFailed("again")
        await ledger.append(rejection())
        await until_recorded(ledger, FAILED, 2)
    alerts = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [alert.split(":")[1].strip() for alert in alerts] == [
        "checkpoints are not kept",
        "checkpoints are kept again, after 0 s",
        "checkpoints are not kept",
    ]


async def test_an_error_that_nobody_expected_is_an_outage_too_and_none_of_its_words_are_recorded(
    ledger: Ledger, verifiers: Any
) -> None:
    shelf, other = Shelf(), Shelf("other")
    shelf.why = RuntimeError("secret words")
    async with running([shelf, other], ledger, verifiers):
        (failed,) = await until_recorded(ledger, FAILED)
        await until(lambda: bool(other.sizes))
    assert failed["why"] == "an error in the gateway itself: RuntimeError"


@pytest.mark.parametrize(("at_least", "closed"), [(1, False), (2, True)])
async def test_where_anchors_are_required_no_intent_is_taken_while_too_few_cover_what_waits(
    ledger: Ledger, verifiers: Any, at_least: int, closed: bool
) -> None:
    sound, broken = Shelf("sound"), Shelf("broken")
    broken.why = AnchorFailed("down")
    rules = AnchorRules(interval_s=0.02, poll_s=0.01, required=True, within_s=0.3, at_least=at_least)
    async with running([sound, broken], ledger, verifiers, rules) as anchoring:
        journal = AnchoredJournal(ledger, anchoring)
        await until(lambda: broken.tries >= 2)
        await anyio.sleep(2 * rules.within_s)
        assert bool(anchoring.problem()) is closed
        if closed:
            with pytest.raises(LedgerUnavailable, match=r"at least 2 of 2 anchors \(failing: broken\)"):
                await journal.append(intent())
            assert [found.index["code"] for found in await ledger.search(Query(kind="call.*"))] == ["unavailable"]
            await journal.append(rejection())  # everything else is recorded as ever
            broken.why = None
            await until(lambda: not anchoring.problem())
        await journal.append(intent())


async def test_before_anything_is_known_nothing_is_taken_and_an_idle_log_is_no_problem(ledger: Ledger, verifiers: Any) -> None:
    rules = AnchorRules(interval_s=0.02, poll_s=0.01, required=True, within_s=0.3)
    shelf = Shelf()
    assert Anchoring([shelf], ledger, verifiers, rules).problem() == "It is not known yet whether the log is anchored."
    async with running([shelf], ledger, verifiers, rules) as anchoring:
        await until_recorded(ledger, ANCHORED)
        await until(lambda: not anchoring.problem())
        shelf.why = AnchorFailed("down")
        await anyio.sleep(3 * rules.within_s)
        assert anchoring.problem() == ""  # nothing waits


async def test_what_waits_from_before_the_start_counts(open_ledger: Open, verifiers: Any) -> None:
    rules = AnchorRules(interval_s=0.02, poll_s=0.01, required=True, within_s=0.3)
    async with open_ledger() as ledger:
        await ledger.append(rejection())
    await anyio.sleep(0.4)
    shelf = Shelf()
    shelf.why = AnchorFailed("down")
    async with open_ledger() as ledger, running([shelf], ledger, verifiers, rules) as anchoring:
        await until(lambda: shelf.tries > 0)
        assert "Records have waited" in anchoring.problem()


async def test_where_nothing_is_required_or_configured_nothing_waits(ledger: Ledger, verifiers: Any) -> None:
    anchoring = Anchoring([], ledger, verifiers, AnchorRules())
    with anyio.fail_after(BOUND_S):
        await anchoring.run()
    assert anchoring.problem() == ""
    await AnchoredJournal(ledger, anchoring).append(intent())


async def test_the_log_proves_that_it_continues_its_own_beginning(ledger: Ledger, verifiers: Any) -> None:
    heads: list[Head] = []

    class Keeper(Shelf):
        async def accept(self, head: Head, proofs: Proofs) -> JsonObject:
            heads.append(head)
            return await super().accept(head, proofs)

    async with running([Keeper()], ledger, verifiers):
        await until(lambda: len(heads) == 1)
        for _ in range(9):
            await ledger.append(rejection())
        await until(lambda: heads[-1].checkpoint.size >= heads[0].checkpoint.size + 9)
    old, new = heads[0].checkpoint, heads[-1].checkpoint
    proof = await ledger.consistency(old.size, new.size)
    assert check_consistency(old.size, new.size, proof, old.root, new.root)
