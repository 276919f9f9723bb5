"""Power cuts: a disk that forgets what was not synced goes dark at a random moment, and what is left of the log is judged.

The long version is `scripts/power_cuts --cuts 1000`; a short one runs with the tests. Half of the cuts hit plain appends, half
calls that are held, approved and spent; a third of them a log whose WAL is copied into its database every few commits, and some
the making of the log itself. On half of the disks unsynced writes survive by chance, and in part.

The control is the same with `synchronous=NORMAL`, which does lose what it acknowledged: so the judge can see a loss.
"""

import argparse
import itertools
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
from disks import PowerCutDisk, mounted
from ledger_parts import CONTEXT, ORIGIN, intent, opened, outcome, settled, spend, vote

from mcpgw.core.errors import ApprovalConflict, LedgerUnavailable
from mcpgw.core.model import Sealed
from mcpgw.ledger import Ledger, Query
from mcpgw.ledger.keys import create_keys, load_verifiers
from mcpgw.ledger.sqlite import SqliteDatabase, SqliteStore
from mcpgw.ledger.verify import verify
from mcpgw.ports import EntryT

CALLERS = 4
OPERATIONS = 600
"""The cut comes before so many writes, syncs and the like."""
WAL_PAGES = 12
"""Where the WAL is to be copied often: after so many pages, which a few commits fill."""


@dataclass(slots=True)
class Cut:
    """One power cut, and what became of what was acknowledged before it."""

    approvals: bool
    cruel: bool
    copying: bool
    """The WAL was copied every few commits."""
    hit: tuple[str, str] = ("", "")
    told: dict[int, str] = field(default_factory=dict)
    """Leaf hashes of the records whose append returned."""
    spent: set[str] = field(default_factory=set)
    lost: int = 0
    problems: list[str] = field(default_factory=list)


def planned(seed: int) -> Cut:
    return Cut(approvals=seed % 2 == 1, cruel=seed % 4 >= 2, copying=seed % 3 == 0)


async def cut_and_judged(seed: int, folder: Path, keys: Path, *, synchronous: str = "FULL") -> Cut:
    """Run a log in an empty folder, on a disk whose power is cut, and judge what is on the medium then."""
    cut, chance = planned(seed), random.Random(seed)
    path, survivors = folder / "data" / "ledger.db", folder / "survivors" / "data"
    path.parent.mkdir(parents=True)
    survivors.mkdir(parents=True)
    with mounted(PowerCutDisk()) as disk:
        assert isinstance(disk, PowerCutDisk)

        def connect() -> SqliteStore:
            store = SqliteStore.connect(path, vfs=disk.name)
            store._db.pragma("synchronous", synchronous)
            if cut.copying:
                store._db.wal_autocheckpoint(WAL_PAGES)
            return store

        if seed % 20 == 7:
            disk.left = chance.randrange(1, 60)  # while the log is made
        try:
            async with _opened(folder, SqliteDatabase(folder / "data", connect), keys) as ledger:
                disk.left = min(disk.left, chance.randrange(1, OPERATIONS))
                async with anyio.create_task_group() as tasks:
                    for number in range(CALLERS):
                        tasks.start_soon(_calls, ledger, cut, number)
        except LedgerUnavailable:
            assert not cut.told, "a log that could not be opened acknowledged something"
        cut.hit = disk.last
        disk.after_the_cut(survivors, chance if cut.cruel else None)
    await _judge(cut, folder / "survivors", keys)
    return cut


async def _judge(cut: Cut, survivors: Path, keys: Path) -> None:
    database = SqliteDatabase(survivors / "data")
    async with _opened(survivors, database, keys) as ledger:
        with closing(database.connect_read_only()) as store:
            stored = {record.seq: record.hash.hex() for record in store.records(0, 10**6)}
        cut.lost = len(cut.told.items() - stored.items())
        await _every_intent_has_its_end(ledger, cut)
        if not cut.lost:
            await _what_was_spent_stays_spent(ledger, cut)
    with closing(database.connect_read_only()) as store:
        report = verify(store, load_verifiers(keys))
    cut.problems += [f"verify: {problem.what}" for problem in report.problems]


