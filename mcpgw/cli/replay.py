"""`mcpgw replay`: a session step by step, from the log or from an evidence package. That it was looked at is recorded first."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import anyio
import click
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcpgw import __version__
from mcpgw.app import convert
from mcpgw.cli.common import open_folder, open_ledger, readers_context, system_user, write_new
from mcpgw.cli.unsealing import opener
from mcpgw.core.entries import Event
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.core.moments import offset
from mcpgw.core.visible import visible
from mcpgw.ledger.beside import beside, lines
from mcpgw.ledger.evidence.archive import unpack
from mcpgw.ledger.evidence.check import check
from mcpgw.ledger.evidence.replay_page import page
from mcpgw.ledger.replay import LogSource, Opener, PackageSource, Raw, Shown, Side, Source, Step, Tone, steps
from mcpgw.ledger.unseal import Identities
from mcpgw.settings import Settings

_LONGEST_PAUSE_S = 10.0
"""A session that was idle for hours is not to be sat through."""
_MAX_REASON = 500
_STYLES = {Tone.PLAIN: "", Tone.GOOD: "green", Tone.HELD: "yellow", Tone.BAD: "red"}
_INDENT = {Side.CLIENT: 0, Side.PEOPLE: 4, Side.GATEWAY: 4}


def replay(
    session: Annotated[str, typer.Argument(help="A session's id: `mcpgw log --kind session.opened --json` has them.")],
    speed: Annotated[str, typer.Option(help="1 as it was, 10 ten times as fast, max without a pause.")] = "",
    step: Annotated[bool, typer.Option("--step", help="Wait for a key after each step.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write it as one page to this new file instead.")] = None,
    package: Annotated[
        Path | None,
        typer.Option("--package", help="From this evidence package instead of the log; no folder is needed.", exists=True),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Show what the vault holds beside the clean view.")] = False,
    identity: Annotated[
        Path | None, typer.Option("--identity", help="With --raw: your file of age private keys. It is read here alone.")
    ] = None,
    reason: Annotated[str, typer.Option(help="With --raw: why. It is recorded; a package's export was.")] = "",
    folder: Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")] = Path(),
) -> None:
    """Show what a client did and was told, with its timing, and decisions, holds, votes and masking behind it."""
    pace = _pace(speed, by_key=step)
    openers = _openers(raw=raw, identity=identity, reason=reason, is_recorded=package is None)
    if package is not None:
        if raw:
            print("This is recorded nowhere: the export was, with its reason.", file=sys.stderr)
        log, source = _packed(package, raw=raw)
        _shown(steps(source, session, openers), session, log, pace, html)
        return
    settings = open_folder(folder)
    anyio.run(_recorded, settings, session, reason)
    with _logged(settings) as source:
        _shown(steps(source, session, openers), session, settings.ledger.origin, pace, html)


def _shown(found: Iterator[Step], session: str, log: str, pace: "Pace", html: Path | None) -> None:
    """Raises: ConfigError: there is no such session. LedgerUnavailable: it cannot be read."""
    try:
        first = next(found, ())
        if not isinstance(first, Step):
            hint = "`mcpgw log --kind session.opened --json` shows each session's `id`."
            raise ConfigError(f"there is no session {visible(session)!r} in it", where="mcpgw replay", hint=hint)
        if html is not None:
            write_new(html, page(session, log, _again(first, found), gateway=__version__).encode())
            print(f"The session is in {html}.")
            return
        play(_again(first, found), Console(highlight=False), pace)
    except ValueError as error:
        raise LedgerUnavailable(f"a record cannot be read: {error}", hint="Run `mcpgw verify`: it says which.") from error


def _again(first: Step, rest: Iterator[Step]) -> Iterator[Step]:
    yield first
    yield from rest


@dataclass(frozen=True, slots=True)
class Pace:
    factor: float
    """How many times as fast as it was; 0 for no pause at all."""
    by_key: bool

    def wait(self, gap_ns: int, console: Console) -> None:
        """Wait as long as it took, or for a key."""
        if self.by_key:
            console.print(Text("   any key for the next step", style="dim"), end="\r")
            click.getchar()
        elif self.factor and gap_ns > 0:
            due_s = gap_ns / 1e9 / self.factor
            if due_s > _LONGEST_PAUSE_S:
                console.print(Text(f"   … {offset(gap_ns)} without a step", style="dim"))
            time.sleep(min(due_s, _LONGEST_PAUSE_S))


def play(found: Iterator[Step], console: Console, pace: Pace) -> None:
    """Print the steps one after the other."""
    before_ns = -1
    for step in found:
        if before_ns >= 0:
            pace.wait(step.offset_ns - before_ns, console)
        before_ns = step.offset_ns
        _print(step, console)


def _print(step: Step, console: Console) -> None:
    indent = " " * _INDENT[step.side]
    head = Text(f"{indent}{offset(step.offset_ns):>14}  #{step.seq}  ")
    head.append(visible(f"{step.who} {step.title}".strip()), style=_STYLES[step.tone])
    console.print(head, soft_wrap=True)
    for mark in step.marks:
        console.print(Text(f"{indent}{'':16}· {visible(mark)}", style="dim"), soft_wrap=True)
    for shown in step.shown:
        _print_payload(shown, f"{indent}{'':16}", console)


def _print_payload(shown: Shown, indent: str, console: Console) -> None:
    if not shown.text:
        console.print(Text(f"{indent}{shown.label}: not there any more; it was erased, or is missing", style="italic"))
        return
    console.print(Text(f"{indent}{shown.label}:"))
    if not any(raw.text for raw in shown.raw):
        for line in lines(shown.text):
            console.print(Text(f"{indent}  {line}"), soft_wrap=True)
    for raw in shown.raw:
        _print_raw(shown, raw, indent, console)


def _print_raw(shown: Shown, raw: Raw, indent: str, console: Console) -> None:
    console.print(Text(f"{indent}  raw: {visible(raw.note)}", style="bold"), soft_wrap=True)
    if not raw.text:
        return
    table = Table("", "clean", "raw", box=None, pad_edge=False)
    for pair in beside(shown.text, raw.text):
        table.add_row(
            "≠" if pair.differs else " ", Text(pair.clean), Text(pair.raw), style="bold yellow" if pair.differs else ""
        )
    console.print(table)


def _pace(speed: str, *, by_key: bool) -> Pace:
    """Raises: ConfigError: it is no speed, or there is nobody to press a key."""
    if by_key and not sys.stdin.isatty():
        raise ConfigError("there is no terminal to press a key at", where="--step")
    if speed in ("", "max"):
        return Pace(0.0 if speed or not sys.stdout.isatty() else 1.0, by_key)
    try:
        factor = float(speed)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1e9:
        raise ConfigError(f"{speed!r} is no speed", where="--speed", hint="Write 1, 10, or max.")
    return Pace(factor, by_key)


def _openers(*, raw: bool, identity: Path | None, reason: str, is_recorded: bool) -> Sequence[Opener]:
    """Raises: ConfigError: something that goes with --raw is missing, wrong, or there without it."""
    if not raw:
        if identity or reason:
            raise ConfigError("is for raw payloads", where="--identity" if identity else "--reason", hint="Say --raw as well.")
        return ()
    if identity is None:
        raise ConfigError("raw payloads are sealed: name the file of your private key", where="--identity")
    if (is_recorded and not reason.strip()) or len(reason) > _MAX_REASON:
        raise ConfigError(f"say in at most {_MAX_REASON} characters why raw payloads are looked at", where="--reason")
    try:
        return (opener(Identities(identity.read_text(encoding="utf-8"))),)
    except ValueError as error:
        raise ConfigError(str(error), where=str(identity)) from error


@contextmanager
def _logged(settings: Settings) -> Iterator[Source]:
    store = convert.database(settings).connect_read_only()
    try:
        yield LogSource(store)
    finally:
        store.close()


def _packed(path: Path, *, raw: bool) -> tuple[str, Source]:
    """Return the log that a package is of, and what is in it.

    Raises:
        ConfigError: it is not sound: what it shows might not have happened. Or it was made without the raw payloads that are
            asked for.
    """
    data = path.read_bytes()
    findings = check(data)
    if not findings.ok:
        raise ConfigError(
            "the package is not sound", where=str(path), hint=f"`mcpgw verify {path}` says what is wrong with it."
        )
    source = PackageSource(unpack(data))
    if raw and not source.has_raw:
        hint = "`mcpgw export --raw` makes one that has them."
        raise ConfigError("the package was made without raw payloads", where=str(path), hint=hint)
    return findings.log, source


async def _recorded(settings: Settings, session: str, reason: str) -> None:
    """Raises: LedgerUnavailable: the reading cannot be recorded, so nothing is read."""
    facts = {"what": "raw session", "session": session, "reason": reason} if reason else {"what": "session", "session": session}
    async with open_ledger(settings, readers_context) as ledger:
        await ledger.append(Event(kind="evidence.read", actor=system_user(), facts=facts))
