"""`mcpgw verify` and `mcpgw checkpoint`: proof that nobody changed the record, and what to keep elsewhere for it."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from mcpgw.app import convert
from mcpgw.cli.common import open_folder
from mcpgw.cli.package import verify_package
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.core.visible import visible
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, NoteVerifier, Verifier, open_checkpoint
from mcpgw.ledger.checks import ProblemKind
from mcpgw.ledger.cosignature import CosignatureVerifier
from mcpgw.ledger.kept_elsewhere import checkpoints_by_policy, checkpoints_from_witness, checkpoints_in
from mcpgw.ledger.keys import PUBLIC, PublicKeys, read_verifiers
from mcpgw.ledger.store import Database
from mcpgw.ledger.trust import parse_policy
from mcpgw.ledger.verify import WHOLE, Report
from mcpgw.ledger.verify import verify as verified
from mcpgw.ledger.vigil import Vigil

logger = logging.getLogger(__name__)

_WATCH_EVERY_S = 3.0
_WATCH_PATIENCE_S = 60.0
"""How long a log may be out of reach, as when its database is restarted, before a watch gives up."""

_MAX_ERASED = 20
"""Records of erasure that are shown, the newest; a log of years has one a day. `--json` has them all."""
_SETTLING_S = 1.0
"""A rotation needs milliseconds between its commit and the new public keys."""

Folder = Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")]


def verify(
    package: Annotated[
        Path | None,
        typer.Argument(help="An evidence package to verify instead of the folder's log.", exists=True, dir_okay=False),
    ] = None,
    folder: Folder = Path(),
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="FILE_OR_URL",
            help="What was kept elsewhere: a file that `mcpgw checkpoint` wrote, an anchor directory, or a witness's URL. "
            "May be repeated.",
        ),
    ] = None,
    witness: Annotated[str, typer.Option("--witness", help="The verifier key of the witness that --against names.")] = "",
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            help="A trust policy (C2SP tlog-policy): its witnesses are asked, and a quorum of them must have cosigned the log.",
        ),
    ] = None,
    ca: Annotated[str, typer.Option("--ca", help="A PEM file of authorities for the witness's certificate.")] = "",
    first: Annotated[int, typer.Option("--from", min=0, help="The first record to verify.")] = 0,
    last: Annotated[int | None, typer.Option("--to", min=0, help="The last record to verify.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with what is new every few seconds, and end at the first problem.")
    ] = False,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", help="For a package: the log's public keys, if not those in the package.", exists=True),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Prove that nobody changed the record, or an evidence package, or find where. Exit code 1 if anything is wrong."""
    if package is not None:
        if first or last is not None or watch or witness or ca:
            hint = "A package has --keys, --against (files and anchor directories) and --json."
            raise ConfigError("a package is verified as a whole, and asks nobody", where=str(package), hint=hint)
        raise typer.Exit(verify_package(package, keys, against or (), as_json=as_json))
    if keys is not None:
        raise ConfigError("is for packages; a log's keys stand in keys/ledger.pub", where="--keys")
    settings = open_folder(folder)
    within = range(first, WHOLE.stop if last is None else last + 1)
    if not within or (watch and within != WHOLE):
        hint = "--from is the first record and --to the last one; --watch is about all of them."
        raise ConfigError("there is no such range to verify", where="--from", hint=hint)
    verifiers = PublicKeys(settings.keys_dir)
    believed = read_verifiers(settings.keys_dir / PUBLIC)
    kept = [checkpoint for place in against or () for checkpoint in kept_elsewhere(place, believed, witness, ca)]
    kept += cosigned_by_quorum(policy, believed, ca) if policy else ()
    examination = Examination(convert.database(settings), verifiers, kept, Console(stderr=True))

    def show(report: Report) -> None:
        if as_json:
            print(json.dumps(as_data(report)), flush=True)
        else:
            Console(highlight=False).print(as_text(report), soft_wrap=True)

    report = keep_watch(examination, show) if watch else examination.of(within)
    show(report)
    raise typer.Exit(0 if report.ok else 1)


def checkpoint(
    folder: Folder = Path(),
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it to this file instead.")] = None,
) -> None:
    """Print the current signed checkpoint. Kept out of the admin's reach, it shows any later rewriting or cutting back."""
    settings = open_folder(folder)
    note = convert.countersign(settings, newest_checkpoint(convert.database(settings)))
    if output is None:
        print(note, end="")
    else:
        output.write_text(note, encoding="utf-8")


