"""How many people, and which: `2`, or `2 of group:payments-leads and 1 of group:risk or user:carol`."""

import re

from mcpgw.core.members import FORMS, malformed
from mcpgw.core.terms import Seats
from mcpgw.policy.wording import Mistake, did_you_mean

_WORD = re.compile(r'(?:"[^"]*"|[^\s"])+')
_MOST = 10
"""Seats of one expression: more people than that never agree in time."""
_HINT = "Write quorum = 2, or quorum = '2 of group:leads and 1 of group:risk or user:carol'."


def seats_of(quorum: int | str, approvers: tuple[str, ...]) -> tuple[Seats, ...]:
    """Return the seats that a quorum asks for, of `approvers` if it is a number.

    Raises:
        Mistake: it cannot be read, names nobody, or nobody could ever fill it. Its key is `quorum` or `approvers`.
    """
    if isinstance(quorum, int):
        seats: tuple[Seats, ...] = (Seats(quorum, approvers),)
    elif approvers:
        raise Mistake("approvers", "is given, but the quorum names its people already", "Leave one of the two out.")
    else:
        seats = _parse(quorum)
    for entry in approvers:
        check_entry("approvers", entry)
    _check(seats)
    return seats


def check_entry(key: str, entry: str) -> None:
    """Refuse what names nobody.

    Raises:
        Mistake: at `key`.
    """
    if malformed(entry):
        form = entry.partition(":")[0]
        hint = did_you_mean(form, FORMS) if form not in FORMS else ""
        raise Mistake(key, f"{entry!r} is neither user:NAME nor group:NAME nor claim:NAME=VALUE", hint)


def _parse(text: str) -> tuple[Seats, ...]:
    words = [word.replace('"', "") for word in _WORD.findall(text)]
    seats: list[Seats] = []
    while words:
        count = words.pop(0)
        if not re.fullmatch(r"[0-9]{1,2}", count):
            raise Mistake("quorum", f"{text!r} has {count!r} where a number of people should be", _HINT)
        _take("of", words, text)
        seats.append(Seats(int(count), tuple(_entries(words, text))))
        if words:
            _take("and", words, text)
            if not words:
                raise Mistake("quorum", f"{text!r} ends with 'and'", _HINT)
    if not seats:
        raise Mistake("quorum", "is empty", _HINT)
    return tuple(seats)


def _entries(words: list[str], text: str) -> list[str]:
    entries: list[str] = []
    while True:
        if not words:
            raise Mistake("quorum", f"{text!r} ends where people should be named", _HINT)
        entry = words.pop(0)
        check_entry("quorum", entry)
        entries.append(entry)
        if words[:1] != ["or"]:
            return entries
        words.pop(0)


def _take(word: str, words: list[str], text: str) -> None:
    found = words.pop(0) if words else "its end"
    if found != word:
        hint = did_you_mean(found, ("of", "and", "or")) or _HINT
        raise Mistake("quorum", f"{text!r} has {found!r} where {word!r} should be", hint)


def _check(seats: tuple[Seats, ...]) -> None:
    if any(one.count < 1 for one in seats):
        raise Mistake("quorum", "must be at least 1", "")
    if sum(one.count for one in seats) > _MOST:
        raise Mistake("quorum", f"asks for more than {_MOST} people", "")
    named = [one for one in seats if one.of and all(entry.startswith("user:") for entry in one.of)]
    people = {entry for one in named for entry in one.of}
    if named and (missing := sum(one.count for one in named)) > len(people):
        raise Mistake("quorum", f"is {missing}, but there are only {len(people)} approvers", "Nobody fills two seats.")
    for one in named:
        if one.count > len(set(one.of)):
            raise Mistake("quorum", f"asks for {one}, but there are only {len(set(one.of))} of them", "")
