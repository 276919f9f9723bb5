"""Daily summaries: how many records of calls there were, by identity, server and result, so that a missing one is missed.

A summary covers one stretch of the log (`completeness.Stretch`) and begins where the last one ended. It is written once the log
has a record of a later day: where the stretch ends is then settled by the records alone, and a verifier finds the same place.
Identities stand in it under pseudonyms; the salt and the names are a payload beside it, which can be erased.
"""

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mcpgw.core.canonical import SALT_BYTES
from mcpgw.ledger.completeness import Line, Stretch, summed
from mcpgw.ledger.describe import SummaryPage
from mcpgw.ledger.record import parse
from mcpgw.ledger.store import Query, Reading

MARK = "summary.daily"
"""Name of the mark that holds where the next summary begins."""
_PAGE_BYTES = 40_000
"""Lines in one record: it has to fit a leaf (64 KiB) with what else stands there."""
_COUNTED = "refusals.counted"
_MANY = 1_000_000
"""Records of counted refusals in a stretch: more than windows in a day."""

Lines = dict[str, Counter[Line]]


@dataclass(frozen=True, slots=True)
class Due:
    """A stretch that has ended and is not summed up."""

    start: int
    end: int
    day_ns: int
    """When its day ended, Unix nanoseconds."""
    lines: Lines


def due(store: Reading, now_ns: int) -> tuple[Sequence[Due], int]:
    """Return the oldest stretch that is to be summed up, or nothing, and when it is worth looking again."""
    start = next((int(value) for value in store.mark(MARK)), 0)
    for first in store.records(start, 1):
        stretch = Stretch.at(start, int(first.index["time_ns"]))
        if now_ns < stretch.ends_ns:
            return [], stretch.ends_ns
        for end in store.first_since(start, stretch.ends_ns):
            return [Due(start, end, stretch.ends_ns, _lines(store, start, end))], now_ns
    return [], now_ns


def pages(found: Due) -> Sequence[SummaryPage]:
    """Return the records that sum it up, under fresh pseudonyms."""
    salt = secrets.token_bytes(SALT_BYTES)
    names = {hashlib.sha256(salt + identity.encode()).hexdigest()[:16]: identity for identity in found.lines}
    lines = [
        (pseudonym, *line, number)
        for pseudonym in sorted(names)
        for line, number in sorted(found.lines[names[pseudonym]].items())
    ]
    cut = [*_cut(lines)] or [[]]
    return [
        SummaryPage(
            facts={
                "until_ns": str(found.day_ns),
                "from": found.start,
                "to": found.end,
                "page": number,
                "pages": len(cut),
                "counts": [[*line] for line in page],
            },
            identities={"salt": salt.hex(), "names": {line[0]: names[line[0]] for line in page}},
        )
        for number, page in enumerate(cut, start=1)
    ]


def _lines(store: Reading, start: int, end: int) -> Lines:
    lines: Lines = {}
    for identity, server, kind, result, number in store.tally(start, end):
        lines.setdefault(identity, Counter())[server, kind, result] += number
    for record in store.search(Query(kind=_COUNTED, after_seq=start - 1, before_seq=end, limit=_MANY)):
        for identity, line, number in summed(parse(record.leaf)):
            lines.setdefault(identity, Counter())[line] += number
    return lines


def _cut(lines: Sequence[tuple[str, str, str, str, int]]) -> Iterator[list[tuple[str, str, str, str, int]]]:
    page: list[tuple[str, str, str, str, int]] = []
    left = _PAGE_BYTES
    for line in lines:
        size = len(json.dumps(line))
        if page and size > left:
            yield page
            page, left = [], _PAGE_BYTES
        page.append(line)
        left -= size
    if page:
        yield page
