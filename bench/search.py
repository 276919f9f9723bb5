"""What an auditor waits for: questions to a log of a year, on both stores."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bench.ledger_stores import empty, places
from bench.made_log import make_log, many
from bench.report import Cell, Findings, median
from mcpgw.core.question import NEWEST, Question
from mcpgw.ledger.backup import back_up, restore
from mcpgw.ledger.search import find
from mcpgw.ledger.store import Reading

_RECORDS = 1_000_000
"""2,000 in the short mode."""
_DAY_NS = 86_400_000_000_000
_BEGIN_NS = 20_454 * _DAY_NS
"""2026-01-01T00:00Z."""
_DAY = _BEGIN_NS + 73 * _DAY_NS
"""15 March."""
_PAGE = 100
_QUESTIONS = {
    "the newest": Question(),
    "who ran this tool on 15 March": Question(tool="server3__tool3", since_ns=_DAY, until_ns=_DAY + _DAY_NS - 1),
    "one caller's newest": Question(who="agent-7"),
    "one caller's on 15 March": Question(who="agent-7", since_ns=_DAY, until_ns=_DAY + _DAY_NS - 1),
    "all tools of a server, by a glob": Question(tool="server3__*"),
    "what was denied to one caller": Question(who="agent-7", decision="deny"),
    "a group's, of one tool": Question(group="team-3", tool="server3__tool3"),
    "votes": Question(kind="approval.voted"),
    "the record's own start, which is the oldest": Question(kind="session.opened", who="agent-0"),
    "a rule that decided on nothing": Question(rule="no-such-rule"),
    "a masked type that there is none of": Question(masked="US_SSN"),
    "words that nobody said, in all of a day": Question(text="zebra", since_ns=_DAY, until_ns=_DAY + _DAY_NS - 1),
    "words that nobody said, to one caller in a year": Question(text="zebra", who="agent-7"),
    "words that nobody said, anywhere": Question(text="zebra"),
}


def run(folder: Path, *, short: bool) -> Iterator[Findings]:
    folder.mkdir(parents=True)
    count = 2_000 if short else _RECORDS
    rows: dict[str, list[Cell]] = {name: [name] for name in _QUESTIONS}
    with places(folder) as found:
        for place in found:
            empty(place)
            if place is found[0]:
                make_log(place.database(), place.keys, count, commit=50, cast=many(count, _BEGIN_NS, _BEGIN_NS + 365 * _DAY_NS))
                with closing(place.database().connect_read_only()) as store:
                    back_up(store, folder / "copy")
            else:
                for key in place.keys.glob("ledger.*"):
                    key.write_bytes((found[0].keys / key.name).read_bytes())
                with closing(place.database().connect()) as store:
                    restore(store, folder / "copy")
            with closing(place.database().connect_read_only()) as store:
                for name, question in _QUESTIONS.items():
                    seconds, records = _asked(store, question, 1 if short else 5)
                    rows[name] += [*([records] if place is found[0] else []), seconds * 1e3]
        yield Findings(
            title="ledger: search",
            columns=("question", "records on the page", *(f"{place.name}, ms" for place in found)),
            rows=tuple(tuple(row) for row in rows.values()),
            note=f"{count} records of a year, 211 callers, 41 tools. The first page of at most {_PAGE}; medians.",
        )


def _asked(store: Reading, question: Question, rounds: int) -> tuple[float, int]:
    took: list[float] = []
    records = 0
    for _ in range(rounds):
        began = time.perf_counter()
        records = len(find(store, question, before=NEWEST, limit=_PAGE).records)
        took.append(time.perf_counter() - began)
    return median(took), records
