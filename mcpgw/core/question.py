"""What an auditor asks of the log, and the cursor that goes on with it.

A cursor holds its question, with its times resolved, and the record that its page ended at. So a page is the same whenever it
is asked for, whatever was appended meanwhile, and nobody can go on with another question by mistake. It gives no right to
anything: whoever shows it is judged, and what it asks is recorded, as if it were asked anew. The check finds damage, and a
cursor that was given to somebody else or by another log; it keeps nobody from writing one.

How it may change: the version in front is another one then, and older cursors are refused.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

from mcpgw.core.entries import Event
from mcpgw.core.model import JsonObject

BEGINNING_NS, END_NS = 0, 2**63 - 1
"""Where no time is asked for."""
NEWEST = 2**63 - 1
"""Before which record the newest ones are."""
MAX_TEXT = 500
"""Characters of one field: what is asked is recorded."""
_VERSION = "q1"
_CHECK_BYTES = 9
_MAX_CURSOR = 16_384


class BadCursor(ValueError):
    """It was damaged, or given out by another log, to somebody else, or by another version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Records that have all of this; an empty field asks for nothing."""

    who: str = ""
    """A principal (`issuer#subject`), a subject, or a glob over principals."""
    group: str = ""
    """A group that the caller was in, to the letter."""
    tool: str = ""
    """A glob over published names."""
    server: str = ""
    kind: str = ""
    """A glob over kinds of records."""
    decision: str = ""
    """An effect (`allow`, `hold`, `deny`), an outcome (`completed`, `refused`, …) or a code (`unknown`, `timeout`, …)."""
    rule: str = ""
    masked: str = ""
    """A type of data that was masked, as `US_SSN`."""
    text: str = ""
    """Words in clean arguments, results, questions of servers and answers, or in somebody's comment; case does not matter."""
    call: str = ""
    approval: str = ""
    session: str = ""
    since_ns: int = BEGINNING_NS
    until_ns: int = END_NS
    """The last moment that is asked for, in Unix nanoseconds as the first."""

    def told(self) -> Mapping[str, str]:
        """Return what is asked for, for the record and for cursors: nothing of what is not."""
        return {
            field.name: str(value) for field in fields(self) if (value := getattr(self, field.name)) != field.default
        }  # times as text, which JSON carries exactly

    @classmethod
    def of(cls, told: Mapping[str, object]) -> "Question":
        """Return the question that tells this.

        Raises:
            ValueError: no question does.
        """
        known = {field.name for field in fields(cls)}
        if not told.keys() <= known or any(not value or not isinstance(value, str) for value in told.values()):
            raise ValueError("it asks for something that there is not")
        times = {name: int(str(told[name])) for name in ("since_ns", "until_ns") if name in told}
        if not all(BEGINNING_NS <= time_ns <= END_NS for time_ns in times.values()):
            raise ValueError("it asks for no time that there is")
        return cls(**{**told, **times})  # type: ignore[arg-type]  # the names were checked, and the values are texts or numbers


FIELDS = tuple(field.name for field in fields(Question) if field.default == "")
"""What is asked for by a text: all but the times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to go on: with records before this one."""

    question: Question
    before: int = NEWEST


def reading(place: Place, *, actor: str) -> Event:
    """Return the record that somebody is about to be shown this: what was asked for, not what is found.

    The words that are looked for are often somebody's name or number. They stand beside the record, where they can be erased,
    and not in it.
    """
    told = dict(place.question.told())
    words = told.pop("text", "")
    page = {"before": place.before} if place.before != NEWEST else {}
    facts: JsonObject = {"what": "log", **told, **({"text": True} if words else {}), **page}
    return Event(kind="evidence.read", actor=actor, facts=facts, document={"text": words} if words else {})


def cursor(place: Place, *, given_to: str) -> str:
    """Return the place as a text for URLs. `given_to` says which log gave it to whom; only they can use it."""
    body = json.dumps({"before": place.before, "question": place.question.told()}, sort_keys=True).encode()
    return _VERSION + base64.urlsafe_b64encode(_check(body, given_to) + body).decode().rstrip("=")


def place_of(text: str, *, given_to: str) -> Place:
    """Return the place that a cursor stands for.

    Raises:
        BadCursor: it is none of `given_to`.
    """
    try:
        if not text.startswith(_VERSION) or len(text) > _MAX_CURSOR:
            raise ValueError(text[:10])
        packed = text.removeprefix(_VERSION)
        raw = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        check, body = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        if check != _check(body, given_to):
            raise ValueError("the check differs")
        found = json.loads(body)
        return Place(question=Question.of(found["question"]), before=int(found["before"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadCursor("This cursor is damaged, or was not given to you by this log. Ask anew without it.") from error


def _check(body: bytes, given_to: str) -> bytes:
    return hashlib.sha256(b"mcpgw cursor\n" + given_to.encode() + b"\n" + body).digest()[:_CHECK_BYTES]
