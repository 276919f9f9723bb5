"""The door of an anchor."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mcpgw.core.errors import GatewayError
from mcpgw.core.model import JsonObject
from mcpgw.ledger.checkpoint import Checkpoint

Proofs = Callable[[int, int], Awaitable[Sequence[bytes]]]
"""`(first, second)` to the consistency proof between the trees of those sizes. Raises `LedgerUnavailable`."""


class AnchorFailed(GatewayError):
    """The checkpoint is not known to be kept. Worth another try, unless the message says that the log itself is wrong."""


class Overtaken(AnchorFailed):
    """The anchor has seen a longer log: from another gateway just now, or from before the database was rolled back."""

    def __init__(self, seen: int, size: int) -> None:
        hint = "The database was replaced by an older one. Run `mcpgw verify --against` this anchor."
        super().__init__(f"the log has {size} records, but the anchor has seen {seen}", hint=hint)
        self.seen = seen


@dataclass(frozen=True, slots=True)
class Head:
    """The newest checkpoint: as it was signed, and what it says."""

    note: str
    checkpoint: Checkpoint


class Anchor(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def where(self) -> str:
        """A path or an address, without any secret, for people and for the record."""
        ...

    async def accept(self, head: Head, proofs: Proofs) -> JsonObject:
        """Return once the checkpoint is kept, durably, with what the record should say about it beside name, kind and place.

        Doing it again, or from two processes at once, keeps it once, or twice; never another one instead.

        Raises:
            AnchorFailed: it is not kept, or nobody can tell.
            LedgerUnavailable: the proof that it needs cannot be made.
        """
        ...


def require_no_rollback(seen: Checkpoint, head: Head) -> None:
    """Raises: AnchorFailed: the anchor has seen a longer log than there is, or another one of this length."""
    now = head.checkpoint
    if seen.size > now.size or (seen.size == now.size and seen.root != now.root):
        what = f"the log has {now.size} records, but a checkpoint over {seen.size} was kept here that it does not continue"
        hint = "The database was replaced by an older or another one. Run `mcpgw verify --against` this anchor."
        raise AnchorFailed(what, hint=hint)
