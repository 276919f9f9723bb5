"""Which key follows which: what the records say of it, compared with the public keys that whoever verifies was given.

`ledger.pub` says for which checkpoints each key is believed, so that a proof can be checked without the log. The log says it
too, in the record `key.rotated`, which the old key sealed and the new one signed. Where the two differ, somebody who holds a
retired key wrote the log anew, or the file is not this log's.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from mcpgw.ledger.checkpoint import Verifier
from mcpgw.ledger.checks import Objection, ProblemKind
from mcpgw.ledger.record import Members

ROTATED = "key.rotated"
"""Kind of the record. It is alone in its commit, so the checkpoint over `seq + 1` records is the one that both keys sign."""

KeyNote: TypeAlias = tuple[int, Sequence[str], Sequence[str]]
"""Number in the log; verifier keys that are retired by it, and those that begin."""


class KeySteps:
    """Every step from key to key was recorded where the public keys say, and no other was."""

    def __init__(self, verifiers: Sequence[Verifier], start: int) -> None:
        """`start` is the size of the log where the walk begins."""
        self._steps = {one.sizes.start - 1: one for one in verifiers if one.sizes.start}
        """By the number of the record that made the key."""
        self._retired = {one.sizes.stop - 2: one for one in verifiers}
        self._before = [seq for seq in self._steps if seq < start]
        self._unmet = {seq for seq in self._steps if seq >= start}

    @staticmethod
    def noted(members: Members) -> KeyNote | None:
        if members["kind"] != ROTATED:
            return None
        facts = members["facts"]
        return int(members["seq"]), tuple(map(str, facts["retired"])), tuple(map(str, facts["current"]))

    def objections(self, note: KeyNote) -> Iterator[Objection]:
        seq, retired, current = note
        made, before = self._steps.get(seq), self._retired.get(seq)
        self._unmet.discard(seq)
        if made is None or made.vkey() not in current:
            named = ", ".join("+".join(one.split("+")[:2]) for one in current)
            yield ProblemKind.KEY, f"it makes a key that the public keys given do not show to begin there: {named}"
        if before is None or before.vkey() not in retired:
            yield ProblemKind.KEY, "it retires a key that the public keys given do not show to end there"

    def unknown(self) -> None:
        pass  # the record that made a key cannot be spared: that it is gone is said of the key as well

    def unmet(self, end: int, *, of_log: bool) -> Iterator[tuple[range, str]]:
        """Yield the records, of those before `end` or of the whole log, that should have made a key and did not."""
        for seq in sorted(self._unmet):
            key = "+".join(self._steps[seq].vkey().split("+")[:2])
            if seq < end:
                yield range(seq, seq + 1), f"record {seq} does not make the key {key}, as the public keys given say"
            elif of_log:
                yield range(end, seq + 1), f"records {end} to {seq} are missing: record {seq} made the key {key}"

    def unestablished(self) -> Iterator[str]:
        """Yield which keys are believed without the record that made them."""
        for seq in sorted(self._before):
            yield f"that record {seq} made the key {self._steps[seq].key_id.hex()}: it stands before the range"
