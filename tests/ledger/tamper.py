"""Tampering by the thousand: random records of a real log, in every way that an admin of its database has, found and located.

The long version is `scripts/tamper --records 1000`; a short one runs with the tests. Each way is tried inside one transaction,
as the owner of the database and past its triggers, and rolled back. Where the ways of one class can be told apart in one log,
many are done together; else one by one, on a small log. What only a checkpoint kept elsewhere can show is shown by one.

Found means that verification does not pass. Located means that a problem names the record, or the few that were committed with
it, and that nothing else is complained of.
"""

import argparse
import json
import logging
import random
import sys
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import apsw
import postgres_server
from ledger_parts import CONTEXT, ORIGIN, failed, intent, opened, outcome, refusal, rejection, settled, spend, vote
from stores import Admin, PostgresAdmin

from mcpgw.core.entries import Event
from mcpgw.ledger import Ledger
from mcpgw.ledger.checkpoint import Checkpoint
from mcpgw.ledger.checks import ProblemKind as K
from mcpgw.ledger.kept_elsewhere import checkpoints_in, file_name
from mcpgw.ledger.keys import create_keys, load_signer, load_verifiers
from mcpgw.ledger.postgres import PostgresStore
from mcpgw.ledger.postgres_connection import connect
from mcpgw.ledger.postgres_database import PostgresDatabase
from mcpgw.ledger.postgres_migrate import migrate
from mcpgw.ledger.rows import INDEX
from mcpgw.ledger.sqlite import FILE, SqliteDatabase, SqliteStore
from mcpgw.ledger.store import Database, Reading
from mcpgw.ledger.tree import Frontier, leaf_hash
from mcpgw.ledger.verify import Report, verify
from mcpgw.ledger.walk import Problem

CALLERS = 6
"""At once, so that commits have between one record and several."""


# --- a log, and what an admin can do to it -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Log:
    """A log that was written by a real ledger. Not to be changed but inside `altering`."""

    folder: Path
    sizes: Sequence[int]
    """Of its checkpoints: the ends of its commits."""
    kept: Path
    """An anchor directory: each checkpoint, kept elsewhere."""
    slots: Sequence[tuple[int, str]]
    """Its payloads."""
    altering: Callable[[], AbstractContextManager[tuple[Admin, Reading]]]
    """Yields an admin past all triggers and a reader who sees what he does; nothing of it stays."""

    @property
    def size(self) -> int:
        return self.sizes[-1]

    def commit(self, seq: int) -> range:
        """Return the records that were committed together with this one."""
        at = bisect_left(self.sizes, seq + 1)
        return range(self.sizes[at - 1] if at else 0, self.sizes[at])

    def verified(self, store: Reading, against: Path | None = None) -> Report:
        verifiers = load_verifiers(self.folder / "keys")
        return verify(store, verifiers, against=checkpoints_in(against, verifiers) if against else (), describe=10**6)


async def write_log(folder: Path, database: Database, records: int) -> None:
    """Write a log of about that many records, of every kind."""
    create_keys(folder / "keys", ORIGIN)
    opening = Ledger.open(folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT, database=database)
    async with opening as ledger:

        async def caller(number: int) -> None:
            turn = 0
            while await ledger.size() < records:
                turn += 1
                approval = f"{number}.{turn}"
                await ledger.append(opened(approval, key=approval))
                await ledger.append(vote(approval))
                await ledger.append(settled(approval, ballots=1))
                await ledger.append(outcome(await ledger.append(spend(approval))))
                for _ in range(3):
                    await ledger.append(outcome(await ledger.append(intent())))
                await ledger.append(outcome(await ledger.append(intent()), failed()))
                await ledger.append(refusal(who=approval))
                await ledger.append(rejection(address=approval))
                await ledger.append(Event(kind="catalog.changed", actor="admin", facts={"before": "a", "after": "b"}))

        async with anyio.create_task_group() as tasks:
            for number in range(CALLERS):
                tasks.start_soon(caller, number)


@contextmanager
def in_sqlite(records: int) -> Iterator[Log]:
    with tempfile.TemporaryDirectory(prefix="mcpgw-tamper-") as name:
        folder = Path(name)
        anyio.run(write_log, folder, SqliteDatabase(folder / "data"), records)
        with closing(apsw.Connection(str(folder / "data" / FILE))) as db:
            for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                db.execute(f"DROP TRIGGER {trigger}")

            class Inside(SqliteStore):
                @contextmanager
                def snapshot(self) -> Iterator[None]:
                    yield

            @contextmanager
            def altering() -> Iterator[tuple[Admin, Reading]]:
                db.execute("BEGIN")
                try:
                    yield db, Inside(db, folder / "data")
                finally:
                    db.execute("ROLLBACK")

            yield described(folder, db, altering)


