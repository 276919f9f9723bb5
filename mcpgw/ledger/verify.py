"""Checking a log against its own seals, believing nothing but public keys and, if given, a checkpoint kept elsewhere.

Everything is read once, in order:

    each record      its hash, its form, its place, its search columns, its payloads' commitments, the approval that it spends
    each checkpoint  its signature, and that the records up to it add up to its root
    each tile        that it is what the records add up to
    the end          nothing is missing before the newest checkpoint, nothing stands behind it

The tree is built from the stored leaf hashes, so one altered leaf spoils one record and not all that follow. Where a leaf and
its hash were altered together, the checkpoint of its commit fails; the walk then goes on from that checkpoint's own frontier,
which its signature covers. So each alteration is located to its record, or to the few that were committed with it.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, Verifier, open_checkpoint
from mcpgw.ledger.examine import Approvals, ProblemKind, objections
from mcpgw.ledger.store import Reading, StoredCheckpoint, StoredPayload, StoredRecord
from mcpgw.ledger.stored_tree import TileCheck
from mcpgw.ledger.tree import Frontier

_CHUNK = 500
"""Records read at a time: bounds memory."""
_ALL = 2**63 - 1
"""More records than any log has."""


@dataclass(frozen=True, slots=True)
class Problem:
    kind: ProblemKind
    records: range
    """The sequence numbers it was located to; empty where it concerns no record."""
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found, and what was believed in finding it."""

    origin: str
    records: int
    checkpoints: int
    root: str
    """Hex root over all records, as computed."""
    keys: tuple[str, ...]
    anchored: int
    """Size of the checkpoint kept elsewhere that was compared; 0 if none: then a log that was cut back together with its
    checkpoints, or rewritten by a holder of the signing key, was not looked for."""
    problems: tuple[Problem, ...]
    found: int
    """Number of problems, including those that are not described."""

    @property
    def ok(self) -> bool:
        return self.found == 0