async def _every_intent_has_its_end(ledger: Ledger, cut: Cut) -> None:
    ends: dict[str, Counter[str]] = {}
    for record in await ledger.search(Query(kind="call.*", limit=10**6)):
        ends.setdefault(str(record.index["call_id"]), Counter())[str(record.index["kind"])] += 1
    for call, kinds in ends.items():
        if kinds["call.intent"] and (kinds["call.intent"], kinds["call.outcome"] + kinds["call.indeterminate"]) != (1, 1):
            cut.problems.append(f"call {call}: {dict(kinds)}")


async def _what_was_spent_stays_spent(ledger: Ledger, cut: Cut) -> None:
    for approval in cut.spent:
        try:
            await ledger.append(spend(approval))
        except ApprovalConflict:
            continue
        cut.problems.append(f"approval {approval} was spent again")


def _opened(folder: Path, database: SqliteDatabase, keys: Path) -> AbstractAsyncContextManager[Ledger]:
    return Ledger.open(folder / "data", keys, origin=ORIGIN, context=lambda: CONTEXT, database=database)


async def _calls(ledger: Ledger, cut: Cut, number: int) -> None:
    """Call without pause until the power is cut, and keep what was acknowledged."""
    with suppress(LedgerUnavailable):
        for deal in itertools.count():
            if cut.approvals:
                approval = f"{number}.{deal}"
                for entry in (opened(approval, key=approval), vote(approval), settled(approval, ballots=1)):
                    _told(cut, await ledger.append(entry))
                one = _told(cut, await ledger.append(spend(approval)))
                cut.spent.add(approval)
            else:
                one = _told(cut, await ledger.append(intent()))
            _told(cut, await ledger.append(outcome(one)))


def _told(cut: Cut, sealed: Sealed[EntryT]) -> Sealed[EntryT]:
    cut.told[sealed.seq] = sealed.leaf_hash
    return sealed


# --- the long version ----------------------------------------------------------------------------------------------------


def many(seeds: range, *, synchronous: str = "FULL") -> Iterator[Cut]:
    with tempfile.TemporaryDirectory(prefix="mcpgw-power-") as temporary:
        keys = Path(temporary) / "keys"
        create_keys(keys, ORIGIN)
        for seed in seeds:
            with tempfile.TemporaryDirectory(dir=temporary) as folder:
                yield anyio.run(partial(cut_and_judged, seed, Path(folder), keys, synchronous=synchronous))


def told(cuts: Sequence[Cut]) -> str:
    hits = Counter(f"{operation} of {name or 'the folder'}" for operation, name in (cut.hit for cut in cuts) if operation)
    return (
        f"{len(cuts)} power cuts ({sum(cut.approvals for cut in cuts)} among approvals, {sum(cut.cruel for cut in cuts)} with "
        f"part of the unsynced writes kept, {sum(cut.copying for cut in cuts)} with a WAL that is copied every few commits; "
        f"they hit {', '.join(f'{times} times the {hit}' for hit, times in hits.most_common())}): "
        f"{sum(len(cut.told) for cut in cuts)} records acknowledged, {sum(cut.lost for cut in cuts)} of them lost in "
        f"{sum(bool(cut.lost) for cut in cuts)} cuts, {sum(len(cut.spent) for cut in cuts)} approvals spent, "
        f"{sum(bool(cut.problems) for cut in cuts)} cuts with another problem"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/power_cuts", description="Cut the power of a log's disk, and judge.")
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first cut; each has the next one")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # hundreds of writers will complain of their disks
    began = time.monotonic()
    cuts = list(many(range(options.seed, options.seed + options.cuts)))
    print(f"synchronous=FULL, as mcpgw has it: {told(cuts)}. {time.monotonic() - began:.0f} s")
    control = list(many(range(options.seed, options.seed + max(1, options.cuts // 10)), synchronous="NORMAL"))
    print(f"synchronous=NORMAL, the control: {told(control)}")
    for cut in cuts:
        for problem in cut.problems:
            print(f"✗ {cut.hit}: {problem}")
    blind = not any(cut.lost for cut in control)
    print("✗ the control lost nothing: the judge is blind" if blind else "the control lost records, as it should")
    sys.exit(blind or any(cut.lost or cut.problems for cut in cuts))


if __name__ == "__main__":
    main()
