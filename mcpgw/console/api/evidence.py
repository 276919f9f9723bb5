"""Evidence over HTTP, for auditors: what `mcpgw log`, `prove`, `replay` and `export` do, and recorded as they record it."""

from typing import Any, Final

from mcpgw.console import reading
from mcpgw.console.api.entrance import Ask, Shape
from mcpgw.console.doors import Download, NotForYou, Record, Wanted
from mcpgw.console.room import Room
from mcpgw.console.turned import Turned
from mcpgw.core.model import JsonObject
from mcpgw.core.moments import HINT
from mcpgw.core.question import BEGINNING_NS, END_NS, FIELDS, MAX_TEXT

_PAGE: Final = 50
_MAX_PAGE: Final = 200
_MAX_STEPS: Final = 500
_TEXT: Final = {"type": "string"}
_ASKED: Final = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
_TIME: Final = {"type": "string", "minLength": 1, "maxLength": 40, "description": f"{HINT} Days and moments are UTC's."}

SEARCH: Final = Shape(
    body={
        **{name: {**_ASKED, "description": f"As `mcpgw log --{name}`."} for name in FIELDS},
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
        "after": {**_TEXT, "pattern": reading.SEQ, "description": "`next_after` of the page before."},
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
    """Find a page of records."""
    place = reading.place_asked(room, ask.identity, {name: ask.body[name] for name in ask.body if name != "limit"})
    page = await reading.search(room, ask.identity, place, ask.body.get("limit", _PAGE))
    found: dict[str, Any] = {"records": [_entry(record) for record in page.records]}
    for further in page.further:
        found["next_cursor"] = further
    return found


async def record(room: Room, ask: Ask) -> JsonObject:
    """Show one record, and what proves it."""
    found = await reading.proved(room, ask.identity, ask.params["seq"])
    return {
        "seq": found.record.seq,
        "leaf": found.record.leaf.decode(errors="replace"),
        "leaf_hash": found.record.hash.hex(),
        "proof": found.proof,
        "payloads": dict(found.payloads),
        "gone": list(found.gone),
    }


async def session(room: Room, ask: Ask) -> JsonObject:
    """Show a page of a session's steps."""
    name, after, limit = ask.params["session"], int(ask.query.get("after", -1)), int(ask.query.get("limit", _PAGE))
    page = await reading.session(room, ask.identity, name, after=after, limit=limit)
    shown: dict[str, Any] = {"session": name[:MAX_TEXT], "steps": [*page.steps]}
    for further in page.further:
        shown["next_after"] = str(further)
    return shown


async def export(room: Room, ask: Ask) -> Download:
    """Give a package away."""
    asked = {name: ask.body[name] for name in ("who", "session", "server", "tool", "reason") if name in ask.body}
    since_ns = reading.span_asked(ask.body["since"], "since")[0] if "since" in ask.body else BEGINNING_NS
    first, end = reading.span_asked(ask.body["until"], "until") if "until" in ask.body else (END_NS, END_NS + 1)
    wanted = Wanted(since_ns=since_ns, until_ns=first if end == first + 1 else end, **asked)
    if wanted.since_ns >= wanted.until_ns:
        raise Turned(422, "No time is asked for: `until` is not after `since`.")
    try:
        return await reading.answered(room.doors.evidence.package(wanted, ask.identity.principal))
    except NotForYou as error:
        raise Turned(413, str(error), hint=error.hint) from None


def _entry(record: Record) -> JsonObject:
    return {"seq": record.seq, "leaf_hash": record.hash.hex(), "record": reading.members_of(record)}
