"""`mcpgw log`: search and follow the record, beside a running gateway."""

import json
import re
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcpgw.app import convert
from mcpgw.cli.common import open_folder
from mcpgw.core.errors import ConfigError
from mcpgw.core.visible import visible
from mcpgw.ledger.follow import follow as followed
from mcpgw.ledger.record import parse
from mcpgw.ledger.store import Database, Query, StoredRecord

_PIPE_WIDTH = 240
"""Columns where no terminal says how wide it is: wide enough for a record to stay on one line."""
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d+)([smhdw])")
_STYLES = {
    "completed": "green",
    "allow": "green",
    "hold": "yellow",
    "refused": "red",
    "failed": "red",
    "tool_error": "yellow",
    "indeterminate": "bold red",
}


def log(
    folder: Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")] = Path(),
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing as records are written.")] = False,
    who: Annotated[str, typer.Option(help="A subject, a principal (issuer#subject), or a glob over principals.")] = "",
    tool: Annotated[str, typer.Option(help="A glob over published names: bank__*")] = "",
    decision: Annotated[str, typer.Option(help="allow, hold, deny, completed, refused, failed, unknown, timeout, …")] = "",
    kind: Annotated[str, typer.Option(help="A glob over kinds: call.*, approval.*, gateway.*")] = "",
    call: Annotated[str, typer.Option(help="A call's id.")] = "",
    approval: Annotated[str, typer.Option(help="An approval's id.")] = "",
    session: Annotated[str, typer.Option(help="A session's id, as records carry it.")] = "",
    since: Annotated[str, typer.Option(help="15m, 2h, 3d ago, or 2026-11-21T09:30 (local time unless it says).")] = "",
    until: Annotated[str, typer.Option(help="As --since.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="The newest so many of what matches.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines: each record in full, with its leaf hash.")] = False,
) -> None:
    """Search the record, newest last. Reading it changes nothing."""
    now = time.time()
    query = Query(
        who=who,
        tool=tool,
        decision=decision,
        kind=kind,
        call_id=call,
        approval_id=approval,
        session=session,
        since_ns=parse_time(since, now, "--since") if since else 0,
        until_ns=parse_time(until, now, "--until") if until else 2**63 - 1,
        limit=limit,
    )
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    show(convert.database(open_folder(folder)), query, console, following=follow, as_json=as_json)


def show(database: Database, query: Query, console: Console, *, following: bool, as_json: bool) -> None:
    """Print what matches; with `following`, until interrupted.

    Raises:
        LedgerUnavailable: the log cannot be read.
    """
    store = database.connect_read_only()
    try:
        if as_json:
            for record in followed(store, query) if following else store.search(query):
                print(json_line(record), flush=following)
        elif following:
            _print_growing(followed(store, query), console)
        else:
            console.print(_table([row(record) for record in store.search(query)]))
    except KeyboardInterrupt:
        console.print()
    finally:
        store.close()


def parse_time(text: str, now: float, where: str) -> int:
    """Return Unix nanoseconds for an age (`15m`) or an ISO 8601 time.

    Raises:
        ConfigError: it is neither.
    """
    if ago := _AGO.fullmatch(text):
        return int((now - int(ago[1]) * _UNITS_S[ago[2]]) * 1e9)
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1e9)
    except ValueError as error:
        hint = "Write an age such as 15m, 2h, 3d, 1w, or a time such as 2026-11-21T09:30."
        raise ConfigError(f"{text!r} is no time", where=where, hint=hint) from error


def json_line(record: StoredRecord) -> str:
    """Return the record as one line of ASCII JSON, so that nothing in it can move a terminal's cursor."""
    return json.dumps({**_members(record), "leaf_hash": record.hash.hex()})


def row(record: StoredRecord) -> tuple[str, str, str, str, str, str, str]:
    """Return what people want to see of a record: number, local time, who, what, tool, result, why; safe to print."""
    members = _members(record)
    who = members.get("who", {})
    when = datetime.fromtimestamp(int(record.index["time_ns"]) / 1e9, tz=UTC).astimezone()
    approval = members.get("approval", {})
    result = record.index["outcome"] or record.index["decision"] or approval.get("verdict") or approval.get("state", "")
    return (
        str(record.seq),
        when.strftime("%m-%d %H:%M:%S"),
        visible(str(who.get("sub") or members.get("actor", ""))),
        visible(str(record.index["kind"])),
        visible(str(record.index["target"])),
        visible(str(result)),
        visible(_why(members)),
    )


def _why(members: dict[str, Any]) -> str:
    parts = (members.get("outcome", {}), members.get("decision", {}), members.get("approval", {}))
    reasons = [str(part["reason"]) for part in parts if part.get("reason")]
    rules = members.get("decision", {}).get("rules", [])
    approval = members.get("approval", {})
    named = f"[{', '.join(map(str, rules))}]" if rules else ""
    return " ".join(part for part in (named, *reasons[:1], str(approval.get("id", ""))) if part)


def _members(record: StoredRecord) -> dict[str, Any]:
    try:
        return parse(record.leaf)
    except ValueError:
        return {"seq": record.seq, "damaged": "this leaf is not readable; run `mcpgw verify`"}


_COLUMNS = ("#", "time", "who", "what", "tool", "result", "why")
_KEPT_WHOLE = ("#", "time", "what", "result")
"""Short by nature; the others are folded where the terminal is narrow."""


def _table(rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name == "#" else "left", overflow="fold", no_wrap=name in _KEPT_WHOLE)
    for cells in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
    return table


def _print_growing(records: Iterable[StoredRecord], console: Console) -> None:
    for record in records:
        line = Text("  ").join(Text(cell, style=_STYLES.get(cell, "")) for cell in row(record) if cell)
        console.print(line, soft_wrap=True)
