"""`mcpgw report access-review`: who may call what, who did, who never does; grants, break-glass, and who decided."""

import csv
import io
import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mcpgw.app import convert
from mcpgw.app.review import Review, Reviewed, review
from mcpgw.cli import review_page
from mcpgw.cli.common import build_policy, load_targets, open_folder, open_ledger, system_user
from mcpgw.cli.log import parse_end, parse_time
from mcpgw.cli.records import cell
from mcpgw.cli.review_page import day, decided
from mcpgw.cli.terminal import terminal
from mcpgw.core.entries import Event
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import Identity
from mcpgw.core.visible import visible
from mcpgw.identity import ApiKeys
from mcpgw.ledger.recorded import span_of
from mcpgw.ledger.usage import usage
from mcpgw.settings import Settings

report = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

COLUMNS = (
    "who", "kind", "through", "groups", "roles", "seen", "has_key", "target_kind", "target", "risk", "may", "by", "rules",
    "ran", "held", "refused", "last_used", "finding",
)  # fmt: skip
"""Of CSV: one line for each caller and each target that they may call, or did. Columns are added at the end alone."""
_NAMED = 4
"""Targets that a table names; JSON, CSV and the page have them all."""


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


@report.callback()
def _verbs() -> None:
    """Reports over the record and what is configured."""


@report.command("access-review")
def access_review(
    since: Annotated[str, typer.Option("--from", help="2026-11-20T00:00Z, or an age as 3d; local time unless it says.")] = "",
    until: Annotated[
        str, typer.Option("--to", help="The first moment that is not asked for any more; a day counts to its end.")
    ] = "",
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TABLE,
    folder: Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")] = Path(),
) -> None:
    """Say who may call what, who did, and who never does; what was granted, and who decided. The reading is recorded."""
    settings = open_folder(folder)
    now = time.time()
    span = (parse_time(since, now, "--from") if since else 0, parse_end(until, now, "--to") if until else int(now * 1e9))
    if span[0] >= span[1]:
        raise ConfigError("no time is asked for: --to is not after --from", where="--to")
    anyio.run(_note, settings, span)  # before anything is shown
    found = _found(settings, span)
    match form:
        case Format.TABLE:
            terminal().print(render(found))
        case Format.JSON:
            print(json.dumps({**asdict(found), "people": [_person(one) for one in found.people]}))
        case Format.CSV:
            for line in csv_lines(found):
                print(line)
        case Format.HTML:
            print(review_page.page(found, settings.ledger.origin))


def _found(settings: Settings, span: tuple[int, int]) -> Review:
    with closing(convert.database(settings).connect_read_only()) as store:
        start, end = span_of(store, *span)
        used = usage(store, start, end)
        return review(settings, build_policy(settings), load_targets(settings), used, _keyed(settings), store, span)


def _keyed(settings: Settings) -> list[Identity]:
    """Return whoever has a key that opens something now."""
    records = ApiKeys(settings.keys_dir / convert.API_KEYS).records()
    return [one.identity("api_key") for one in records if not one.revoked and not one.expired(time.time())]


async def _note(settings: Settings, span: tuple[int, int]) -> None:
    facts = {"what": "access review", "since_ns": str(span[0]), "until_ns": str(span[1])}
    async with open_ledger(settings) as ledger:
        await ledger.append(Event(kind="evidence.read", actor=system_user(), facts=facts))


def render(found: Review) -> RenderableType:
    """Return the review for a terminal: a line for each caller, role, approver and grant."""
    people = _table("who", "kind", "roles", "last call", "may call", "used", "never used", "no longer allowed")
    for one in found.people:
        may = [line for line in one.lines if line.may]
        _row(
            people,
            one.who + "".join(f" through {agent}" for agent in one.through),
            one.kind,
            ", ".join(one.roles) or "none",
            day(one.seen_ns),
            str(len(may)),
            str(len(one.of("used"))),
            _some([line.target for line in one.of("never used")]),
            _some([line.target for line in one.of("no longer allowed")]),
        )
    roles = _table("role", "members", "people", "gives", "never used by anybody who has it")
    for role in found.roles:
        _row(roles, role.name, ", ".join(role.members), str(role.people), str(len(role.targets)), _some(role.never_used))
    approvers = _table("who decided", "what", "last")
    for who, made in found.approvers.items():
        _row(approvers, who, decided(made), day(made.last_ns))
    grants = _table("granted to", "for", "uses", "asked for", "state", "approval")
    for granted in found.grants:
        uses, asked = f"{granted.uses} of {granted.max_calls}", day(granted.time_ns)
        _row(grants, granted.who, granted.target, uses, asked, granted.state, granted.approval_id)
    glass = _table("glass broken for", "to call", "when", "state", "approval")
    for opened in found.break_glass:
        _row(glass, opened.who, opened.target, day(opened.time_ns), opened.state, opened.approval_id)
    told: list[RenderableType] = []
    for table in (people, roles, approvers, grants, glass):
        told += [table, Text()] if table.row_count else []
    return Group(*told, Text(review_page.beside(found)))


def csv_lines(found: Review) -> Iterator[str]:
    """Yield CSV (RFC 4180) with a line of column names: every cell quoted, and none of them a formula."""
    for row in (COLUMNS, *(row for one in found.people for row in _rows(one))):
        line = io.StringIO()
        csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(map(cell, row))
        yield line.getvalue().rstrip("\n")


def _rows(one: Reviewed) -> Iterator[tuple[str, ...]]:
    who = (one.who, one.kind, " ".join(one.through), " ".join(one.groups), " ".join(one.roles))
    for line in one.lines:
        uses = line.uses
        yield (
            *who,
            day(one.seen_ns),
            "yes" if one.has_key else "no",
            line.kind,
            line.target,
            line.risk,
            "yes" if line.may else "no",
            " ".join(line.by),
            " ".join(line.rules),
            str(uses.ran),
            str(uses.held),
            str(uses.refused),
            day(uses.last_ns),
            line.finding,
        )


def _person(one: Reviewed) -> dict[str, object]:
    return {**asdict(one), "lines": [{**asdict(line), "finding": line.finding} for line in one.lines]}


def _some(names: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _row(table: Table, *cells: str) -> None:
    table.add_row(*(Text(visible(one)) for one in cells))