def verify(
    store: Reading,
    verifiers: Sequence[Verifier],
    *,
    against: str = "",
    describe: int = 1000,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Verify the whole log, and that it continues the signed checkpoint `against` if one is given.

    At most `describe` problems are described; all are counted. `progress` hears how many of how many records are done.
    Whatever is wrong with the log is in the report, not raised.

    Raises:
        ValueError: no verifiers: nothing could be believed.
        InvalidNote: `against` is not a checkpoint that one of the verifiers signed.
        LedgerUnavailable: the store cannot be read at all.
    """
    if not verifiers:
        raise ValueError("verification needs at least one public key")
    anchor = open_checkpoint(against, verifiers) if against else Checkpoint(verifiers[0].name, 0, b"")
    tiles = TileCheck(store)
    walk = _Walk(verifiers, anchor, describe, tiles)
    with store.snapshot():
        for message in _damage(store):
            walk.problem(ProblemKind.DAMAGED, range(0), f"the database reports: {message}")
        total = _total(store, walk)
        checkpoints = _Ahead(store.checkpoints(), walk)
        for record, payloads in _everything(store, walk, total):
            for checkpoint in checkpoints.up_to(record.seq):
                walk.checkpoint(checkpoint)
            walk.record(record, payloads)
            if record.seq % _CHUNK == 0:
                progress(record.seq, total)
        for checkpoint in checkpoints.up_to(_ALL):
            walk.checkpoint(checkpoint)
        walk.tiles(tiles.strangers)
    walk.end()
    progress(total, total)
    return walk.report()


class _Walk:
    """The state of one pass over the log."""

    def __init__(self, verifiers: Sequence[Verifier], anchor: Checkpoint, describe: int, tiles: TileCheck) -> None:
        self._verifiers = verifiers
        self._origin = verifiers[0].name
        self._anchor = anchor
        self._anchor_met = anchor.size == 0
        self._tree = Frontier()
        self._whole = True  # no record was missed since the last checkpoint that fitted, so `_tree` is comparable
        self._next = 0  # the sequence number that must come next
        self._sealed = 0  # size of the newest checkpoint that could be believed
        self._checkpoints = 0
        self._tiles = tiles
        self._approvals = Approvals()
        self._problems: list[Problem] = []
        self._describe = describe
        self._found = 0

    def problem(self, kind: ProblemKind, records: range, what: str) -> None:
        self._found += 1
        if len(self._problems) < self._describe:
            self._problems.append(Problem(kind, records, what))

    def record(self, record: StoredRecord, payloads: Sequence[StoredPayload]) -> None:
        if record.seq > self._next:
            self.missing(range(self._next, record.seq))
        self._next = record.seq + 1
        here = range(record.seq, record.seq + 1)
        for kind, what in objections(record, self._origin, payloads, self._approvals):
            self.problem(kind, here, what)
        try:
            self._tree = self._tree.appended(record.hash)
            self._tiles.appended(record.hash)
        except ValueError:
            self._doubt(record.seq + 1)  # the stored hash is no hash: reported as altered
        self._compare_anchor()

    def missing(self, records: range) -> None:
        self.problem(ProblemKind.MISSING, records, f"{_named(records)} missing")
        self._doubt(records.stop)

    def unreadable(self, seq: int, error: LedgerUnavailable) -> None:
        self.problem(ProblemKind.DAMAGED, range(seq, seq + 1), f"record {seq} cannot be read: {error}")
        self._next = seq + 1
        self._doubt(seq + 1)

    def checkpoint(self, stored: StoredCheckpoint) -> None:
        self._checkpoints += 1
        name = f"the checkpoint over {stored.size} records"
        try:
            signed = open_checkpoint(stored.note, self._verifiers)
            frontier = Frontier.from_bytes(stored.size, stored.frontier)
        except (InvalidNote, ValueError) as error:
            self.problem(ProblemKind.CHECKPOINT, range(0), f"{name} is not to be believed: {error}")
            return
        if signed != Checkpoint(self._origin, stored.size, frontier.root()):
            self.problem(ProblemKind.CHECKPOINT, range(0), f"{name} was signed for another size, log or tree")
            return
        if stored.size > self._next:
            self.missing(range(self._next, stored.size))
            self._next = stored.size
        if self._whole and self._tree != frontier:
            suspects = range(self._sealed, stored.size)
            self.problem(
                ProblemKind.ROOT, suspects, f"{_named(suspects)} not what was sealed: the signed checkpoint has another root"
            )
        if self._whole and self._tree == frontier:
            self.tiles(self._tiles.vouched)
        else:
            self._doubt(stored.size)
        self._tree, self._whole, self._sealed = frontier, True, stored.size
        self._compare_anchor()

    def tiles(self, altered: Callable[[], Iterator[tuple[range, str]]]) -> None:
        try:
            for records, what in altered():
                self.problem(ProblemKind.TILE, records, what)
        except LedgerUnavailable as error:
            self.problem(ProblemKind.DAMAGED, range(0), f"the tiles cannot be read: {error}")

    def end(self) -> None:
        if self._next > self._sealed:
            behind = range(self._sealed, self._next)
            self.problem(ProblemKind.UNSEALED, behind, f"{_named(behind)} behind the newest checkpoint: nobody signed for that")
        if not self._anchor_met:
            size = self._anchor.size
            if self._next < size:
                lost = range(self._next, size)
                self.problem(ProblemKind.ANCHOR, lost, f"{_named(lost)} missing: the checkpoint kept elsewhere covers {size}")
            else:
                what = f"the first {size} records are not those that the checkpoint kept elsewhere covers"
                self.problem(ProblemKind.ANCHOR, range(size), what)

    def report(self) -> Report:
        return Report(
            origin=self._origin,
            records=self._next,
            checkpoints=self._checkpoints,
            root=self._tree.root().hex(),
            keys=tuple(verifier.vkey() for verifier in self._verifiers),
            anchored=self._anchor.size,
            problems=tuple(self._problems),
            found=self._found,
        )

    def _doubt(self, size: int) -> None:
        """Up to this size the leaves are not all known, or not those that were sealed."""
        self._whole = False
        self._tiles.doubted(size)

    def _compare_anchor(self) -> None:
        if self._whole and self._tree.size == self._anchor.size:
            self._anchor_met = self._anchor_met or self._tree.root() == self._anchor.root


def _damage(store: Reading) -> Sequence[str]:
    try:
        return store.damage()
    except LedgerUnavailable as error:
        return [str(error)]


def _total(store: Reading, walk: _Walk) -> int:
    """Return how many records to look for, from the records or, where their end is damaged, from the newest checkpoint."""
    try:
        return store.size()
    except LedgerUnavailable as error:
        walk.problem(ProblemKind.DAMAGED, range(0), f"the newest records cannot be read: {error}")
        return max((checkpoint.size for checkpoint in store.newest_checkpoint()), default=0)


def _everything(store: Reading, walk: _Walk, total: int) -> Iterator[tuple[StoredRecord, Sequence[StoredPayload]]]:
    """Yield every record with its payloads, in order; report what cannot be read and go on behind it."""
    for start in range(0, total, _CHUNK):
        end = min(start + _CHUNK, total)
        try:
            yield from _range(store, start, end)
        except LedgerUnavailable:
            yield from _one_by_one(store, walk, start, end)


def _one_by_one(store: Reading, walk: _Walk, start: int, end: int) -> Iterator[tuple[StoredRecord, Sequence[StoredPayload]]]:
    for seq in range(start, end):
        try:
            yield from _range(store, seq, seq + 1)
        except LedgerUnavailable as error:
            walk.unreadable(seq, error)


def _range(store: Reading, start: int, end: int) -> Sequence[tuple[StoredRecord, Sequence[StoredPayload]]]:
    by_seq: dict[int, list[StoredPayload]] = defaultdict(list)
    for payload in store.payloads(start, end):
        by_seq[payload.seq].append(payload)
    records = itertools.takewhile(lambda record: record.seq < end, store.records(start, end - start))
    return [(record, by_seq[record.seq]) for record in records]


class _Ahead:
    """Checkpoints in order of size, handed out when the walk gets there."""

    def __init__(self, checkpoints: Iterator[StoredCheckpoint], walk: _Walk) -> None:
        self._checkpoints = checkpoints
        self._walk = walk
        self._next = self._pulled()

    def up_to(self, size: int) -> Iterator[StoredCheckpoint]:
        """Yield those over at most `size` records."""
        while self._next and self._next[0].size <= size:
            yield self._next[0]
            self._next = self._pulled()

    def _pulled(self) -> list[StoredCheckpoint]:
        try:
            return list(itertools.islice(self._checkpoints, 1))
        except LedgerUnavailable as error:
            self._walk.problem(ProblemKind.DAMAGED, range(0), f"the checkpoints cannot be read: {error}")
            return []


def _named(records: range) -> str:
    if len(records) == 1:
        return f"record {records.start} is"
    return f"records {records.start} to {records.stop - 1} are"
