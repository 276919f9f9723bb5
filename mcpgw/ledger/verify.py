"""Checking a log against its own seals, believing nothing but public keys and, if given, checkpoints kept elsewhere.

Everything is read once, in order:

    each record      its hash, its form, its place, its search columns, its payloads' commitments, the approval that it spends
    each checkpoint  its signature, and that the records up to it add up to its root
    each tile        that it is what the records add up to
    the end          nothing is missing before the newest checkpoint, nothing stands behind it

What concerns one record or one checkpoint by itself may be done by other processes (`examiners`); what concerns their order is
done by one (`walk`). A span in which another process found anything wrong is looked at again here, record by record, in the one
snapshot that the report is about.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.anchor_check import AnchorCheck
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, Verifier, open_checkpoint
from mcpgw.ledger.checks import ProblemKind
from mcpgw.ledger.erasure import Erased, Erasures
from mcpgw.ledger.examine import examine
from mcpgw.ledger.examiners import Examiners
from mcpgw.ledger.keys import public_line
from mcpgw.ledger.spans import SPAN, Sound, believed, damage, read, sound
from mcpgw.ledger.store import Database, Reading, StoredCheckpoint, StoredPayload, StoredRecord
from mcpgw.ledger.stored_tree import TileCheck
from mcpgw.ledger.tree import Frontier
from mcpgw.ledger.walk import Problem, Walk

_WORTH = 20_000
"""Records below which processes of their own would take longer to start than they save."""
_ALL = 2**63 - 1
"""More records than any log has."""
WHOLE = range(_ALL)

Progress = Callable[[int, int], None]
"""Hears how many of how many records are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found, what was believed in finding it, and what was not looked for."""

    origin: str
    first: int
    """Where it began: 0, or in a range the size of the checkpoint that was believed."""
    records: int
    """How many records were verified, from `first` on; those that are missing count too."""
    checkpoints: int
    root: str
    """Hex root over all records up to the last one that was verified, as computed."""
    keys: tuple[str, ...]
    """The public keys that were believed, each with the sizes of the checkpoints that it was believed for."""
    anchored: int
    """Size of the largest checkpoint kept elsewhere that was given; 0 if none."""
    anchors: int
    """How many such checkpoints the log was found to continue."""
    unestablished: tuple[str, ...]
    """What nobody can conclude from this report, a sentence each."""
    problems: tuple[Problem, ...]
    found: int
    """Number of problems, including those that are not described."""
    erased: tuple[Erased, ...] = ()
    """What records say that was erased of those that were verified: their payloads are gone, and that is no problem."""

    @property
    def ok(self) -> bool:
        return self.found == 0


def verify(
    store: Reading,
    verifiers: Sequence[Verifier],
    *,
    against: str | Sequence[Checkpoint] = (),
    within: range = WHOLE,
    describe: int = 1000,
    progress: Progress = lambda done, total: None,
    database: Database | None = None,
) -> Report:
    """Verify the log, or the records `within` it, and that it continues what was kept elsewhere.

    `against` is a signed checkpoint, or any number that were opened. A range is verified from the newest checkpoint before
    it to the oldest behind it. At most `describe` problems are described; all are counted. Where `database` says how to open
    the log again, processes of their own examine a large one. Whatever is wrong with the log is in the report, not
    raised.

    Raises:
        ValueError: no verifiers: nothing could be believed.
        InvalidNote: `against` is not a checkpoint that one of the verifiers signed.
        LedgerUnavailable: the store cannot be read at all.
    """
    verification = Verification(verifiers, against=against, within=within, describe=describe)
    with store.snapshot():
        verification.go_on(store, progress, database)
    return verification.report()


class Verification:
    """A verification that can go on when the log has grown. Give it the same log, each time inside a snapshot of it."""

    def __init__(
        self,
        verifiers: Sequence[Verifier],
        *,
        against: str | Sequence[Checkpoint] = (),
        within: range = WHOLE,
        describe: int = 1000,
    ) -> None:
        """Raises: as `verify`."""
        if not verifiers:
            raise ValueError("verification needs at least one public key")
        kept = against if not isinstance(against, str) else [open_checkpoint(against, verifiers)] if against else []
        self._verifiers = tuple(verifiers)
        self._origin = verifiers[0].name
        self._kept = kept
        self._anchors = AnchorCheck(kept)
        self._within = within
        self._describe = describe
        self._walk: Walk | None = None  # None until the log was first seen
        self._of_log = True
        self._erasures = Erasures()

    @property
    def sealed(self) -> Frontier:
        """Frontier of the newest checkpoint that was believed; of the empty tree before there was one."""
        return self._walk.sealed if self._walk else Frontier()

    def go_on(self, store: Reading, progress: Progress = lambda done, total: None, database: Database | None = None) -> None:
        """Verify what was not verified yet.

        Raises:
            LedgerUnavailable: the store cannot be read at all.
        """
        whole_file = self._walk is None and self._within == WHOLE
        walk = self._walk = self._walk or self._beginning(store)
        walk.tiles.read_from(store)
        total = _total(store, walk)
        self._erasures = _erasures(store, walk)
        end = self._end(store, total)
        self._of_log = end >= total
        spans = [range(at, min(at + SPAN, end)) for at in range(walk.next, end, SPAN)]
        if database is None or end - walk.next < _WORTH:
            for span in spans:
                self._take(store, span, sound(store, span, self._origin, self._verifiers, self._erasures), walk)
                progress(span.stop, end)
            if whole_file:
                walk.damaged(damage(store))
        else:
            with contextlib.closing(Examiners(database, self._origin, self._verifiers, whole_file=whole_file)) as examiners:
                for span, found in examiners.sound(spans):
                    self._take(store, span, found, walk)
                    progress(span.stop, end)
                if whole_file:
                    told = examiners.damage()
                    walk.damaged(damage(store) if told is None else told)
        if self._of_log:
            for stored in _checkpoints(store, walk, max(total, walk.start), _ALL):
                walk.checkpoint(stored)
            walk.tiles_are(walk.tiles.strangers)

    def report(self) -> Report:
        """Return what was found so far, as if nothing more came. Not before `go_on`."""
        assert self._walk is not None  # noqa: S101 - see above
        walk = self._walk
        last = list(walk.at_end(of_log=self._of_log))
        return Report(
            origin=self._origin,
            first=walk.start,
            records=walk.next - walk.start,
            checkpoints=walk.checkpoints,
            root=walk.tree.root().hex(),
            keys=tuple(public_line(verifier) for verifier in self._verifiers),
            anchored=self._anchors.largest,
            anchors=self._anchors.met,
            unestablished=tuple(self._unestablished(walk)),
            problems=(*walk.problems, *last[: max(0, self._describe - len(walk.problems))]),
            found=walk.found + len(last),
            erased=tuple(told for told in self._erasures.told if walk.start < told.seq),
        )

    def _beginning(self, store: Reading) -> Walk:
        """Return a walk from the newest checkpoint before the range that can be believed, or from the log's beginning."""
        doubted: list[StoredCheckpoint] = []
        found = store.checkpoint_at_most(self._within.start) if self._within.start else ()
        start = Frontier()
        while found:
            try:
                start = believed(found[0], self._origin, self._verifiers)
                break
            except (InvalidNote, ValueError):
                doubted += found
                found = store.checkpoint_at_most(found[0].size - 1)
        tiles = TileCheck(store, start.size)
        walk = Walk(self._verifiers, self._anchors, start, tiles, describe=self._describe)
        if self._within == WHOLE:
            doubted = [*_checkpoints(store, walk, -_ALL, 0)]
        for stored in doubted:
            if stored.size <= start.size:
                walk.checkpoint(stored)  # the others are met on the way
        return walk

    def _end(self, store: Reading, total: int) -> int:
        """Return where to end: behind the range, where the next checkpoint seals it."""
        if self._within.stop >= total:
            return total
        sealed = next(store.checkpoints(self._within.stop - 1, total), None)
        return sealed.size if sealed else total

    def _take(self, store: Reading, span: range, found: Sound | None, walk: Walk) -> None:
        if found is not None:
            walk.sound(found)
        else:
            self._look_closely(store, span, walk)

    def _look_closely(self, store: Reading, span: range, walk: Walk) -> None:
        """Walk over a span record by record; report what is wrong and what cannot be read, and go on behind it."""
        checkpoints = _Ahead(_checkpoints(store, walk, span.start, span.stop))
        for record, payloads in _readable(store, walk, span):
            for stored in checkpoints.up_to(record.seq):
                walk.checkpoint(stored)
            walk.record(examine(record, self._origin, payloads, self._erasures))
        for stored in checkpoints.up_to(span.stop):
            walk.checkpoint(stored)

    def _unestablished(self, walk: Walk) -> Iterator[str]:
        if walk.start:
            yield (
                f"what stands before record {walk.start}: believed by its signed checkpoint alone, and whether approvals "
                "that were given there were spent before"
            )
        yield from walk.keys.unestablished()
        outside = [told.seq for told in self._erasures.told if told.seq >= walk.next]
        if outside:
            yield f"whether payloads were erased that {len(outside)} records behind the range name, which were not verified"
        if not self._of_log:
            yield f"what stands from record {walk.next} on"
        if self._within != WHOLE:
            yield "whether the database's file is whole"
        if skipped := self._anchors.skipped(walk.start, walk.next if not self._of_log else _ALL):
            yield f"{skipped} of the checkpoints kept elsewhere: they lie outside of the range"
        if not self._kept:
            yield "a log that was cut back together with its checkpoints, or rewritten with its key: give --against"


