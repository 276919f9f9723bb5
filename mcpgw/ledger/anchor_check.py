"""Checkpoints that were kept elsewhere, out of reach of whoever owns the database: any number, compared in one walk.

Nothing else can show that a log was cut back together with its checkpoints, put back to an older copy, or written anew by a
holder of its key.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from mcpgw.ledger.checkpoint import Checkpoint
from mcpgw.ledger.checks import named
from mcpgw.ledger.tree import Frontier


class AnchorCheck:
    def __init__(self, kept: Sequence[Checkpoint]) -> None:
        """`kept` are opened: signed by a key that is believed, for the log in question."""
        self._unmet: dict[int, set[bytes]] = defaultdict(set)
        self._met: set[int] = set()
        self._compared: set[int] = set()
        for checkpoint in kept:
            if checkpoint.size == 0:
                continue  # every log continues an empty one
            self._unmet[checkpoint.size].add(checkpoint.root)

    @property
    def largest(self) -> int:
        """Size of the largest; 0 if there are none."""
        return max(self._unmet, default=0)

    @property
    def met(self) -> int:
        """How many of them the log was found to continue."""
        return len(self._met)

    def compare(self, tree: Frontier) -> None:
        """Compare what was kept over so many records with the tree over the same."""
        if tree.size in self._unmet:
            self._compared.add(tree.size)
            roots = self._unmet[tree.size]
            if tree.root() in roots:
                roots.remove(tree.root())
                self._met.add(tree.size)

    def unmet(self, start: int, end: int, *, of_log: bool) -> Iterator[tuple[range, str]]:
        """Yield the records, and what is wrong with them, by the checkpoints over more than `start` records that were not met.

        Those over more than `end` were not reached: that is wrong if there the log ends, and says nothing otherwise.
        """
        within = sorted(size for size, roots in self._unmet.items() if roots and start <= size <= end)
        if within:
            first, *more = within
            good = max((size for size in self._met if size < first), default=0)
            others = f"; {len(more)} more differ as well" if more else ""
            if first in self._compared:
                what = f"{named(range(good, first))} not what the checkpoint kept elsewhere over {first} covers{others}"
            else:
                what = f"the checkpoint kept elsewhere over {first} cannot be compared: records before it are missing{others}"
            yield range(good, first), what
        beyond = [size for size in self._unmet if size > end]
        if beyond and of_log:
            what = f"{named(range(end, max(beyond)))} missing: a checkpoint kept elsewhere covers {max(beyond)}"
            yield range(end, max(beyond)), what

    def skipped(self, start: int, end: int) -> int:
        """Return how many are over fewer records than `start`, or over more than `end`."""
        return sum(1 for size in self._unmet if not start <= size <= end)