@contextmanager
def in_postgres(records: int) -> Iterator[Log]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcpgw-tamper-")))
        server = stack.enter_context(postgres_server.running())
        for statement in postgres_server.documented_sql():
            server.run(statement)
        migrate(server.address("mcpgw_owner"))
        anyio.run(write_log, folder, PostgresDatabase(server.address("mcpgw_gateway")), records)
        db = stack.enter_context(closing(connect(server.address(postgres_server.ADMIN), "", settings="", patience_s=600)))
        for table in postgres_server.LOG:
            db.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL".encode())

        class Inside(PostgresStore):
            @contextmanager
            def snapshot(self) -> Iterator[None]:
                yield

        @contextmanager
        def altering() -> Iterator[tuple[Admin, Reading]]:
            db.execute("BEGIN")
            try:
                yield PostgresAdmin(db), Inside(lambda: db)
            finally:
                db.execute("ROLLBACK")

        yield described(folder, PostgresAdmin(db), altering)


STORES = {"sqlite": in_sqlite, "postgres": in_postgres}


def described(folder: Path, admin: Admin, altering: Callable[[], AbstractContextManager[tuple[Admin, Reading]]]) -> Log:
    checkpoints = admin.execute("SELECT size, note FROM checkpoints ORDER BY size").fetchall()
    slots = admin.execute("SELECT seq, slot FROM payloads ORDER BY seq, slot").fetchall()
    kept = folder / "kept"
    kept.mkdir()
    for size, note in checkpoints:
        (kept / file_name(size, note.encode())).write_text(note)
    return Log(folder, [size for size, _ in checkpoints], kept, slots, altering)


# --- the classes ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """What became of the tampering of one class."""

    name: str
    done: int = 0
    found: int = 0
    located: int = 0
    misses: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return self.done > 0 and self.found == self.located == self.done and not self.misses


Change = Callable[[Admin, random.Random, int], None]
"""Does something to the record of that number."""


def flipped(data: bytes | str, chance: random.Random) -> bytes | str:
    """Return the bytes with one changed, or the text with one of its characters replaced."""
    at = chance.randrange(len(data))
    if isinstance(data, str):
        other = chance.choice([char for char in "Aa0+/=\n Zé" if char != data[at]])
        return data[:at] + other + data[at + 1 :]
    return data[:at] + bytes([data[at] ^ chance.randrange(1, 256)]) + data[at + 1 :]


def flip(table: str, key: str, *columns: str) -> Change:
    """Change one byte or character of one of these columns, in one of the rows with that key."""

    def change(db: Admin, chance: random.Random, value: int) -> None:
        column = chance.choice(columns)
        name = "slot" if table == "payloads" else key
        rows = db.execute(f"SELECT {column}, {name} FROM {table} WHERE {key} = ? ORDER BY {name}", (value,)).fetchall()
        data, row = chance.choice(rows)
        values = (flipped(data, chance), value, row)
        db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ? AND {name} = ?", values)

    return change


def other_column(db: Admin, chance: random.Random, seq: int) -> None:
    """Let a search find the record as somebody else's, or not at all."""
    column = chance.choice([*INDEX, "event_id"])
    ((value,),) = db.execute(f"SELECT {column} FROM records WHERE seq = ?", (seq,)).fetchall()
    other = value + chance.randrange(1, 10**9) if isinstance(value, int) else chance.choice((f"{value}x", f"x{seq}"))
    db.execute(f"UPDATE records SET {column} = ? WHERE seq = ?", (other, seq))


