"""What the ledger asks of a database. The implementations are `sqlite` and `postgres`; neither decides anything.

All methods block, and raise `LedgerUnavailable` for whatever goes wrong in the database. After an error a store is closed and
opened anew: no connection that has failed is trusted again.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.approvals import ApprovalRow
from mcpgw.ledger.holds import LegalHold
from mcpgw.ledger.places import Place, Selection
from mcpgw.ledger.record import Index, Record
from mcpgw.ledger.sessions import SessionRow, SessionRows
from mcpgw.ledger.stored_tree import Rows, Tiles
from mcpgw.ledger.tiles import Tile
from mcpgw.ledger.tree import Frontier
from mcpgw.ports import ApprovalState


class CommitUnknown(LedgerUnavailable):
    """The commit itself failed: the transaction may or may not be durable. Whoever re-reads the store will know."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest checkpoint, and the frontier that it was computed from. The empty log has no note."""

    frontier: Frontier
    note: str


@dataclass(frozen=True, slots=True)
class OpenCall:
    """An intent that has no outcome yet."""

    call_id: str
    seq: int
    node: str
    approval_id: str


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as it was found. Nothing of it is to be believed before it is verified."""

    seq: int
    event_id: str
    leaf: bytes
    hash: bytes
    index: Index


@dataclass(frozen=True, slots=True)
class StoredPayload:
    seq: int
    slot: str
    salt: bytes
    packed: bytes


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    size: int
    note: str
    frontier: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for; an empty field asks for nothing."""

    who: str = ""
    """A principal, a subject, or a glob over principals."""
    tool: str = ""
    """A glob over published names."""
    decision: str = ""
    """An effect (`allow`, `hold`, `deny`), an outcome (`completed`, `refused`, ...) or a code (`unknown`, `timeout`, ...)."""
    kind: str = ""
    """A glob over kinds."""
    call_id: str = ""
    approval_id: str = ""
    session: str = ""
    server: str = ""
    principals: tuple[str, ...] = ()
    """Exactly one of these."""
    targets: tuple[str, ...] = ()
    """Exactly one of these published names."""
    kinds: tuple[str, ...] = ()
    """Exactly one of these."""
    holding: tuple[bytes, ...] = ()
    """What the leaf must hold somewhere: for whoever then looks where."""
    since_ns: int = 0
    until_ns: int = 2**63 - 1
    after_seq: int = -1
    before_seq: int = 2**63 - 1
    """Only records before this one: where the page of newer ones began."""
    limit: int = 100
    """The newest so many of what matches."""


class Named(StrEnum):
    """Columns of records whose values are names, each many times there."""

    PRINCIPAL = "principal"
    TARGET = "target"
    KIND = "kind"


OFTEN = ("call.intent", "call.outcome")
"""The kinds that most records are of, which the index of kinds leaves out."""


class Transaction(Rows, SessionRows, Protocol):
    """One atomic, isolated change, which sees its own writes."""

    def commit(self) -> None:
        """Make it durable.

        Raises:
            CommitUnknown: the commit itself failed.
        """
        ...

    def head(self) -> Head: ...

    def insert(self, record: Record) -> None:
        """Append a record with its payloads."""
        ...

    def save_head(self, head: Head) -> None: ...

    def save_tile(self, tile: Tile, root: bytes) -> None:
        """Keep a full tile, and its root beside it; one that is there already stays."""
        ...

    def approval(self, approval_id: str) -> Sequence[ApprovalRow]: ...

    def approvals_for(self, request_key: str) -> Sequence[ApprovalRow]: ...

    def save_approval(self, row: ApprovalRow) -> None: ...

    def open_call(self, call: OpenCall) -> None: ...

    def close_call(self, call_id: str) -> None: ...

    def open_calls(self) -> Sequence[OpenCall]: ...

    def idle_sessions(self, before_ns: int, limit: int) -> Sequence[SessionRow]:
        """Return sessions whose newest record is older than that and that have no call under way, the idlest first."""
        ...

    def mark(self, name: str) -> Sequence[str]: ...

    def save_mark(self, name: str, value: str) -> None: ...

    def places(self, seqs: Sequence[int], slots: Set[str]) -> Sequence[Place]:
        """Return the payloads of these records in those slots, in the order of the log."""
        ...

    def erase(self, by: int, places: Sequence[Place]) -> None:
        """Remove the payloads at these places, salts included, which the record `by`, inserted before, names.

        Nobody can read them any more. Bytes of them may be left in files until `Database.scrub`.
        """
        ...

    def holds(self) -> Sequence[LegalHold]:
        """Return the legal holds that stand, the oldest first."""
        ...

    def save_hold(self, hold: LegalHold) -> None: ...

    def remove_hold(self, hold_id: str) -> None: ...

    def take_turn(self, now_ns: int, until_ns: int) -> bool:
        """Take the sweep upon this process until then, unless somebody has, and tell whether it is this one's."""
        ...

    def nodes(self) -> Sequence[str]: ...

    def living(self, nodes: Collection[str]) -> Set[str]:
        """Return those of these nodes that can be seen to be alive."""
        ...

    def add_node(self, node: str, name: str, time_ns: int) -> None: ...

    def remove_node(self, node: str) -> None: ...

    def touch(self, node: str, time_ns: int) -> None:
        """Write something that is no record, so that a commit proves that the store can be written."""
        ...


