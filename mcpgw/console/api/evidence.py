"""Evidence over HTTP, for auditors: what `mcpgw log`, `prove`, `replay` and `export` do, and recorded as they record it."""

import re
import time
from collections.abc import Awaitable, Mapping
from datetime import UTC
from typing import Any, Final, TypeVar

from mcpgw.console.api.entrance import Ask, Shape
from mcpgw.console.doors import Download, NotForYou, Record, Wanted
from mcpgw.console.room import Room
from mcpgw.console.turned import Turned
from mcpgw.core.entries import Event
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.model import JsonObject, RefusalCode
from mcpgw.core.moments import HINT, span_of
from mcpgw.core.question import BEGINNING_NS, END_NS, MAX_TEXT, BadCursor, Place, Question, cursor, place_of, reading
from mcpgw.core.strict_json import loads

_Answer = TypeVar("_Answer")
_PAGE: Final = 50
_MAX_PAGE: Final = 200
_MAX_STEPS: Final = 500
SEQ: Final = "^[0-9]{1,15}$"
"""A record's number: what is asked for is recorded, and a record holds integers below 2^53."""
_TEXT: Final = {"type": "string"}
_ASKED: Final = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
_TIME: Final = {"type": "string", "minLength": 1, "maxLength": 40, "description": f"{HINT} Days and moments are UTC's."}
_FIELDS: Final = (
    "who", "group", "tool", "server", "kind", "decision", "rule", "masked", "text", "call", "approval", "session",
)  # fmt: skip

SEARCH: Final = Shape(
    body={
        **{name: {**_ASKED, "description": f"As `mcpgw log --{name}`."} for name in _FIELDS},
        "since": _TIME,
        "until": {**_TIME, "description": f"{_TIME['description']} A day counts to its end."},
        "limit": {"type": "integer", "minimum": 1, "maximum": _MAX_PAGE, "description": f"Of one page; {_PAGE} if left out."},
        "cursor": {
            **_TEXT,
            "maxLength": 16_384,
            "description": "`next_cursor` of the page before, with `limit` alone beside it.",
        },
    }
)
SESSION: Final = Shape(
    query={
        "after": {**_TEXT, "pattern": SEQ, "description": "`next_after` of the page before."},
        "limit": {"type": "integer", "minimum": 1, "maximum": _MAX_STEPS, "description": "Of one page; 50 if left out."},
    }
)
EXPORT: Final = Shape(
    body={
        **dict.fromkeys(("who", "session", "server", "tool"), _ASKED),
        "since": _TIME,
        "until": SEARCH.body["until"],
        "reason": {**_ASKED, "description": "Why it is asked for. It is recorded, and stands in the package."},
    },
    required=("reason",),
)
_HASH: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_ENTRY: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"seq": {"type": "integer"}, "leaf_hash": _HASH, "record": {"type": "object"}},
    "required": ["seq", "leaf_hash", "record"],
}
FOUND: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "records": {
            "type": "array",
            "items": _ENTRY,
            "description": "The newest last. A page may hold none and not be the last.",
        },
        "next_cursor": {**_TEXT, "description": "To go on with what came before; not there on the last page."},
    },
    "required": ["records"],
}
RECORD: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "seq": {"type": "integer"},
        "leaf": {**_TEXT, "description": "The record's exact bytes, as text: what the hash is of."},
        "leaf_hash": _HASH,
        "proof": {**_TEXT, "description": "C2SP tlog-proof; `mcpgw prove --check` checks it."},
        "payloads": {"type": "object", "additionalProperties": _TEXT, "description": "Clean payloads by slot, as JSON."},
        "gone": {"type": "array", "items": _TEXT, "description": "Slots of payloads that are not there any more."},
    },
    "required": ["seq", "leaf", "leaf_hash", "proof", "payloads", "gone"],
}
STEPS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "session": _TEXT,
        "steps": {"type": "array", "items": {"type": "object"}},
        "next_after": {**_TEXT, "description": "For the next page; not there on the last one."},
    },
    "required": ["session", "steps"],
}