def forged(leaf: bytes) -> bytes:
    """Return another leaf that is as well-formed: an hour later."""
    members = json.loads(leaf)
    members["time_ns"] = str(int(members["time_ns"]) + 3_600_000_000_000)
    return json.dumps(members, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def rewrite(db: Admin, chance: random.Random, seq: int) -> None:
    """The cleverer kind: the leaf, its hash and its columns agree with each other."""
    ((leaf,),) = db.execute("SELECT leaf FROM records WHERE seq = ?", (seq,)).fetchall()
    new = forged(leaf)
    sql = "UPDATE records SET leaf = ?, hash = ?, time_ns = ? WHERE seq = ?"
    db.execute(sql, (new, leaf_hash(new), int(json.loads(new)["time_ns"]), seq))


def delete(db: Admin, chance: random.Random, seq: int) -> None:
    db.execute("DELETE FROM records WHERE seq = ?", (seq,))
    db.execute("DELETE FROM payloads WHERE seq = ?", (seq,))


def forget_payload(db: Admin, chance: random.Random, seq: int) -> None:
    db.execute("DELETE FROM payloads WHERE seq = ?", (seq,))


def slip_in_payload(db: Admin, chance: random.Random, seq: int) -> None:
    db.execute("INSERT INTO payloads VALUES (?, 'foreign', x'00', x'00')", (seq,))


def swap(db: Admin, chance: random.Random, seq: int) -> None:
    """Exchange the record with the one behind it, payloads and all."""
    for old, new in ((seq, -1), (seq + 1, seq), (-1, seq + 1)):
        db.execute("UPDATE records SET seq = ? WHERE seq = ?", (new, old))
        db.execute("UPDATE payloads SET seq = ? WHERE seq = ?", (new, old))


@dataclass(frozen=True, slots=True)
class Together:
    """A class of which many can be done in one log, since each is located by itself."""

    name: str
    change: Change
    kind: K
    where: str = "records"
    """What is chosen from: `records`, `payloads` (records that have some) or `checkpoints` (their sizes)."""
    within: str = "record"
    """What it is located to: the `record`, its `commit`, both records of a `pair`, or the `checkpoint`."""


CHECKPOINTS = ("checkpoints", "checkpoint")
TOGETHER = (
    Together("a byte of a leaf changed", flip("records", "seq", "leaf"), K.ALTERED),
    Together("a byte of a leaf's hash changed", flip("records", "seq", "hash"), K.ALTERED),
    Together("a leaf rewritten with its hash and columns", rewrite, K.ROOT, within="commit"),
    Together("a column changed", other_column, K.COLUMNS),
    Together("a byte of a payload changed", flip("payloads", "seq", "body"), K.PAYLOAD, where="payloads"),
    Together("a byte of a salt changed", flip("payloads", "seq", "salt"), K.PAYLOAD, where="payloads"),
    Together("payloads deleted", forget_payload, K.PAYLOAD, where="payloads"),
    Together("a foreign payload slipped in", slip_in_payload, K.PAYLOAD),
    Together("a character of a checkpoint changed", flip("checkpoints", "size", "note"), K.CHECKPOINT, *CHECKPOINTS),
    Together("a byte of a frontier changed", flip("checkpoints", "size", "frontier"), K.CHECKPOINT, *CHECKPOINTS),
    Together("a record deleted", delete, K.MISSING),
    Together("two neighbours exchanged", swap, K.MISPLACED, within="pair"),
)
"""Reordering is that of neighbours: what is far apart is found the same way, twice."""


def chosen(log: Log, way: Together, chance: random.Random, count: int) -> list[int]:
    """Choose what to tamper with. Deleted and exchanged records keep their distance, to be told apart."""
    match way.where:
        case "checkpoints":
            candidates = list(log.sizes)
        case "payloads":
            candidates = sorted({seq for seq, _ in log.slots})
        case _:
            candidates = list(range(0, log.size - 1, 2 if way.within == "pair" else 1))
    return sorted(chance.sample(candidates, min(count, len(candidates))))


def together(log: Log, way: Together, chance: random.Random, count: int, batch: int = 250) -> Tally:
    """Tamper with that many, in a few rounds, and see each of them located and nothing else complained of."""
    tally = Tally(way.name)
    while tally.done < count:
        targets = chosen(log, way, chance, min(batch, count - tally.done))
        with log.altering() as (db, store):
            for target in targets:
                way.change(db, chance, target)
            report = log.verified(store)
        tally.done += len(targets)
        tally.found += len(targets) if not report.ok else 0
        judge(tally, log, way, targets, report)
    return tally


def judge(tally: Tally, log: Log, way: Together, targets: Sequence[int], report: Report) -> None:
    explained: set[int] = set()
    for target in targets:
        mine = [problem for problem in report.problems if problem.kind is way.kind and names(problem, log, way, target)]
        tally.located += bool(mine)
        if not mine:
            tally.misses.append(f"{way.name}: {target} was not located")
        at = [target - 1] if way.within == "checkpoint" else [target, target + 1] if way.within == "pair" else [target]
        explained |= {seq for one in at for seq in log.commit(one)}  # what follows from it, such as another root
    for problem in report.problems:
        if problem.kind is K.APPROVAL:
            continue  # an approval whose record is gone is spent without one: true as well
        if not explained.issuperset(problem.records):
            tally.misses.append(f"{way.name}: complained of elsewhere: {problem}")


def names(problem: Problem, log: Log, way: Together, target: int) -> bool:
    """Tell whether the problem is located where that was tampered with. Deleted neighbours are one range."""
    match way.within:
        case "checkpoint":
            return f"over {target} records" in problem.what
        case "commit":
            return target in problem.records and set(problem.records) <= set(log.commit(target))
        case _:
            return problem.records == range(target, target + 1) or (way.kind is K.MISSING and target in problem.records)


# --- what is done one by one ---------------------------------------------------------------------------------------------


def insert(db: Admin, log: Log, chance: random.Random) -> tuple[K, range]:
    """Copy a record to somewhere else, and make room for it."""
    seq, copied = chance.randrange(log.size), chance.randrange(log.size)
    columns = ", ".join(("leaf", "hash", *INDEX))
    move(db, seq, log.size, +1)
    source = copied + 1 if copied >= seq else copied
    sql = f"INSERT INTO records (seq, event_id, {columns}) SELECT ?, 'inserted', {columns} FROM records WHERE seq = ?"
    db.execute(sql, (seq, source))
    return (K.COLUMNS, range(seq, seq + 1)) if copied == seq else (K.MISPLACED, range(seq, seq + 1))


def append(db: Admin, log: Log, chance: random.Random) -> tuple[K, range]:
    """Copy a record to the end, in due form."""
    columns = ", ".join(INDEX)
    ((leaf,),) = db.execute("SELECT leaf FROM records WHERE seq = ?", (chance.randrange(log.size),)).fetchall()
    members = json.loads(leaf) | {"seq": log.size, "id": "appended"}
    new = json.dumps(members, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    into = f"INSERT INTO records (seq, event_id, leaf, hash, {columns})"
    db.execute(
        f"{into} SELECT ?, 'appended', ?, ?, {columns} FROM records WHERE leaf = ?", (log.size, new, leaf_hash(new), leaf)
    )
    return K.UNSEALED, range(log.size, log.size + 1)


def close_ranks(db: Admin, log: Log, chance: random.Random) -> tuple[K, range]:
    """Delete a record and give its number to the next."""
    seq = chance.randrange(log.size - 1)
    delete(db, chance, seq)
    move(db, seq + 1, log.size, -1)
    return K.MISPLACED, range(seq, seq + 1)


def move(db: Admin, start: int, stop: int, by: int) -> None:
    for table in ("records", "payloads"):  # over numbers that nobody has: both stores look at each row at once
        db.execute(f"UPDATE {table} SET seq = -seq - 1000000 WHERE seq >= ? AND seq < ?", (start, stop))
        db.execute(f"UPDATE {table} SET seq = -seq - 1000000 + ? WHERE seq < -999999", (by,))


def truncate(db: Admin, log: Log, chance: random.Random) -> tuple[K, range]:
    """Cut off the newest records, and leave the checkpoints."""
    seq = chance.randrange(log.size)
    for table in ("records", "payloads"):
        db.execute(f"DELETE FROM {table} WHERE seq >= ?", (seq,))
    return K.MISSING, range(seq, log.size)


def cut_back(db: Admin, log: Log, chance: random.Random) -> tuple[K, range]:
    """Cut off the newest records with their checkpoints, at the end of a commit."""
    size = chance.choice(log.sizes[:-1])
    for table in ("records", "payloads"):
        db.execute(f"DELETE FROM {table} WHERE seq >= ?", (size,))
    db.execute("DELETE FROM checkpoints WHERE size > ?", (size,))
    return K.ANCHOR, range(size, log.size)


def fork(db: Admin, log: Log, chance: random.Random) -> tuple[K, range]:
    """Rewrite one record, and sign every checkpoint from there on anew with the log's own key."""
    seq = chance.randrange(log.size)
    rewrite(db, chance, seq)
    signer, frontier = load_signer(log.folder / "keys", ORIGIN), Frontier()
    sizes = set(log.sizes)
    for count, (stored,) in enumerate(db.execute("SELECT hash FROM records ORDER BY seq").fetchall(), 1):
        frontier = frontier.appended(stored)
        if count in sizes and count > seq:
            note = signer.sign(Checkpoint(ORIGIN, count, frontier.root()).text())
            sql = "UPDATE checkpoints SET note = ?, frontier = ? WHERE size = ?"
            db.execute(sql, (note, frontier.to_bytes(), count))
    return K.ANCHOR, log.commit(seq)


Single = Callable[[Admin, Log, random.Random], tuple[K, range]]
"""Does it, and returns what is to be found where."""

ONE_BY_ONE: dict[str, Single] = {
    "a record inserted, and room made for it": insert,
    "a record appended in due form": append,
    "a record deleted, and the ranks closed": close_ranks,
    "the newest records cut off": truncate,
}
AGAINST_A_CHECKPOINT: dict[str, Single] = {
    "the whole database set back to an earlier day": cut_back,
    "a record rewritten and everything behind it signed anew with the log's key": fork,
}


def one_by_one(log: Log, name: str, way: Single, chance: random.Random, count: int) -> Tally:
    tally = Tally(name)
    for _ in range(count):
        with log.altering() as (db, store):
            kind, where = way(db, log, chance)
            report = log.verified(store)
        tally.done += 1
        tally.found += not report.ok
        first = min((p.records.start for p in report.problems if p.kind is kind), default=-1)
        covered = {seq for p in report.problems if p.kind is kind for seq in p.records}
        commit = log.commit(min(where.start, log.size - 1))
        before = [p for p in report.problems if p.records and p.records.start < commit.start]
        located = first == where.start and covered.issuperset(where) and not before
        tally.located += located
        if not located:
            tally.misses.append(f"{name}: {kind} at {where} was to be found, and was: {report.problems[:3]}")
    return tally


def against_a_checkpoint(log: Log, name: str, way: Single, chance: random.Random, count: int) -> Tally:
    """See that the log verifies by itself, as it must, and that checkpoints kept elsewhere tell, and where it begins."""
    tally = Tally(name)
    for _ in range(count):
        with log.altering() as (db, store):
            kind, where = way(db, log, chance)
            alone, report = log.verified(store), log.verified(store, log.kept)
        where_found = next((problem.records for problem in report.problems if problem.kind is kind), range(0))
        tally.done += 1
        tally.found += not report.ok
        tally.located += where_found == where
        if not alone.ok or where_found != where:
            tally.misses.append(f"{name}: {kind} at {where}, found {where_found}; alone: {alone.problems[:3]}")
    return tally


# --- all of it -----------------------------------------------------------------------------------------------------------


def tampered(store: str, count: int, seed: int, *, large: int, small: int, only: str = "") -> Iterator[Tally]:
    """Try every class whose name holds `only`: `count` records each, in logs of about `large` and `small` records."""
    with STORES[store](large) as log:
        for way in TOGETHER:
            if only in way.name:
                yield together(log, way, random.Random(f"{seed} {way.name}"), count)
    with STORES[store](small) as log:
        for name, single in ONE_BY_ONE.items():
            if only in name:
                yield one_by_one(log, name, single, random.Random(f"{seed} {name}"), count)
        for name, single in AGAINST_A_CHECKPOINT.items():
            if only in name:
                yield against_a_checkpoint(log, name, single, random.Random(f"{seed} {name}"), count)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/tamper", description="Tamper with a log in every way, and verify.")
    parser.add_argument("--records", type=int, default=1000, help="of each class")
    parser.add_argument("--store", choices=[*STORES, "both"], default="both")
    parser.add_argument("--only", default="", metavar="TEXT", help="of the classes with this in their name")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    stores, misses = list(STORES) if options.store == "both" else [options.store], 0
    if "postgres" in stores and (why := postgres_server.cannot_run()):
        sys.exit(why)
    print(f"{options.records} random records of each class, seed {options.seed}")
    for store in stores:
        sizes = {"large": options.records * 4, "small": 120}
        for tally in tampered(store, options.records, options.seed, **sizes, only=options.only):
            print(f"{store}: {tally.name}: {tally.done} done, {tally.found} found, {tally.located} located", flush=True)
            for miss in tally.misses[:5]:
                print(f"✗ {miss}"[:400])
            misses += not tally.whole
    print("everything was found and located" if not misses else f"✗ {misses} classes were not")
    sys.exit(bool(misses))


if __name__ == "__main__":
    main()
