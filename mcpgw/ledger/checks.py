"""What no record shows by itself: checks across records.

Records are examined by several processes at once, each a part of the log, so a check has two halves. `noted` says what one
record means to it: a pure function of the leaf, run wherever the record is read. The notes are then handed to `objections` in
the order of the records, by whoever walks through the log. A check that begins in the middle objects only to what is wrong
whatever came before.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from mcpgw.core.allowance import Allowance, added
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
    """An approval was spent that no record shows to be approved and unspent, or a grant was used beyond what was granted."""
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


@dataclass(frozen=True, slots=True)
class _Taken:
    """A use of a grant, as its intent says."""

    number: int
    amount: str


@dataclass(slots=True)
class _Granted:
    """A grant as its records have told it so far."""

    allowance: Allowance
    uses: int = 0
    total: str = "0"


ApprovalNote: TypeAlias = tuple[str, bool | Allowance | _Taken | None]
"""The approval's id, and whether it is approved (True), over (False) or spent (None) by this record; or a grant, or a use."""


class Approvals:
    """Which approvals stand approved and unspent, and what is left of grants, as the records tell it."""

    def __init__(self, *, from_start: bool) -> None:
        self._unknown_are_unspent = not from_start
        self._unknown_are_grants = not from_start
        self._approved: dict[str, bool] = {}
        self._granted: dict[str, _Granted] = {}

    @staticmethod
    def noted(members: Members) -> ApprovalNote | None:
        approval = members.get("approval", {})
        match members["kind"]:
            case "approval.settled" | "approval.break_glass" | "approval.proposed" | "approval.withdrawn" | "approval.revoked":
                return approval["id"], approval["state"] == "approved"
            case "call.held" if "grant" in approval:
                grant = approval["grant"]
                return approval["id"], Allowance(
                    max_calls=int(grant["max_calls"]),
                    until_ns=int(grant["until_ns"]),
                    total_of=str(grant["total_of"]),
                    max_total=_decimal(grant["max_total"]),
                )
            case "call.intent" if "use" in approval:
                return approval["id"], _Taken(int(approval["use"]["number"]), _decimal(approval["use"]["amount"]))
            case "call.intent" if approval:
                return approval["id"], None
        return None

    def objections(self, note: ApprovalNote) -> Iterator[Objection]:
        approval_id, what = note
        if isinstance(what, Allowance):
            self._granted[approval_id] = _Granted(what)
            return
        if isinstance(what, _Taken):
            yield from self._use(approval_id, what)
            return
        spends, approved = what is None, bool(what)
        if spends and approval_id in self._granted:
            yield ProblemKind.APPROVAL, f"it spends grant {approval_id} as if that were for one call"
        if spends and not self._approved.get(approval_id, self._unknown_are_unspent):
            yield (
                ProblemKind.APPROVAL,
                f"it spends approval {approval_id}, which no record shows to be approved and unspent",
            )
        if not approved:
            self._granted.pop(approval_id, None)
        if approved or self._unknown_are_unspent:
            self._approved[approval_id] = approved
        else:  # forgotten: unknown is as good as over, and a log may hold millions of them
            self._approved.pop(approval_id, None)

    def _use(self, approval_id: str, taken: _Taken) -> Iterator[Objection]:
        if not self._approved.get(approval_id, self._unknown_are_unspent):
            yield ProblemKind.APPROVAL, f"it uses grant {approval_id}, which no record shows to be approved and in force"
        grant = self._granted.get(approval_id)
        if grant is None:
            if not self._unknown_are_grants:
                yield ProblemKind.APPROVAL, f"it uses {approval_id}, which no record shows to be a grant in force"
            return
        if taken.number != grant.uses + 1:
            yield ProblemKind.APPROVAL, f"it is use {taken.number} of grant {approval_id}, and {grant.uses + 1} comes next"
        if not grant.allowance.has_room(grant.uses, grant.total, taken.amount):
            yield ProblemKind.APPROVAL, f"it uses grant {approval_id} beyond what was granted: {grant.allowance}"
        grant.uses, grant.total = taken.number, added(grant.total, taken.amount)

    def unknown(self) -> None:
        """Whoever removes a settlement may not spend it: the intent is to blame as well. What is left of a grant is unknown."""
        self._granted.clear()
        self._unknown_are_grants = True


def _decimal(text: str) -> str:
    """Raises: ValueError: these are not the digits of an amount."""
    if not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", text, re.ASCII):
        raise ValueError(f"{text!r} is no amount")
    return text


def named(records: range) -> str:
    """Return the records as the subject of a sentence, and its verb."""
    if len(records) == 1:
        return f"record {records.start} is"
    return f"records {records.start} to {records.stop - 1} are"
