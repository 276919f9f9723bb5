"""What no record shows by itself: checks across records.

Records are examined by several processes at once, each a part of the log, so a check has two halves. `noted` says what one
record means to it: a pure function of the leaf, run wherever the record is read. The notes are then handed to `objections` in
the order of the records, by whoever walks through the log. A check that begins in the middle objects only to what is wrong
whatever came before.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from mcpgw.ledger.record import Members


class ProblemKind(StrEnum):
    ALTERED = "altered"
    """The leaf does not have the hash that was sealed, or is no leaf."""
    MISPLACED = "misplaced"
    """The leaf says that it stands elsewhere, or in another log: reordered, inserted or copied."""
    MISSING = "missing"
    COLUMNS = "columns"
    """The columns that searches use do not say what the leaf says."""
    PAYLOAD = "payload"
    """A payload beside the record is missing, foreign, or not the one that was committed to."""
    APPROVAL = "approval"
    """An approval was spent that no record shows to be approved and unspent."""
    SESSION = "session"
    """The numbers of a session have a gap or a repeat, go on after its end, or are not what its end says."""
    COUNTS = "counts"
    """Windows in which refusals were counted overlap, or a page of one is missing."""
    SUMMARY = "summary"
    """A daily summary does not begin where the last one ended, or does not add up with the records that it covers."""
    CHANGE = "change"
    """A change does not begin where the one before it of the same aspect ended: one between them is missing."""
    ROOT = "root"
    """The records do not add up to the checkpoint that was signed over them."""
    TILE = "tile"
    """A stored piece of the tree is not what the records add up to: proofs made from it would not hold."""
    CHECKPOINT = "checkpoint"
    """A stored checkpoint is not signed by the key that is believed for its size, or was altered."""
    KEY = "key"
    """A record makes a key that is not believed since then, or none makes one that is."""
    UNSEALED = "unsealed"
    """Records behind the newest checkpoint: nobody signed for them."""
    ANCHOR = "anchor"
    """The log is not a continuation of a checkpoint that was kept elsewhere."""
    DAMAGED = "damaged"
    """The database file itself is damaged."""


Objection: TypeAlias = tuple[ProblemKind, str]
Note: TypeAlias = Any
"""What a record means to one check, small and picklable; None where it means nothing."""
Notes: TypeAlias = Sequence[Note]
"""One for each of `completeness.NOTED`, or empty where the leaf cannot be read."""


class Check(Protocol):
    def __init__(self, *, from_start: bool) -> None: ...

    @staticmethod
    def noted(members: Members) -> Note:
        """Return what the record means.

        Raises:
            (KeyError, TypeError, ValueError, AttributeError): these are no members of a leaf of ours.
        """
        ...

    def objections(self, note: Note) -> Iterator[Objection]:
        """Take in the next note that is not None, and yield what is wrong with its record."""
        ...

    def unknown(self) -> None:
        """Take in that a record is missing or cannot be read, which is reported already: no further one is to blame."""
        ...


class Approvals:
    """Which approvals stand approved and unspent, as the records tell it."""

    def __init__(self, *, from_start: bool) -> None:
        self._unknown_are_unspent = not from_start
        self._approved: dict[str, bool] = {}

    @staticmethod
    def noted(members: Members) -> tuple[str, bool | None] | None:
        """Return the approval's id, and whether it is approved (True), over (False) or spent (None) by this record."""
        approval = members.get("approval", {})
        match members["kind"]:
            case "approval.settled" | "approval.break_glass" | "approval.withdrawn" | "approval.revoked":
                return approval["id"], approval["state"] == "approved"
            case "call.intent" if approval:
                return approval["id"], None
        return None

    def objections(self, note: tuple[str, bool | None]) -> Iterator[Objection]:
        approval_id, approved = note
        spends = approved is None
        if spends and not self._approved.get(approval_id, self._unknown_are_unspent):
            yield (
                ProblemKind.APPROVAL,
                f"it spends approval {approval_id}, which no record shows to be approved and unspent",
            )
        if approved or self._unknown_are_unspent:
            self._approved[approval_id] = bool(approved)
        else:  # forgotten: unknown is as good as over, and a log may hold millions of them
            self._approved.pop(approval_id, None)

    def unknown(self) -> None:
        pass  # whoever removes a settlement may not spend it: the intent is to blame as well


def named(records: range) -> str:
    """Return the records as the subject of a sentence, and its verb."""
    if len(records) == 1:
        return f"record {records.start} is"
    return f"records {records.start} to {records.stop - 1} are"
