"""`mcpgw verify` and `mcpgw checkpoint`: proof that nobody changed the record, and what to keep elsewhere for it."""

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from mcpgw.app import convert
from mcpgw.cli.common import open_folder
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.core.visible import visible
from mcpgw.ledger.checkpoint import InvalidNote
from mcpgw.ledger.keys import load_verifiers
from mcpgw.ledger.store import Database
from mcpgw.ledger.verify import Report
from mcpgw.ledger.verify import verify as verified

Folder = Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")]


def verify(
    folder: Folder = Path(),
    against: Annotated[
        Path | None, typer.Option("--against", help="A checkpoint that was exported earlier and kept elsewhere.", exists=True)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Prove that nobody changed the record, or find where. Exit code 1 if anything is wrong."""
    settings = open_folder(folder)
    note = read_note(against) if against else ""
    report = check(convert.database(settings), settings.keys_dir, note, Console(stderr=True))
    if as_json:
        print(json.dumps(as_data(report)))
    else:
        Console(highlight=False).print(as_text(report), soft_wrap=True)
    raise typer.Exit(0 if report.ok else 1)


def checkpoint(
    folder: Folder = Path(),
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it to this file instead.")] = None,
) -> None:
    """Print the current signed checkpoint. Kept out of the admin's reach, it shows any later rewriting or cutting back."""
    note = newest_checkpoint(convert.database(open_folder(folder)))
    if output is None:
        print(note, end="")
    else:
        output.write_text(note, encoding="utf-8")


def check(database: Database, keys_dir: Path, against: str, console: Console) -> Report:
    """Verify the log of that database, with a progress bar on a terminal.

    Raises:
        ConfigError: no public key to believe, or `against` is not a checkpoint of this log.
        LedgerUnavailable: the log cannot be read at all.
    """
    verifiers = load_verifiers(keys_dir)
    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        closing(database.connect_read_only()) as store,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("records", total=None)
        try:
            return verified(
                store,
                verifiers,
                against=against,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        except InvalidNote as error:
            hint = "Give a file that `mcpgw checkpoint` wrote for this log."
            raise ConfigError(f"the checkpoint cannot be compared: {error}", where="--against", hint=hint) from error


def read_note(path: Path) -> str:
    """Read a checkpoint file. Raises `ConfigError`."""
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the checkpoint cannot be read: {type(error).__name__}", where=str(path)) from error


def newest_checkpoint(database: Database) -> str:
    """Return the newest signed checkpoint.

    Raises:
        LedgerUnavailable: the log cannot be read, or is empty.
    """
    with closing(database.connect_read_only()) as store:
        for stored in store.newest_checkpoint():
            return stored.note
    raise LedgerUnavailable("the log has no checkpoint yet: nothing was recorded")


def as_data(report: Report) -> dict[str, Any]:
    """Return the report as JSON data; a problem's `records` is first and last, or empty if it concerns none."""
    problems = [
        {
            "kind": problem.kind.value,
            "records": [problem.records.start, problem.records.stop - 1] if problem.records else [],
            "what": problem.what,
        }
        for problem in report.problems
    ]
    return {
        "ok": report.ok,
        "origin": report.origin,
        "records": report.records,
        "checkpoints": report.checkpoints,
        "root": report.root,
        "keys": list(report.keys),
        "anchored": report.anchored,
        "found": report.found,
        "problems": problems,
    }


def as_text(report: Report) -> Text:
    """Return the report for people: what is wrong and where, or what was established and by which keys."""
    text = Text()
    for problem in report.problems:
        text.append(f"✗ {problem.kind.value:<10} ", style="red")
        text.append(visible(problem.what) + "\n")
    if report.found > len(report.problems):
        text.append(f"… and {report.found - len(report.problems)} more\n")
    if not report.ok:
        problems = "1 problem" if report.found == 1 else f"{report.found} problems"
        text.append(f"{problems} in {report.records} records of {visible(report.origin)}.", style="bold red")
        return text
    text.append(f"✓ {report.records} records of {visible(report.origin)}", style="bold green")
    text.append(f" fit {report.checkpoints} signed checkpoints; root {report.root}\n")
    for key in report.keys:
        text.append(f"  believed: {visible(key)}\n")
    if report.anchored:
        text.append(f"  continues the checkpoint over {report.anchored} records that was kept elsewhere")
    else:
        text.append(
            "  not looked for, without --against: a log cut back together with its checkpoints, or rewritten with its key"
        )
    return text
