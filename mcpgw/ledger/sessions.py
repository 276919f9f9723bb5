"""Sessions, minted by the gateway: one caller with one client in one conversation, its records numbered without a gap.

The protocol of 2026-07-28 has none, and a number that is missing is the one thing that shows a record to be withheld. So the
first record of a caller opens a session, every further one carries the next number, and `session.closed` says how many there
were. Any number of processes share a session: its row is read and written in the transaction of the records that it numbers.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from mcpgw.core.entries import (
    Interviewed,
    Joined,
    Opened,
    Refusal,
)
from mcpgw.core.model import (
    Call,
    Intent,
    Outcome,
    Replay,
)
from mcpgw.ledger.describe import Indeterminate, Recordable, SessionClosed
from mcpgw.ledger.ids import new_id
from mcpgw.ledger.record import Draft, counted_as

_KEPT = 4096
"""Rows remembered from one transaction to the next: bounds memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """An open session as it stands in the projection. The row goes when the session is closed."""

    key: str
    id: str
    records: int = 0
    """How many it has, which is the number of its next one."""
    permitted: int = 0
    held: int = 0
    refused: int = 0
    replayed: int = 0
    seen_ns: int
    """When its newest record was written, Unix nanoseconds."""

    def numbered(self, draft: Draft) -> Draft:
        """Return the draft as the session's next record."""
        return replace(draft, members={**draft.members, "session": {"id": self.id, "seq": self.records}})

    def after(self, draft: Draft, time_ns: int) -> "SessionRow":
        """Return the session once that draft is its newest record."""
        counts = {name: getattr(self, name) + 1 for name in counted_as(draft.kind, draft.members)}
        return replace(self, records=self.records + 1, seen_ns=time_ns, **counts)

    def closing(self) -> SessionClosed:
        """Return the entry that ends it, which counts itself."""
        return SessionClosed(
            session_id=self.id,
            key=self.key,
            counts={
                "records": self.records + 1,
                "permitted": self.permitted,
                "held": self.held,
                "refused": self.refused,
                "replayed": self.replayed,
            },
        )


class SessionRows(Protocol):
    """The projection as it stands in the present transaction."""

    def sessions(self, keys: Collection[str]) -> Sequence[SessionRow]:
        """Return the open sessions of those keys."""
        ...

    def session_of(self, seq: int) -> Sequence[SessionRow]:
        """Return the session of that record, if it is still open."""
        ...

    def save_session(self, row: SessionRow) -> None: ...

    def remove_session(self, key: str) -> None: ...


class Sessions:
    """The sessions of one transaction: read at most once, numbered in memory, written once."""

    def __init__(self, rows: SessionRows, known: Iterable[SessionRow]) -> None:
        """`known`: what stood there after the last commit, if nobody has committed since."""
        self._rows = rows
        self._open = {row.key: row for row in known}
        self._absent: set[str] = set()
        self._changed: set[str] = set()

    def load(self, keys: Collection[str]) -> None:
        """Read those sessions now, together."""
        unknown = set(keys) - self._open.keys() - self._absent
        if unknown:
            self._open.update((row.key, row) for row in self._rows.sessions(sorted(unknown)))
            self._absent |= unknown - self._open.keys()

    def of(self, key: str) -> Sequence[SessionRow]:
        """Return the open session of that key, or nothing."""
        self.load([key])
        return [self._open[key]] if key in self._open else []

    def of_record(self, seq: int) -> Sequence[SessionRow]:
        """Return the session of a record that was committed before, if it is still open."""
        return [row for found in self._rows.session_of(seq) for row in self.of(found.key)]

    def put(self, row: SessionRow) -> None:
        """Note how a session stands now."""
        self._open[row.key] = row
        self._changed.add(row.key)

    def drop(self, key: str) -> None:
        """Forget a session that was closed."""
        del self._open[key]
        self._absent.add(key)
        self._changed.discard(key)
        self._rows.remove_session(key)

    def save(self) -> None:
        """Write what was changed."""
        for key in sorted(self._changed):
            self._rows.save_session(self._open[key])
        self._changed.clear()

    def standing(self) -> Sequence[SessionRow]:
        """Return what is known of open sessions, to begin the next transaction with."""
        return [*self._open.values()] if len(self._open) <= _KEPT else []


def calls_of(entry: Recordable) -> Sequence[Call]:
    """Return the call that the entry belongs to. What nobody is known to have called belongs to none.

    A vote and a settlement are acts of other people, and a rejection never became a call.
    """
    match entry:
        case Intent(shown=shown) | Refusal(shown=shown) | Opened(shown=shown) | Joined(shown=shown) | Replay(shown=shown):
            return [shown.call]
        case Outcome(intent=intent) | Interviewed(intent=intent):
            return [intent.entry.shown.call]
        case _:
            return []


def key_of(call: Call) -> str:
    """Return what makes a session: the caller and all it acts for, its client, and its conversation or transport session.

    A digest, for a primary key of bounded length. It stands in the projection alone, never in a record, and goes with its row.
    """
    who, origin = call.identity, call.origin
    conversation = ("conversation", origin.conversation) if origin.conversation else ("transport", origin.session)
    return _digest((who.principal, who.kind.value, who.actors, who.client_id, origin.client, *conversation))


@lru_cache(_KEPT)
def _digest(parts: tuple[str | tuple[str, ...], ...]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def session_for(entry: Recordable, sessions: Sessions, time_ns: int) -> Sequence[SessionRow]:
    """Return the session that the entry belongs to, one without records if it is to be opened first, or nothing."""
    if isinstance(entry, Indeterminate):
        return sessions.of_record(entry.intent_seq)
    if isinstance(entry, SessionClosed):
        return sessions.of(entry.key)
    for call in calls_of(entry):
        key = key_of(call)
        return sessions.of(key) or [SessionRow(key=key, id=new_id(), seen_ns=time_ns)]
    return []