class Examination:
    """Verifies one database, with a progress bar on a terminal. Every method raises `LedgerUnavailable`: it cannot be read."""

    def __init__(self, database: Database, verifiers: Sequence[Verifier], kept: Sequence[Checkpoint], console: Console) -> None:
        self._database = database
        self._verifiers = verifiers
        self._kept = kept
        self._console = console
        self._vigil = Vigil(verifiers, kept)

    def of(self, within: range = WHOLE) -> Report:
        return self._with_settled_keys(lambda: self._of(within))

    def _of(self, within: range) -> Report:
        with closing(self._database.connect_read_only()) as store, self._progress() as progress:
            return verified(
                store, self._verifiers, against=self._kept, within=within, progress=progress, database=self._database
            )

    def of_what_is_new(self) -> Report:
        """Verify what came since the last time, and that nothing of what was believed then was taken back."""
        return self._with_settled_keys(self._of_what_is_new)

    def _with_settled_keys(self, look: Callable[[], Report]) -> Report:
        """Look again if the log's key was rotated meanwhile: the log is told of a new key a moment before its folder is."""
        while True:
            known = tuple(self._verifiers)
            report = look()
            if any(problem.kind is ProblemKind.KEY for problem in report.problems):
                time.sleep(_SETTLING_S)
            if report.ok or known == tuple(self._verifiers):
                return report

    def _of_what_is_new(self) -> Report:
        with closing(self._database.connect_read_only()) as store, self._progress() as progress:
            return self._vigil.look(store, progress, self._database)

    def _progress(self) -> AbstractContextManager[Callable[[int, int], None]]:
        return progress_bar("verifying", self._console)


@contextmanager
def progress_bar(doing: str, console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show a bar, on a terminal alone, while it is told how many of how many records are done."""
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("records", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def keep_watch(
    examination: Examination,
    show: Callable[[Report], None],
    *,
    every_s: float = _WATCH_EVERY_S,
    patience_s: float = _WATCH_PATIENCE_S,
) -> Report:
    """Verify what is new again and again, and return the first report that is not good. Good ones are shown when they differ.

    Raises:
        LedgerUnavailable: the log could not be read for `patience_s`.
    """
    shown, seen = -1, time.monotonic()
    while True:
        try:
            report = examination.of_what_is_new()
        except LedgerUnavailable as error:
            if time.monotonic() - seen > patience_s:
                raise
            logger.warning("the log cannot be read, and will be tried again: %s", error)
        else:
            seen = time.monotonic()
            if not report.ok:
                return report
            if report.records != shown:
                shown = report.records
                show(report)
        time.sleep(every_s)


def kept_elsewhere(place: str, verifiers: Sequence[NoteVerifier], witness: str = "", ca: str = "") -> Sequence[Checkpoint]:
    """Return the checkpoints of this log that are kept in that place: a file, an anchor directory, or a witness.

    Raises:
        ConfigError: there is none, or it is not one of this log.
    """
    if "://" in place:
        try:
            cosigner = CosignatureVerifier.parse(witness)
        except InvalidNote as error:
            hint = "It stands in the witness's own file of public keys; its operator gives it to you."
            raise ConfigError(f"the witness's key cannot be used: {error}", where="--witness", hint=hint) from error
        return checkpoints_from_witness(place, cosigner, verifiers, ca=ca)
    if Path(place).is_dir():
        return checkpoints_in(Path(place), verifiers)
    try:
        return [open_checkpoint(read_note(Path(place)), verifiers)]
    except InvalidNote as error:
        hint = "Give a file that `mcpgw checkpoint` wrote for this log."
        raise ConfigError(f"the checkpoint cannot be compared: {error}", where="--against", hint=hint) from error


def cosigned_by_quorum(file: Path, verifiers: Sequence[NoteVerifier], ca: str) -> Sequence[Checkpoint]:
    """Return the newest checkpoints of the policy's witnesses, and say which of them could not be asked.

    Raises:
        ConfigError: the file is no policy, or is one for other logs, or there is no quorum.
    """
    try:
        policy = parse_policy(file.read_bytes(), str(file))
    except OSError as error:
        raise ConfigError(f"the policy cannot be read: {error.strerror}", where=str(file)) from error
    if policy.logs and not {log.verifier for log in policy.logs}.intersection(verifiers):
        raise ConfigError("the policy lists other logs than this one", where=str(file), hint="Add a line `log VKEY`.")
    kept, failed = checkpoints_by_policy(policy, verifiers, ca=ca)
    for name, why in failed.items():
        logger.warning("the quorum is reached without the witness %s: %s", name, why)
    return kept


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
        "first": report.first,
        "records": report.records,
        "checkpoints": report.checkpoints,
        "root": report.root,
        "keys": list(report.keys),
        "anchored": report.anchored,
        "anchors": report.anchors,
        "unestablished": list(report.unestablished),
        "erased": [asdict(one) for one in report.erased],
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
    if report.first:
        text.append(f" from record {report.first} on")
    text.append(f" fit {report.checkpoints} signed checkpoints; root {report.root}\n")
    for key in report.keys:
        text.append(f"  believed: {visible(key)}\n")
    if report.anchored:
        several = f" and {report.anchors - 1} more" if report.anchors > 1 else ""
        text.append(f"  continues the checkpoint over {report.anchored} records that was kept elsewhere{several}\n")
    for one in report.erased[-_MAX_ERASED:]:
        why = f": {visible(one.reason)}" if one.reason else ""
        text.append(f"  erased: {one.payloads} payloads, says record {one.seq} ({one.kind} by {visible(one.actor)}{why})\n")
    if len(report.erased) > _MAX_ERASED:
        text.append(f"  erased: more, say {len(report.erased) - _MAX_ERASED} older records\n")
    for sentence in report.unestablished:
        text.append(f"  not established: {sentence}\n")
    text.rstrip()
    return text
