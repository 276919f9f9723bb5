"""The columns of records and approvals, and how their rows become values: the same on either store."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from mcpgw.ledger.approvals import ApprovalRow
from mcpgw.ledger.sessions import SessionRow
from mcpgw.ledger.store import StoredRecord
from mcpgw.ports import ApprovalState, CastVote

INDEX = (
    "time_ns", "kind", "principal", "server", "target", "decision",
    "outcome", "code", "call_id", "approval_id", "session", "node",
)  # fmt: skip
RECORD = ("seq", "event_id", "leaf", "hash", *INDEX)
APPROVAL = tuple(field.name for field in fields(ApprovalRow))
SESSION = tuple(field.name for field in fields(SessionRow))
_LISTS = ("actors", "approvers", "rule_ids", "votes")
"""Columns of an approval that hold JSON."""


def record_of(row: Sequence[Any]) -> StoredRecord:
    """Return the record whose columns `RECORD` are in the row."""
    seq, event_id, leaf, leaf_hash, *index = row
    return StoredRecord(seq, event_id, leaf, leaf_hash, dict(zip(INDEX, index, strict=True)))


def approval_of(row: Sequence[Any]) -> ApprovalRow:
    """Return the approval whose columns `APPROVAL` are in the row."""
    values = dict(zip(APPROVAL, row, strict=True))
    lists = {name: tuple(json.loads(values[name])) for name in _LISTS}
    votes = tuple(CastVote(**vote) for vote in lists["votes"])
    return ApprovalRow(**(values | lists | {"votes": votes, "state": ApprovalState(values["state"])}))


def session_of(row: Sequence[Any]) -> SessionRow:
    """Return the session whose columns `SESSION` are in the row."""
    return SessionRow(**dict(zip(SESSION, row, strict=True)))


def session_values(row: SessionRow) -> tuple[Any, ...]:
    """Return what to store in the columns `SESSION`."""
    return tuple(getattr(row, name) for name in SESSION)


def approval_values(row: ApprovalRow) -> tuple[Any, ...]:
    """Return what to store in the columns `APPROVAL`."""
    values = {name: getattr(row, name) for name in APPROVAL}
    votes = json.dumps([asdict(vote) for vote in row.votes])
    lists = {name: json.dumps(values[name]) for name in _LISTS if name != "votes"}
    return tuple((values | lists | {"votes": votes, "state": row.state.value}).values())
