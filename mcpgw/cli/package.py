"""Checking an evidence package at the command line, in the words of the verifiers that are in it."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from mcpgw.core.errors import ConfigError
from mcpgw.core.visible import visible
from mcpgw.ledger.evidence.check import Findings, check
from mcpgw.ledger.kept_elsewhere import size_in


def verify_package(package: Path, keys: Path | None, against: Sequence[str], *, as_json: bool) -> int:
    """Print what there is to say of a package, and return the exit code: 0 where it is sound, 1 where it is not.

    Raises:
        ConfigError: a file cannot be read.
    """
    public = _text(keys) if keys else ""
    notes = [note for place in against for note in _notes(place)]
    findings = check(_read(package), keys=public, against=notes)
    if as_json:
        print(json.dumps(as_data(findings)))
    else:
        Console(highlight=False).print(as_text(findings), soft_wrap=True)
    return 0 if findings.ok else 1


def as_data(findings: Findings) -> dict[str, object]:
    """Return the findings as JSON data, the same that `verify.py --json` prints."""
    return {
        "verdict": findings.verdict,
        "problems": [list(problem) for problem in findings.problems],
        "believed": findings.believed,
        "unestablished": findings.unestablished,
    }


def as_text(findings: Findings) -> Text:
    """Return the findings for people."""
    text = Text()
    for kind, where in findings.problems:
        text.append(f"✗ {kind:<10} ", style="red")
        text.append(f"{visible(where)}\n")
    if not findings.ok:
        count = len(findings.problems)
        text.append(f"UNSOUND: {count} {'problem' if count == 1 else 'problems'}.", style="bold red")
        return text
    text.append(f"✓ SOUND: {findings.records} records of {visible(findings.log)}", style="bold green")
    text.append(f" are among the {findings.size} that the checkpoint signs.\n")
    for one in findings.believed:
        text.append(f"  believed: {visible(one)}\n")
    for sentence in findings.unestablished:
        text.append(f"  not established: {visible(sentence)}\n")
    text.rstrip()
    return text


def _notes(place: str) -> Sequence[str]:
    """Return the checkpoints in a file or an anchor directory; what is believed of them is the checker's to say."""
    path = Path(place)
    if not path.is_dir():
        return [_text(path)]
    names = sorted(one for one in path.iterdir() if size_in(one.name))
    if not names:
        raise ConfigError("there is no checkpoint in it", where=place)
    return [_text(one) for one in names]


def _text(path: Path) -> str:
    try:
        return _read(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError("it is not text", where=str(path)) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"it cannot be read: {error.strerror}", where=str(path)) from error