async def search(room: Room, ask: Ask) -> JsonObject:
    """Find a page of records. Nothing is looked for before it is recorded that somebody looks for it."""
    given_to = f"{room.doors.evidence.log} {ask.identity.principal}"
    place = _place(ask.body, given_to)
    await room.doors.journal.append(reading(place, actor=ask.identity.principal))
    page = await _asked(room.doors.evidence.find(place, ask.body.get("limit", _PAGE)))
    found: dict[str, Any] = {"records": [_entry(record) for record in page.records]}
    for before in page.rest:
        found["next_cursor"] = cursor(Place(question=place.question, before=before), given_to=given_to)
    return found


async def record(room: Room, ask: Ask) -> JsonObject:
    """Show one record, and what proves it."""
    if not re.fullmatch(SEQ, ask.params["seq"]):
        raise Turned(404, "There is no such record.", recorded=False)
    seq = int(ask.params["seq"])
    await _note(room, ask, {"what": "record", "seq": seq})
    for one in await _asked(room.doors.evidence.proved(seq)):
        return {
            "seq": seq,
            "leaf": one.record.leaf.decode(errors="replace"),
            "leaf_hash": one.record.hash.hex(),
            "proof": one.proof,
            "payloads": dict(one.payloads),
            "gone": list(one.gone),
        }
    raise Turned(404, f"There is no record {seq}.", recorded=False)


async def session(room: Room, ask: Ask) -> JsonObject:
    """Show a page of a session's steps."""
    name = ask.params["session"][:MAX_TEXT]
    after, limit = int(ask.query.get("after", -1)), int(ask.query.get("limit", _PAGE))
    await _note(room, ask, {"what": "session", "session": name, **({"after": after} if after >= 0 else {})})
    steps = await _asked(room.doors.evidence.session(name, after, limit + 1))
    if not steps and after < 0:
        raise Turned(404, "There is no such session.", recorded=False)
    page: dict[str, Any] = {"session": name, "steps": [*steps[:limit]]}
    return {**page, "next_after": str(steps[limit - 1]["seq"])} if len(steps) > limit else page


async def export(room: Room, ask: Ask) -> Download:
    """Give a package away."""
    asked = {name: ask.body[name] for name in ("who", "session", "server", "tool", "reason") if name in ask.body}
    since_ns = _span(ask.body["since"], "since")[0] if "since" in ask.body else BEGINNING_NS
    first, end = _span(ask.body["until"], "until") if "until" in ask.body else (END_NS, END_NS + 1)
    wanted = Wanted(since_ns=since_ns, until_ns=first if end == first + 1 else end, **asked)
    if wanted.since_ns >= wanted.until_ns:
        raise Turned(422, "No time is asked for: `until` is not after `since`.")
    try:
        return await _asked(room.doors.evidence.package(wanted, ask.identity.principal))
    except NotForYou as error:
        raise Turned(413, str(error), hint=error.hint) from None


def _place(body: JsonObject, given_to: str) -> Place:
    """Raises: Turned: a time or a cursor is none."""
    if "cursor" in body:
        if body.keys() - {"cursor", "limit"}:
            raise Turned(422, "A cursor says by itself what was asked for: leave the rest away.")
        try:
            return place_of(body["cursor"], given_to=given_to)
        except BadCursor as error:
            raise Turned(410, str(error)) from None
    asked = {name: body[name] for name in _FIELDS if name in body}
    since_ns = _span(body["since"], "since")[0] if "since" in body else BEGINNING_NS
    until_ns = _span(body["until"], "until")[1] - 1 if "until" in body else END_NS
    return Place(question=Question(**asked, since_ns=since_ns, until_ns=until_ns))


def _span(text: str, where: str) -> tuple[int, int]:
    try:
        return span_of(text, time.time_ns(), UTC)
    except ValueError:
        raise Turned(422, f"`{where}` is no time.", hint=HINT) from None


async def _note(room: Room, ask: Ask, facts: Mapping[str, Any]) -> None:
    await room.doors.journal.append(Event(kind="evidence.read", actor=ask.identity.principal, facts=facts))


async def _asked(answer: Awaitable[_Answer]) -> _Answer:
    try:
        return await answer
    except LedgerUnavailable as error:
        raise Turned(503, str(error), hint=error.hint, code=RefusalCode.UNAVAILABLE) from None


def _entry(record: Record) -> JsonObject:
    try:
        members = loads(record.leaf)
    except ValueError:
        members = {"damaged": "this leaf is not readable; run `mcpgw verify`"}
    return {"seq": record.seq, "leaf_hash": record.hash.hex(), "record": members}
