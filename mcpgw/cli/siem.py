"""`mcpgw siem`: how the sinks stand, a test event, and sending a range again."""

import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.table import Column, Table
from rich.text import Text

from mcpgw import __version__
from mcpgw.app import convert, outlets
from mcpgw.app.cursors import cursors
from mcpgw.cli.common import open_folder, open_ledger
from mcpgw.cli.log import parse_time
from mcpgw.cli.terminal import terminal
from mcpgw.core.entries import Event
from mcpgw.core.errors import ConfigError
from mcpgw.ledger import Ledger
from mcpgw.settings import Settings
from mcpgw.sinks.backfill import backfill as sent_again
from mcpgw.sinks.backfill import first_since, trial_event
from mcpgw.sinks.config import Feed, SinkConfig
from mcpgw.sinks.open import open_receiver
from mcpgw.sinks.pace import Pace
from mcpgw.sinks.receiver import Receiver
from mcpgw.sinks.status import SinkStatus, sink_status

siem = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The sink's name in config.toml.")]


@siem.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of a table.")] = False,
    folder: Folder = Path(),
) -> None:
    """Show how far each sink is behind, and why. Exits with 1 where one has a problem."""
    settings = open_folder(folder)
    show_status(settings, outlets.sinks(settings, os.environ), as_json=as_json)


@siem.command()
def test(name: Name, folder: Folder = Path()) -> None:
    """Send one event that says of itself that it is a test."""
    settings = open_folder(folder)
    event = trial_event(settings.ledger.origin, __version__)

    async def send() -> None:
        async with open_receiver(_sink(settings, name)) as receiver:
            await receiver.send([event])

    anyio.run(send)
    print(f"{name} has acknowledged the event {event.uid}.")


@siem.command()
def backfill(
    name: Name,
    from_seq: Annotated[int, typer.Option(min=-1, show_default=False, help="The first record to send again.")] = -1,
    to_seq: Annotated[int, typer.Option(min=-1, show_default=False, help="The last one; otherwise the newest.")] = -1,
    since: Annotated[str, typer.Option(help="Instead of --from-seq: 15m, 2h, 3d ago, or 2026-11-21T09:30.")] = "",
    folder: Folder = Path(),
) -> None:
    """Send a range of records again, beside a running gateway. The cursor stays; the receiver tells duplicates by uid."""
    if (from_seq < 0) == (not since):
        raise ConfigError("say where to begin: either --from-seq or --since")
    settings = open_folder(folder)

    async def send() -> int:
        async with _opened(settings, name) as door:
            first = await first_since(door.ledger, parse_time(since, time.time(), "--since")) if since else from_seq
            newest = await door.ledger.size() - 1
            return await _send_again(door, first, min(to_seq, newest) if to_seq >= 0 else newest)

    if refused := anyio.run(send):
        print(f"{refused} events were refused for good.", file=sys.stderr)
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Door:
    ledger: Ledger
    sink: SinkConfig
    receiver: Receiver


@asynccontextmanager
async def _opened(settings: Settings, name: str) -> AsyncIterator[_Door]:
    sink = _sink(settings, name)
    async with open_ledger(settings) as ledger, open_receiver(sink) as receiver:
        yield _Door(ledger, sink, receiver)


async def _send_again(door: _Door, first: int, last: int) -> int:
    """Return how many events were refused for good."""
    facts = {"sink": door.sink.name, "first": first, "last": last, "how": "siem backfill"}
    await door.ledger.append(Event(kind="evidence.exported", actor="admin", facts=facts))  # before anything leaves
    refused = 0
    async for seq, rejected in sent_again(door.sink, door.receiver, door.ledger, first=first, last=last, pace=Pace()):
        refused += len(rejected)
        for event in rejected:
            print(f"record {event.seq} ({event.kind}): {event.why}", file=sys.stderr)
        print(f"sent up to record {seq}")
    return refused


def _sink(settings: Settings, name: str) -> SinkConfig:
    sinks = {sink.name: sink for sink in outlets.sinks(settings, os.environ)}
    if name not in sinks:
        known = ", ".join(sinks) or "none"
        raise ConfigError(f"there is no sink {name!r}; there is: {known}", where=str(settings.config_file))
    return sinks[name]


def show_status(settings: Settings, feeds: Sequence[Feed], *, as_json: bool) -> None:
    """Print how far each of them is. Exits with 1 where one has a problem."""

    keep = cursors(convert.database(settings), settings.data_dir / outlets.CURSORS)

    async def ask() -> Sequence[SinkStatus]:
        async with open_ledger(settings) as ledger:
            return [await sink_status(feed, keep(feed.name), ledger) for feed in feeds]

    found = anyio.run(ask)
    if as_json:
        for sink in found:
            print(json.dumps(asdict(sink)))
    elif not found:
        print("Nothing is sent: config.toml has no [[sinks]]. See docs/siem.md.")
    else:
        terminal().print(_table(found))
    if any(sink.problem for sink in found):
        raise typer.Exit(1)


def _table(found: Sequence[SinkStatus]) -> Table:
    table = Table(
        "sink",
        "kind",
        "state",
        Column("record", justify="right"),
        Column("behind", justify="right"),
        Column("oldest", justify="right"),
        Column("refused", justify="right"),
        "problem",
        box=None,
        header_style="bold",
    )
    for sink in found:
        numbers = (str(sink.seq), str(sink.lag), f"{sink.oldest_age_s:.0f} s", str(sink.refused))
        since = f" (since {_clock(sink.problem_since_ns)})" if sink.problem_since_ns else ""
        cells = (sink.name, sink.kind, _state(sink), *numbers, sink.problem + (since if sink.problem else ""))
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _state(sink: SinkStatus) -> str:
    if sink.problem:
        return "failing"
    return "delivering" if sink.delivering else "idle: no gateway runs"


def _clock(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).astimezone().strftime("%m-%d %H:%M:%S")
