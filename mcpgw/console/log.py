"""The log's pages, for auditors: a search, and one record with what proves it."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from mcpgw.console import reading
from mcpgw.console.arrival import Visit
from mcpgw.console.doors import Record
from mcpgw.console.room import Room
from mcpgw.console.turned import Turned
from mcpgw.console.view import HEADERS
from mcpgw.core.question import BEGINNING_NS, END_NS, FIELDS, MAX_TEXT, Place
from mcpgw.core.summary import Summary, summary_of

_PAGE: Final = 50


async def ask(room: Room, visit: Visit) -> Response:
    """Take the question from the page's form.

    Words are often somebody's name or number, and addresses of pages are kept where those do not belong: in proxies' logs and
    browsers' histories. So words are answered here, and so is a cursor that goes on with them. Any other question has an
    address, which one can come back to.
    """
    asked = _asked(visit.arrival.form)
    if "text" in asked or "cursor" in asked:
        return await _answer(room, visit, asked)
    return RedirectResponse(f"/log?{urlencode(asked)}", status_code=303, headers=HEADERS)


async def search(room: Room, visit: Visit) -> Response:
    """Show the newest records that match, a page at a time."""
    return await _answer(room, visit, _asked(visit.arrival.query))


async def record(room: Room, visit: Visit) -> Response:
    """Show one record as it was sealed, its clean payloads, and what proves it."""
    found = await reading.proved(room, visit.identity, visit.arrival.params["seq"])
    leaf = found.record.leaf
    return await room.view.long_page(
        "record.html",
        visit=visit,
        row=_row(found.record),
        leaf=reading.members_of(found.record),
        size=len(leaf),
        leaf_hash=found.record.hash.hex(),
        is_intact=hashlib.sha256(b"\0" + leaf).digest() == found.record.hash,
        found=found,
        related={name: value for name in ("call", "approval") if (value := str(found.record.index[f"{name}_id"]))},
    )


def _asked(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name in (*FIELDS, "since", "until", "cursor") if (value := fields.get(name, "").strip())}


async def _answer(room: Room, visit: Visit, asked: Mapping[str, str]) -> Response:
    try:
        for name in asked.keys() - {"cursor"}:
            if len(asked[name]) > MAX_TEXT:
                raise Turned(422, f"`{name}` has more than {MAX_TEXT} characters; what is asked for is recorded.")
        place = reading.place_asked(room, visit.identity, asked)
    except Turned as turned:
        complaint = f"{turned} {turned.hint}".strip()
        empty = reading.Found((), ())
        return _page(room, visit, asked, empty, status=turned.status, complaint=complaint)
    found = await reading.search(room, visit.identity, place, _PAGE)
    return _page(room, visit, _told(place) if "cursor" in asked else asked, found)


def _page(
    room: Room, visit: Visit, asked: Mapping[str, str], found: reading.Found, *, status: int = 200, complaint: str = ""
) -> Response:
    rows = [_row(record) for record in reversed(found.records)]
    return room.view.page(
        "log.html", status=status, visit=visit, asked=asked, complaint=complaint, rows=rows, further=found.further
    )


def _told(place: Place) -> dict[str, str]:
    """Return a cursor's question as the form shows it. Its times are to the microsecond there, and leave nothing out."""
    question = place.question
    since = {"since": _moment(question.since_ns // 1_000)} if question.since_ns != BEGINNING_NS else {}
    until = {"until": _moment(-(-question.until_ns // 1_000))} if question.until_ns != END_NS else {}
    return {**{name: value for name in FIELDS if (value := getattr(question, name))}, **since, **until}


def _moment(microseconds: int) -> str:
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest, tzinfo=None).isoformat()


def _row(record: Record) -> Summary:
    return summary_of(record.seq, record.index, reading.members_of(record))
