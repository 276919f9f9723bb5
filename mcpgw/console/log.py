"""The log's pages, for auditors. Reading is recorded before anything is shown: what was asked, not what was found."""

import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from mcpgw.console.arrival import Visit
from mcpgw.console.doors import Record, Search
from mcpgw.console.reading import note_reading
from mcpgw.console.room import Room
from mcpgw.console.turned import Turned
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.visible import visible_json

_PAGE: Final = 50
_MAX_FIELD: Final = 200
"""Characters of one field: what is asked is recorded."""
_FIELDS: Final = ("who", "tool", "decision", "kind", "call", "approval", "since", "until")
_SHORT: Final = 24
_FEW: Final = 3
"""Facts of an event in a list, and characters of each; its own page has them all."""
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d{1,6})([smhdw])")
_SEQ = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What people want to see of a record."""

    seq: int
    time_ns: int
    who: str
    kind: str
    target: str
    result: str
    why: str


async def search(room: Room, visit: Visit) -> Response:
    """Show the newest records that match, a page at a time."""
    asked = {name: visit.arrival.query.get(name, "").strip()[:_MAX_FIELD] for name in _FIELDS}
    before = visit.arrival.query.get("before", "")
    try:
        question = _question(asked, before)
    except ValueError as error:
        return room.view.page("log.html", visit=visit, status=400, asked=asked, complaint=str(error), rows=(), older="")
    facts = {"what": "log", **{name: value for name, value in asked.items() if value}, **({"before": before} if before else {})}
    await note_reading(room, visit, facts)
    found = await room.doors.records.search(question)
    rows = [_row(record) for record in reversed(found)]
    older = ""
    if len(rows) == _PAGE and rows[-1].seq > 0:
        older = "/log?" + urlencode({name: value for name, value in asked.items() if value} | {"before": rows[-1].seq})
    return room.view.page("log.html", visit=visit, asked=asked, complaint="", rows=rows, older=older)


async def record(room: Room, visit: Visit) -> Response:
    """Show one record as it was sealed, and what proves it."""
    text = visit.arrival.params["seq"]
    if not _SEQ.fullmatch(text):
        raise Turned(404, "There is no such record.", recorded=False)
    seq = int(text)
    await note_reading(room, visit, {"what": "record", "seq": seq})
    for found in await room.doors.records.search(Search(after_seq=seq - 1, before_seq=seq + 1, limit=1)):
        return room.view.page(
            "record.html",
            visit=visit,
            row=_row(found),
            leaf=visible_json(_members(found)),
            size=len(found.leaf),
            leaf_hash=found.hash.hex(),
            is_intact=hashlib.sha256(b"\0" + found.leaf).digest() == found.hash,
            checkpoint=await _checkpoint(room),
            related=_related(found),
        )
    raise Turned(404, f"There is no record {seq}.", recorded=False)


async def _checkpoint(room: Room) -> str:
    try:
        return await room.doors.records.checkpoint()
    except LedgerUnavailable as error:
        return str(error)


def _question(asked: Mapping[str, str], before: str) -> Search:
    """Raises: ValueError: a time or a number cannot be read; in words for the person."""
    if before and not _SEQ.fullmatch(before):
        raise ValueError("The page's beginning is not a record's number.")
    return Search(
        who=asked["who"],
        tool=asked["tool"],
        decision=asked["decision"],
        kind=asked["kind"],
        call_id=asked["call"],
        approval_id=asked["approval"],
        since_ns=_time(asked["since"], 0),
        until_ns=_time(asked["until"], 2**63 - 1),
        before_seq=int(before) if before else 2**63 - 1,
        limit=_PAGE,
    )


def _time(text: str, default: int) -> int:
    if not text:
        return default
    if ago := _AGO.fullmatch(text):
        return time.time_ns() - int(ago[1]) * _UNITS_S[ago[2]] * 1_000_000_000
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * 1_000_000_000
    except (ValueError, OverflowError):
        raise ValueError("A time is an age such as 15m, 2h, 3d, or a date such as 2026-11-21T09:30 (UTC).") from None


def _row(record: Record) -> Row:
    members = _members(record)
    who, approval = members.get("who", {}), members.get("approval", {})
    index = record.index
    return Row(
        seq=record.seq,
        time_ns=int(index["time_ns"]),
        who=f"{who['iss']}#{who['sub']}" if who else str(members.get("actor", "")),
        kind=str(index["kind"]),
        target=str(index["target"]),
        result=str(index["outcome"] or index["decision"] or approval.get("verdict") or approval.get("state", "")),
        why=_why(members) or _told(members),
    )


def _why(members: Mapping[str, Any]) -> str:
    parts = (members.get("outcome", {}), members.get("decision", {}), members.get("approval", {}))
    reasons = [str(part["reason"]) for part in parts if part.get("reason")]
    rules = members.get("decision", {}).get("rules", [])
    named = f"[{', '.join(map(str, rules))}]" if rules else ""
    return " ".join(part for part in (named, *reasons[:1], str(members.get("approval", {}).get("id", ""))) if part)


def _told(members: Mapping[str, Any]) -> str:
    """What an event says, in short: `approval_id apr_…, digest 5f…`."""
    facts = members.get("facts", {})
    told = [(name, str(value)) for name, value in facts.items() if isinstance(value, str | int) and value != ""]
    return ", ".join(f"{name} {_cut(value)}" for name, value in told[:_FEW])


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."  # `visible` would write an ellipsis as an escape


def _related(record: Record) -> dict[str, str]:
    """Links to the other records of the same call and approval."""
    links = {"call": str(record.index["call_id"]), "approval": str(record.index["approval_id"])}
    return {name: "/log?" + urlencode({name: value}) for name, value in links.items() if value}


def _members(record: Record) -> dict[str, Any]:
    try:
        members = json.loads(record.leaf)
    except ValueError:
        members = None
    return members if isinstance(members, dict) else {"seq": record.seq, "damaged": "not readable; run `mcpgw verify`"}
