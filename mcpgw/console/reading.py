"""Reading evidence, for people's pages and for their programs: that somebody asks is recorded first, then it is read.

What is recorded is what was asked for, not what was found. All of this raises `LedgerUnavailable` where it cannot be recorded:
nothing is read then.
"""

import re
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final, TypeVar

from mcpgw.console.doors import Proved, Record, Steps
from mcpgw.console.room import Room
from mcpgw.console.turned import Turned
from mcpgw.core.entries import Event
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.model import Identity, RefusalCode
from mcpgw.core.moments import HINT, span_of
from mcpgw.core.question import BEGINNING_NS, END_NS, FIELDS, MAX_TEXT, BadCursor, Place, Question, cursor, place_of, reading
from mcpgw.core.strict_json import loads

SEQ: Final = "^[0-9]{1,15}$"
"""A record's number: what is asked for is recorded, and a record holds integers below 2^53."""
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Found:
    """A page of records, the newest last. It may hold few, or none, and not be the last."""

    records: Sequence[Record]
    further: tuple[str, ...]
    """The cursor to go on with; nothing on the last page."""


async def note(room: Room, reader: Identity, facts: Mapping[str, Any]) -> None:
    """Record that somebody is about to read."""
    await room.doors.journal.append(Event(kind="evidence.read", actor=reader.principal, facts=facts))


def place_asked(room: Room, reader: Identity, asked: Mapping[str, str]) -> Place:
    """Return where to look: for what the fields of a question, `since` and `until` say, or at a `cursor` by itself.

    Raises:
        Turned: a time is none, or the cursor is not this reader's.
    """
    if "cursor" in asked:
        if len(asked) > 1:
            raise Turned(422, "A cursor says by itself what was asked for: leave the rest away.")
        try:
            return place_of(asked["cursor"], given_to=_given_to(room, reader))
        except BadCursor as error:
            raise Turned(410, str(error)) from None
    texts = {name: asked[name] for name in FIELDS if name in asked}
    since_ns = span_asked(asked["since"], "since")[0] if "since" in asked else BEGINNING_NS
    until_ns = span_asked(asked["until"], "until")[1] - 1 if "until" in asked else END_NS
    return Place(question=Question(**texts, since_ns=since_ns, until_ns=until_ns))


def span_asked(text: str, where: str) -> tuple[int, int]:
    """Return the first moment that is meant and the first that is not any more, in Unix nanoseconds.

    Raises:
        Turned: it is no time.
    """
    try:
        return span_of(text, time.time_ns(), UTC)
    except ValueError:
        raise Turned(422, f"`{where}` is no time.", hint=HINT) from None


async def search(room: Room, reader: Identity, place: Place, limit: int) -> Found:
    """Find records at that place.

    Raises:
        Turned: the log cannot be read now.
    """
    await room.doors.journal.append(reading(place, actor=reader.principal))
    page = await answered(room.doors.evidence.find(place, limit))
    given_to = _given_to(room, reader)
    further = (cursor(Place(question=place.question, before=before), given_to=given_to) for before in page.rest)
    return Found(page.records, tuple(further))


async def proved(room: Room, reader: Identity, number: str) -> Proved:
    """Return the record of that number, and what proves it.

    Raises:
        Turned: there is none, or it cannot be proved or read now.
    """
    if not re.fullmatch(SEQ, number):
        raise Turned(404, "There is no such record.", recorded=False)
    await note(room, reader, {"what": "record", "seq": int(number)})
    for found in await answered(room.doors.evidence.proved(int(number))):
        return found
    raise Turned(404, f"There is no record {int(number)}.", recorded=False)


async def session(room: Room, reader: Identity, name: str, *, after: int, limit: int) -> Steps:
    """Return the oldest steps of a session behind the place `after`, as `Evidence.session` does; -1 is before all of them.

    Raises:
        Turned: there is none, or the log cannot be read now.
    """
    name = name[:MAX_TEXT]
    await note(room, reader, {"what": "session", "session": name, **({"after": after} if after >= 0 else {})})
    page = await answered(room.doors.evidence.session(name, after, limit))
    if not page.steps and after < 0:
        raise Turned(404, "There is no such session.", recorded=False)
    return page


async def answered(answer: Awaitable[_Answer]) -> _Answer:
    """Return what was read.

    Raises:
        Turned: it cannot be read now.
    """
    try:
        return await answer
    except LedgerUnavailable as error:
        raise Turned(503, str(error), hint=error.hint, code=RefusalCode.UNAVAILABLE) from None


def members_of(record: Record) -> Mapping[str, Any]:
    """Return what the record says; of one that is damaged, that it is."""
    try:
        members = loads(record.leaf)
    except ValueError:
        members = ()
    return members if isinstance(members, dict) else {"damaged": "this leaf is not readable; run `mcpgw verify`"}


def _given_to(room: Room, reader: Identity) -> str:
    return f"{room.doors.evidence.log} {reader.principal}"