class Reading(Tiles, Protocol):
    """What can be read without writing."""

    def approvals_version(self) -> int:
        """Return a number that grows with every change of an approval, by whatever process."""
        ...

    def approvals(self, ids: Sequence[str], states: Sequence[ApprovalState], limit: int) -> Sequence[ApprovalRow]:
        """Return the rows of those ids (all, if none) in those states (all, if none), the newest first."""
        ...

    def approvals_for(self, request_key: str) -> Sequence[ApprovalRow]: ...

    def grants(self, requester: str, target: str) -> Sequence[ApprovalRow]:
        """Return the rows of approved grants of that principal for that published name, the oldest first."""
        ...

    def offers(self, request_key: str) -> Sequence[ApprovalRow]:
        """Return the rows with a proposal of that key (of any, if it is empty), the newest first."""
        ...

    def exceptional_approvals(self) -> Sequence[ApprovalRow]:
        """Return the rows with break-glass, and those whose call has an unknown outcome, the newest first."""
        ...

    def find(self, event_id: str) -> Sequence[StoredRecord]: ...

    def mark(self, name: str) -> Sequence[str]:
        """Return what the mark of that name holds, or nothing."""
        ...

    def marks(self) -> Mapping[str, str]:
        """Return all marks by name."""
        ...

    def first_since(self, start: int, time_ns: int) -> Sequence[int]:
        """Return the first sequence number from `start` on whose record is of that time or later, or nothing."""
        ...

    def extent(self, since_ns: int, until_ns: int) -> tuple[int, int]:
        """Return the least range `start <= seq < end` that has all records of that time, both ends included."""
        ...

    def names(self, column: Named, globs: Sequence[str], limit: int) -> Sequence[str]:
        """Return at most so many of the column's values that one of the globs matches."""
        ...

    def tally(self, start: int, end: int) -> Sequence[tuple[str, str, str, str, int]]:
        """Count the records of calls with `start <= seq < end` by principal, server, kind and result.

        The result is the code, else the outcome, else the decision.
        """
        ...

    def payload(self, seq: int, slot: str) -> Sequence[StoredPayload]: ...

    def search(self, query: Query) -> Sequence[StoredRecord]:
        """Return what matches, the newest last."""
        ...

    def erasing(self) -> Sequence[StoredRecord]:
        """Return the records of kinds `erasure.ERASING`, in order."""
        ...

    def holding(self) -> Sequence[StoredRecord]:
        """Return the records of kinds `erasure.HOLDING`, in order."""
        ...

    def holds(self) -> Sequence[LegalHold]:
        """Return the legal holds that stand, the oldest first."""
        ...

    def places(self, seqs: Sequence[int], slots: Set[str]) -> Sequence[Place]:
        """Return the payloads of these records in those slots, in the order of the log."""
        ...

    def with_payloads(self, selection: Selection, start: int, end: int, limit: int) -> Sequence[int]:
        """Return the first so many records with `start <= seq < end` that have payloads of the selection, in order."""
        ...

    def size(self) -> int:
        """Return one more than the last sequence number."""
        ...

    def newest_checkpoint(self) -> Sequence[StoredCheckpoint]: ...

    def open_calls(self) -> Sequence[OpenCall]: ...

    # For the verifier, which reads everything, in order, and believes nothing.

    def records(self, start: int, count: int) -> Sequence[StoredRecord]: ...

    def payloads(self, start: int, end: int) -> Sequence[StoredPayload]: ...

    def checkpoints(self, after: int = -(2**63), up_to: int = 2**63 - 1) -> Iterator[StoredCheckpoint]:
        """Yield those over more than `after` and at most `up_to` records, the smallest first."""
        ...

    def checkpoint_at_most(self, size: int) -> Sequence[StoredCheckpoint]:
        """Return the largest over at most so many records, if there is one."""
        ...

    def damage(self) -> Sequence[str]:
        """Return what the database itself finds wrong with its file, in its words."""
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """Let all reads inside see one state of the log, while others go on writing."""
        ...


