"""The columns of records and approvals, and how their rows become values: the same on either store."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from mcpgw.core.allowance import Allowance
from mcpgw.core.terms import as_data, terms_of
from mcpgw.ledger.approvals import ApprovalRow
from mcpgw.ledger.sessions import SessionRow
from mcpgw.ledger.store import StoredRecord
from mcpgw.ports import ApprovalState, CastVote, Remark, RemarkKind, Use

INDEX = (
    "time_ns", "kind", "principal", "server", "target", "decision",
    "outcome", "code", "call_id", "approval_id", "session", "node",
)  # fmt: skip
RECORD = ("seq", "event_id", "leaf", "hash", *INDEX)
APPROVAL = tuple(field.name for field in fields(ApprovalRow))
SESSION = tuple(field.name for field in fields(SessionRow))
_LISTS = ("actors", "rule_ids")
"""Columns of an approval that hold a JSON list of strings; the objects are `terms` and those in `_OBJECTS`."""
_VOTES = ("votes", "offer")
_OBJECTS = (*_VOTES, "remarks", "allowances", "uses")
"""Columns that hold a JSON list of objects."""


def record_of(row: Sequence[Any]) -> StoredRecord:
    """Return the record whose columns `RECORD` are in the row."""
    seq, event_id, leaf, leaf_hash, *index = row
    return StoredRecord(seq, event_id, leaf, leaf_hash, dict(zip(INDEX, index, strict=True)))


def approval_of(row: Sequence[Any]) -> ApprovalRow:
    """Return the approval whose columns `APPROVAL` are in the row."""
    values = dict(zip(APPROVAL, row, strict=True))
    return ApprovalRow(
        **values
        | {name: tuple(json.loads(values[name])) for name in _LISTS}
        | {
            "state": ApprovalState(values["state"]),
            "terms": terms_of(json.loads(values["terms"])),
            **{name: tuple(CastVote(**_tupled(vote)) for vote in json.loads(values[name])) for name in _VOTES},
            "remarks": tuple(_remark(**remark) for remark in json.loads(values["remarks"])),
            "break_glass": bool(values["break_glass"]),
            "allowances": tuple(Allowance(**one) for one in json.loads(values["allowances"])),
            "uses": tuple(Use(**use) for use in json.loads(values["uses"])),
        }
    )


def session_of(row: Sequence[Any]) -> SessionRow:
    """Return the session whose columns `SESSION` are in the row."""
    return SessionRow(**dict(zip(SESSION, row, strict=True)))


def session_values(row: SessionRow) -> tuple[Any, ...]:
    """Return what to store in the columns `SESSION`."""
    return tuple(getattr(row, name) for name in SESSION)


def approval_values(row: ApprovalRow) -> tuple[Any, ...]:
    """Return what to store in the columns `APPROVAL`."""
    values: dict[str, Any] = {name: getattr(row, name) for name in APPROVAL}
    values |= {name: json.dumps(values[name]) for name in _LISTS}
    values |= {name: json.dumps([asdict(one) for one in values[name]]) for name in _OBJECTS}
    return tuple(
        (
            values | {"terms": json.dumps(as_data(row.terms)), "state": row.state.value, "break_glass": int(row.break_glass)}
        ).values()
    )


def _remark(kind: str, **rest: Any) -> Remark:
    return Remark(kind=RemarkKind(kind), **rest)


def _tupled(vote: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in vote.items()}
