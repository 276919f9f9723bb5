"""`mcpgw log`: search and follow the record, beside a running gateway. That it was read is recorded first."""

import sys
import time
from contextlib import closing
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console

from mcpgw.app import convert
from mcpgw.cli import records
from mcpgw.cli.common import open_folder, open_ledger, readers_context, system_user
from mcpgw.cli.terminal import terminal
from mcpgw.core.errors import ConfigError
from mcpgw.core.moments import HINT, span_of
from mcpgw.core.question import BEGINNING_NS, END_NS, MAX_TEXT, NEWEST, BadCursor, Place, Question, cursor, place_of, reading
from mcpgw.ledger.search import find, follow
from mcpgw.ledger.store import Database
from mcpgw.settings import Settings


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def log(
    folder: Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")] = Path(),
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing as records are written.")] = False,
    who: Annotated[str, typer.Option(help="A subject, a principal (issuer#subject), or a glob over principals.")] = "",
    group: Annotated[str, typer.Option(help="A group that the caller was in.")] = "",
    tool: Annotated[str, typer.Option(help="A glob over published names: bank__*")] = "",
    server: Annotated[str, typer.Option(help="An upstream server's name.")] = "",
    decision: Annotated[str, typer.Option(help="allow, hold, deny, completed, refused, failed, unknown, timeout, …")] = "",
    rule: Annotated[str, typer.Option(help="The id of a rule that decided.")] = "",
    masked: Annotated[str, typer.Option(help="A type of data that was masked: US_SSN")] = "",
    text: Annotated[str, typer.Option(help="Words in clean arguments, results, questions and answers, or in a comment.")] = "",
    kind: Annotated[str, typer.Option(help="A glob over kinds: call.*, approval.*, gateway.*")] = "",
    call: Annotated[str, typer.Option(help="A call's id.")] = "",
    approval: Annotated[str, typer.Option(help="An approval's id.")] = "",
    session: Annotated[str, typer.Option(help="A session's id, as records carry it.")] = "",
    on: Annotated[str, typer.Option(help="One whole day: 2026-03-15 of local time, 2026-03-15Z of UTC.")] = "",
    since: Annotated[str, typer.Option(help="15m, 2h, 3d ago, a day, or 2026-11-21T09:30 (local time unless it says).")] = "",
    until: Annotated[str, typer.Option(help="As --since; a day counts to its end.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="The newest so many of what matches.")] = 100,
    after: Annotated[str, typer.Option(metavar="CURSOR", help="Go on where a page ended. It says what was asked.")] = "",
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="As --format json: each record in full, with its leaf hash.")] = False,
    unrecorded: Annotated[
        bool, typer.Option("--unrecorded", help="Do not record that it was read: for a copy that cannot be written.")
    ] = False,
) -> None:
    """Search the record, newest last. The reading itself is recorded first."""
    question = Question(
        who=who,
        group=group,
        tool=tool,
        server=server,
        kind=kind,
        decision=decision,
        rule=rule,
        masked=masked,
        text=text,
        call=call,
        approval=approval,
        session=session,
    )
    for name, value in asdict(question).items():
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise ConfigError(f"{MAX_TEXT} characters are the most: what is asked for is recorded", where=f"--{name}")
    since_ns, until_ns = _times(on, since, until, time.time_ns())
    question = replace(question, since_ns=since_ns, until_ns=until_ns)
    settings = open_folder(folder)
    here = f"{settings.ledger.origin} {system_user()}"
    place = _place(after, question, here) if after else Place(question=question)
    if after and following:
        raise ConfigError("a cursor goes back in time, and --follow forward", where="--after")
    if not unrecorded:
        before = anyio.run(_recorded, settings, place)
        place = (
            place if following else replace(place, before=min(place.before, before))
        )  # what tells of this reading is not in it
    database = convert.database(settings)
    form = Format.JSON if as_json else form
    console = terminal()
    if following:
        follow_on(database, place.question, console, limit=limit, form=form)
        return
    for rest in show(database, place, console, limit=limit, form=form):
        print(f"There is more: mcpgw log --after {cursor(rest, given_to=here)}", file=sys.stderr)


def show(database: Database, place: Place, console: Console, *, limit: int, form: Format) -> tuple[Place, ...]:
    """Print the newest that match before that place; return where to go on, if there may be more.

    Raises:
        LedgerUnavailable: the log cannot be read.
    """
    with closing(database.connect_read_only()) as store:
        found = find(store, place.question, before=place.before, limit=limit)
    match form:
        case Format.JSON:
            for record in found.records:
                print(records.json_line(record))
        case Format.CSV:
            for line in records.csv_lines(found.records):
                print(line)
        case Format.TABLE:
            console.print(records.table(found.records))
    return tuple(replace(place, before=seq) for seq in found.rest)


def follow_on(database: Database, question: Question, console: Console, *, limit: int, form: Format) -> None:
    """Print what matches, and what comes, until interrupted.

    Raises:
        ConfigError: the format is for what has an end.
        LedgerUnavailable: the log cannot be read.
    """
    if form is Format.CSV:
        raise ConfigError("what never ends is printed as a table or as JSON lines", where="--format csv")
    with closing(database.connect_read_only()) as store:
        try:
            for record in follow(store, question, limit=limit):
                if form is Format.JSON:
                    print(records.json_line(record), flush=True)
                else:
                    console.print(records.line(record), soft_wrap=True)
        except KeyboardInterrupt:
            console.print()


def parse_time(text: str, now: float, where: str) -> int:
    """Return Unix nanoseconds for an age (`15m`), a day's beginning, or an ISO 8601 time.

    Raises:
        ConfigError: it is none of these.
    """
    return _span(text, int(now * 1e9), where)[0]


def parse_end(text: str, now: float, where: str) -> int:
    """Return the first moment that is not meant any more: what `parse_time` returns, but for a day the beginning of the next.

    Raises:
        ConfigError: it is no time.
    """
    first, end = _span(text, int(now * 1e9), where)
    return first if end == first + 1 else end


def _times(on: str, since: str, until: str, now_ns: int) -> tuple[int, int]:
    """Return the first and the last moment that are asked for."""
    if on and (since or until):
        raise ConfigError("--on is a whole day by itself, without --since and --until", where="--on")
    first = _span(on or since, now_ns, "--on" if on else "--since")[0] if on or since else BEGINNING_NS
    last = _span(on or until, now_ns, "--on" if on else "--until")[1] - 1 if on or until else END_NS
    return first, last


def _span(text: str, now_ns: int, where: str) -> tuple[int, int]:
    try:
        return span_of(text, now_ns, None)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no time", where=where, hint=HINT) from error


def _place(after: str, question: Question, here: str) -> Place:
    if question != Question():
        asked = ", ".join(question.told())
        raise ConfigError(
            "a cursor says by itself what was asked for", where="--after", hint=f"Leave away what is asked: {asked}."
        )
    try:
        return place_of(after, given_to=here)
    except BadCursor as error:
        raise ConfigError(str(error), where="--after") from error


async def _recorded(settings: Settings, place: Place) -> int:
    """Record the reading, and return its number.

    Raises:
        LedgerUnavailable: it cannot be recorded, so nothing is read.
    """
    async with open_ledger(settings, readers_context) as ledger:
        sealed = await ledger.append(reading(place, actor=system_user()))
        return sealed.seq if place.before == NEWEST else place.before