class Store(Reading, Protocol):
    def begin(self) -> Transaction:
        """Lock out other writers. Nothing is changed unless `commit` returns; closing the store rolls back.

        Raises:
            LedgerUnavailable: another writer did not finish in time, or the database failed.
        """
        ...

    def confirm(self, event_id: str) -> bool:
        """Tell whether the record is there after a commit whose result is unknown, and make it durable if it is."""
        ...

    def close(self) -> None: ...


Connect = Callable[[], Store]
"""Opens the store anew. Raises `LedgerUnavailable`."""


class Presence(Protocol):
    """This process as a node of the log: others see it alive for as long as it is, however it ends."""

    def release(self) -> None:
        """Stop being alive."""
        ...


SHARED = "shared."
"""Begins the names of marks that no record tells of: what they hold is a node's own, and is never made again."""


class Shared(Protocol):
    """A short text that all nodes of a log share, and that one of them at a time may change. All methods block.

    Whoever may change it may do so until they release it, or until anything here fails: then somebody else may have it.
    All raise `LedgerUnavailable` for whatever goes wrong in the database.
    """

    @property
    def is_mine(self) -> bool:
        """Whether this node may change it."""
        ...

    def take(self) -> bool:
        """Try to become the one node that may change it; return whether it is this one now."""
        ...

    def release(self) -> None:
        """Let another node."""
        ...

    def is_taken(self) -> bool:
        """Tell whether some node may change it."""
        ...

    def read(self) -> str:
        """Return it; empty where nobody wrote it yet."""
        ...

    def write(self, text: str) -> None:
        """Replace it, durably."""
        ...


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    version: int
    """The newest migration that was applied; 0 if none was."""
    oldest: int
    """The oldest schema number whose gateways may write; 0 if there is no schema."""
    known: int
    """The newest migration that this mcpgw knows."""


class Database(Protocol):
    """Where a log is kept."""

    @property
    def patience_s(self) -> float:
        """How long a node may be out of sight before it counts as dead: it may be reconnecting."""
        ...

    @property
    def poll_s(self) -> float:
        """How often to look for what other processes changed, while somebody waits for it."""
        ...

    def connect(self) -> Store:
        """Open the log for writing.

        Raises:
            ConfigError: it must not be written as it is set up.
            LedgerUnavailable: it cannot be written.
        """
        ...

    def connect_read_only(self) -> Store:
        """Open the log for reading alone.

        Raises:
            LedgerUnavailable: it is not there, or cannot be read.
        """
        ...

    def shared(self, name: str) -> Sequence[Shared]:
        """Return the text of that name; nothing where all nodes are on one machine, and share its files."""
        ...

    def migrate(self) -> SchemaStatus:
        """Apply what is missing, while gateways may go on writing, and return what there is then.

        Raises:
            ConfigError: it cannot be done with these rights or roles, or with this mcpgw.
            LedgerUnavailable: the database failed. Running it again goes on from there.
        """
        ...

    def schema_status(self) -> SchemaStatus:
        """Return how far the schema is.

        Raises:
            LedgerUnavailable: the database cannot be asked.
        """
        ...

    def scrub(self) -> bool:
        """Take what was erased out of the files, too, as far as the database can; False if somebody is in the way for now.

        Raises:
            LedgerUnavailable: the database failed.
        """
        ...

    def attend(self, node: str, told: Callable[[], None]) -> Presence:
        """Open the log once, so that what is wrong with it is said at the start; then be this node of it.

        `told` is called, from any thread, when another process may have changed an approval. A database that has no way to
        tell never calls it.

        Raises:
            ConfigError: see `connect`.
            LedgerUnavailable: see `connect`.
        """
        ...
