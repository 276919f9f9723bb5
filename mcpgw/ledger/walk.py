"""One pass over a log, in order: the tree, the checkpoints, what records mean to each other, and what was kept elsewhere.

The tree is built from the stored leaf hashes, so one altered leaf spoils one record and not all that follow. Where a leaf and
its hash were altered together, the checkpoint of its commit fails; the walk then goes on from that checkpoint's own frontier,
which its signature covers. So each alteration is located to its record, or to the few that were committed with it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.anchor_check import AnchorCheck
from mcpgw.ledger.checkpoint import InvalidNote, Verifier
from mcpgw.ledger.checks import Notes, ProblemKind, named
from mcpgw.ledger.completeness import CHECKS
from mcpgw.ledger.examine import Examined
from mcpgw.ledger.key_steps import KeySteps
from mcpgw.ledger.spans import Sound, believed
from mcpgw.ledger.store import StoredCheckpoint
from mcpgw.ledger.stored_tree import TileCheck
from mcpgw.ledger.tree import Frontier


@dataclass(frozen=True, slots=True)
class Problem:
    kind: ProblemKind
    records: range
    """The sequence numbers it was located to; empty where it concerns no record."""
    what: str


class Walk:
    """The state of one pass. It begins behind a frontier that is believed: of the empty tree, or of a signed checkpoint."""

    def __init__(
        self, verifiers: Sequence[Verifier], anchors: AnchorCheck, start: Frontier, tiles: TileCheck, *, describe: int
    ) -> None:
        """`tiles` begins where the walk does."""
        self.start = start.size
        self.next = start.size
        """The sequence number that must come next."""
        self.sealed = start
        """Frontier of the newest checkpoint that could be believed, or where the walk began."""
        self.tree = start
        self.checkpoints = 0
        self.found = 0
        self.problems: list[Problem] = []
        self._verifiers = verifiers
        self._origin = verifiers[0].name
        self._anchors = anchors
        self.tiles = tiles
        self._whole = True  # no record was missed since the last checkpoint that fitted, so `tree` is comparable
        self.keys = KeySteps(verifiers, start.size)
        self._checks = (*(check(from_start=start.size == 0) for check in CHECKS), self.keys)
        self._describe = describe
        anchors.compare(start)

    def problem(self, kind: ProblemKind, records: range, what: str) -> None:
        self.found += 1
        if len(self.problems) < self._describe:
            self.problems.append(Problem(kind, records, what))

    def damaged(self, messages: Sequence[str]) -> None:
        """Take in, before all that was found, what the database finds wrong with its file."""
        self.found += len(messages)
        told = [Problem(ProblemKind.DAMAGED, range(0), f"the database reports: {message}") for message in messages]
        self.problems = [*told, *self.problems][: self._describe]

    def sound(self, span: Sound) -> None:
        """Walk over a span of which nothing is wrong by itself."""
        for size, frontier in span.checkpoints:
            self._over(span, size)
            self._sealed(Frontier.from_bytes(size, frontier))
        self._over(span, span.end)

    def record(self, examined: Examined) -> None:
        here = range(examined.seq, examined.seq + 1)
        if examined.seq > self.next:
            self.missing(range(self.next, examined.seq))
        for kind, what in examined.objections:
            self.problem(kind, here, what)
        self._append(examined.seq, examined.hash, examined.notes)

    def missing(self, records: range) -> None:
        self.problem(ProblemKind.MISSING, records, f"{named(records)} missing")
        self._unknown()
        self.next = records.stop
        self._doubt(records.stop)

    def unreadable(self, seq: int, error: LedgerUnavailable) -> None:
        self.problem(ProblemKind.DAMAGED, range(seq, seq + 1), f"record {seq} cannot be read: {error}")
        self._unknown()
        self.next = seq + 1
        self._doubt(seq + 1)

    def checkpoint(self, stored: StoredCheckpoint) -> None:
        try:
            frontier = believed(stored, self._origin, self._verifiers)
        except (InvalidNote, ValueError) as error:
            self.checkpoints += 1
            what = f"the checkpoint over {stored.size} records is not to be believed: {error}"
            self.problem(ProblemKind.CHECKPOINT, range(0), what)
            return
        self._sealed(frontier)

    def tiles_are(self, altered: Callable[[], Iterator[tuple[range, str]]]) -> None:
        try:
            for records, what in altered():
                self.problem(ProblemKind.TILE, records, what)
        except LedgerUnavailable as error:
            self.problem(ProblemKind.DAMAGED, range(0), f"the tiles cannot be read: {error}")

    def at_end(self, *, of_log: bool) -> Iterator[Problem]:
        """Yield what is wrong if nothing more comes: of the whole log, or of the range that was asked for."""
        if self.next > self.sealed.size:
            behind = range(self.sealed.size, self.next)
            what = f"{named(behind)} behind the newest checkpoint: nobody signed for that"
            yield Problem(ProblemKind.UNSEALED, behind, what)
        for records, what in self.keys.unmet(self.next, of_log=of_log):
            yield Problem(ProblemKind.KEY, records, what)
        for records, what in self._anchors.unmet(self.start, self.next, of_log=of_log):
            yield Problem(ProblemKind.ANCHOR, records, what)

    def _unknown(self) -> None:
        for check in self._checks:
            check.unknown()

    def _over(self, span: Sound, end: int) -> None:
        for seq in range(max(self.next, span.start), end):
            self._append(seq, span.hash(seq), span.notes.get(seq, ()))

    def _append(self, seq: int, leaf_hash: bytes, notes: Notes) -> None:
        if seq > self.next:
            self.missing(range(self.next, seq))
        self.next = seq + 1
        if not notes:
            self._unknown()
        for check, note in zip(self._checks, notes, strict=False):
            if note is not None:
                for kind, what in check.objections(note):
                    self.problem(kind, range(seq, seq + 1), f"record {seq}: {what}")
        try:
            self.tree = self.tree.appended(leaf_hash)
            self.tiles.appended(leaf_hash)
        except ValueError:
            self._doubt(seq + 1)  # the stored hash is no hash: reported as altered
        if self._whole:
            self._anchors.compare(self.tree)

    def _doubt(self, size: int) -> None:
        """Up to this size the leaves are not all known, or not those that were sealed."""
        self._whole = False
        self.tiles.doubted(size)

    def _sealed(self, frontier: Frontier) -> None:
        """Meet a checkpoint that is believed, behind the records that it covers."""
        self.checkpoints += 1
        if frontier.size > self.next:
            self.missing(range(self.next, frontier.size))
        if self._whole and self.tree != frontier:
            suspects = range(self.sealed.size, frontier.size)
            what = f"{named(suspects)} not what was sealed: the signed checkpoint has another root"
            self.problem(ProblemKind.ROOT, suspects, what)
        if self._whole and self.tree == frontier:
            self.tiles_are(self.tiles.vouched)
        else:
            self._doubt(frontier.size)
        self.tree = self.sealed = frontier
        self._whole = True
        self._anchors.compare(frontier)
