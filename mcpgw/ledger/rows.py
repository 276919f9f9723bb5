"""The columns of records and approvals, and how their rows become values: the same on either store."""

# ruff: noqa: S608 (SQL is put together from constants of this file alone; every value is bound)

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from mcpgw.core.allowance import Allowance
from mcpgw.core.terms import as_data, terms_of
from mcpgw.ledger.approvals import ApprovalRow
from mcpgw.ledger.holds import LegalHold
from mcpgw.ledger.places import Place, Selection
from mcpgw.ledger.sessions import SessionRow
from mcpgw.ledger.store import OFTEN, Named, StoredRecord
from mcpgw.ports import ApprovalState, CastVote, Remark, RemarkKind, Use

INDEX = (
    "time_ns", "kind", "principal", "server", "target", "decision",
    "outcome", "code", "call_id", "approval_id", "session", "node",
)  # fmt: skip
RARER = "kind NOT IN ('call.intent', 'call.outcome')"
"""In the words of the index of kinds: a database takes a partial index only where the question repeats its condition."""
RECORD = ("seq", "event_id", "leaf", "hash", *INDEX)
APPROVAL = tuple(field.name for field in fields(ApprovalRow))
SESSION = tuple(field.name for field in fields(SessionRow))
_LISTS = ("actors", "rule_ids")
"""Columns of an approval that hold a JSON list of strings; the objects are `terms` and those in `_OBJECTS`."""
_VOTES = ("votes", "offer")
_OBJECTS = (*_VOTES, "remarks", "allowances", "uses")
"""Columns that hold a JSON list of objects."""
HOLD = ("id", "who", "session", "from_ns", "until_ns", "reason", "seq")
PLACES = """
SELECT p.seq, p.slot, r.time_ns, r.principal, r.session, r.approval_id, coalesce(a.requester, ''), coalesce(h.session, ''),
    o.call_id IS NOT NULL OR coalesce(a.state, '') IN ('pending', 'approved', 'spent')
FROM payloads p JOIN records r ON r.seq = p.seq LEFT JOIN approvals a ON r.approval_id != '' AND a.id = r.approval_id
    LEFT JOIN records h ON h.seq = a.held_seq LEFT JOIN open_calls o ON r.call_id != '' AND o.call_id = r.call_id
"""
"""The columns `_PLACE`, in this order."""
_PLACE = tuple(field.name for field in fields(Place))
SELECTABLE = """
SELECT p.seq, p.slot, r.time_ns, r.event_id, r.call_id, r.session, coalesce(h.session, '') AS asked_in, r.principal,
    coalesce(a.requester, '') AS requester
FROM payloads p JOIN records r ON r.seq = p.seq LEFT JOIN approvals a ON r.approval_id != '' AND a.id = r.approval_id
    LEFT JOIN records h ON h.seq = a.held_seq
"""
"""What a `Selection` goes by."""
ERASING = f"{RARER} AND kind IN ('payload.shredded', 'retention.swept')"
HOLDING = f"{RARER} AND kind IN ('retention.held', 'retention.released')"


def walked_names(column: Named) -> str:
    """Return SQL for the column's values, each once: a step of the index for each, however many records have it.

    Conditions on `name` can be added.
    """
    among, often = (
        ("", "") if column is not Named.KIND else (f" AND {RARER}", "".join(f"UNION VALUES ('{one}') " for one in OFTEN))
    )
    return f"""WITH RECURSIVE walk (name) AS (
    SELECT min({column}) FROM records WHERE true{among}
    UNION ALL SELECT (SELECT min({column}) FROM records WHERE {column} > walk.name{among}) FROM walk WHERE walk.name IS NOT NULL
    ), names (name) AS (SELECT name FROM walk {often})
    SELECT name FROM names WHERE name IS NOT NULL"""


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


def hold_of(row: Sequence[Any]) -> LegalHold:
    """Return the legal hold whose columns `HOLD` are in the row."""
    return LegalHold(**dict(zip(HOLD, row, strict=True)))


def hold_values(hold: LegalHold) -> tuple[Any, ...]:
    """Return what to store in the columns `HOLD`."""
    return tuple(getattr(hold, name) for name in HOLD)


def place_of(row: Sequence[Any]) -> Place:
    """Return the place whose columns `PLACES` are in the row."""
    values = dict(zip(_PLACE, row, strict=True))
    return Place(**values | {"in_use": bool(values["in_use"])})


def selected(selection: Selection, mark: str, position: str) -> tuple[str, list[Any]]:
    """Return the condition of a selection over `SELECTABLE`, and what is bound in it.

    `mark` stands for a bound value; `position` is the function that finds one text in another.
    """
    parts: list[tuple[str, list[Any]]] = [
        (f"slot IN ({', '.join([mark] * len(selection.slots))})", sorted(selection.slots)),
        (f"time_ns < {mark}", [selection.before_ns]),
    ]
    if selection.who:
        named = "({0} = {1} OR substr({0}, {2}({0}, '#') + 1) = {1})"
        either = " OR ".join(named.format(column, mark, position) for column in ("principal", "requester"))
        parts.append((f"({either})", [selection.who] * 4))
    if selection.session:
        parts.append((f"{mark} IN (session, asked_in)", [selection.session]))
    if selection.call_id:
        parts.append((f"call_id = {mark}", [selection.call_id]))
    if selection.event_id:
        parts.append((f"event_id = {mark}", [selection.event_id]))
    return " AND ".join(sql for sql, _ in parts), [value for _, values in parts for value in values]


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