def _total(store: Reading, walk: Walk) -> int:
    """Return how many records to look for, from the records or, where their end is damaged, from the newest checkpoint."""
    try:
        return store.size()
    except LedgerUnavailable as error:
        walk.problem(ProblemKind.DAMAGED, range(0), f"the newest records cannot be read: {error}")
        return max((checkpoint.size for checkpoint in store.newest_checkpoint()), default=0)


def _erasures(store: Reading, walk: Walk) -> Erasures:
    """Return what the log says that was erased. What cannot be read names nothing, so what it erased is reported as missing."""
    try:
        return Erasures(store.erasing(), store.holding())
    except LedgerUnavailable as error:
        walk.problem(ProblemKind.DAMAGED, range(0), f"the records of what was erased or held cannot be read: {error}")
        return Erasures()


def _checkpoints(store: Reading, walk: Walk, after: int, up_to: int) -> Iterator[StoredCheckpoint]:
    """Yield the stored checkpoints; report it if they cannot be read."""
    try:
        yield from store.checkpoints(after, up_to)
    except LedgerUnavailable as error:
        walk.problem(ProblemKind.DAMAGED, range(0), f"the checkpoints cannot be read: {error}")


def _readable(store: Reading, walk: Walk, span: range) -> Iterator[tuple[StoredRecord, Sequence[StoredPayload]]]:
    """Yield what can be read of the span, record by record where it cannot be read as one."""
    try:
        yield from read(store, span)
    except LedgerUnavailable:
        for seq in span:
            try:
                yield from read(store, range(seq, seq + 1))
            except LedgerUnavailable as error:
                walk.unreadable(seq, error)


class _Ahead:
    """Checkpoints in order of size, handed out when the walk gets there."""

    def __init__(self, checkpoints: Iterator[StoredCheckpoint]) -> None:
        self._checkpoints = checkpoints
        self._next = next(checkpoints, None)

    def up_to(self, size: int) -> Iterator[StoredCheckpoint]:
        """Yield those over at most `size` records."""
        while self._next is not None and self._next.size <= size:
            yield self._next
            self._next = next(self._checkpoints, None)
