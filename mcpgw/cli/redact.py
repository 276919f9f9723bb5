"""`mcpgw redact`: what the gateway would let through, for measuring on labelled data; and why, with `explain`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TextIO

import anyio
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import Masking
from mcpgw.redaction import PresidioRedactor, RedactionConfig
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.explain import Explained, explained
from mcpgw.redaction.reader import Reader
from mcpgw.redaction.worker import namer
from mcpgw.settings import CONFIG_FILE

redact = typer.Typer(invoke_without_command=True)

Folder = Annotated[Path, typer.Option("--dir", "-C", help="A working folder; its settings apply if it has any.")]
Model = Annotated[str, typer.Option(help="Another language model than the settings', or none.")]


@redact.callback()
def rows(
    context: typer.Context,
    folder: Folder = Path(),
    model: Model = "",
    profile: Annotated[str, typer.Option(help="The redaction profile to apply.")] = "default",
    column: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A key or column to mask; may be repeated.")] = None,
    path: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="A JSON path to mask, like rows[*].ssn; may be repeated.")
    ] = None,
    manifest: Annotated[bool, typer.Option(help="Add to each row what was masked where, by which detector.")] = False,
) -> None:
    """Read rows {"id", "text", "mime"} as JSON lines from standard input; write {"id", "text"} as a client would get them."""
    if context.invoked_subcommand is not None:
        return
    config = _config(folder, model)
    masking = Masking(profile=profile, columns=tuple(column or ()), paths=tuple(path or ()))
    anyio.run(_redact, config, masking, manifest, sys.stdin, sys.stdout)


@redact.command()
def explain(
    sample: Annotated[Path, typer.Argument(help="A file, or - for standard input.", allow_dash=True)] = Path("-"),
    mime: Annotated[str, typer.Option(help="application/json is read as structured content, all else as text.")] = "",
    subject: Annotated[str, typer.Option("--as", help="Who would see it: a subject, or https://issuer#subject.")] = "",
    group: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A group of whoever would see it; may be repeated.")
    ] = None,
    tool: Annotated[str, typer.Option(help="The published name of something whose rules in the catalog apply.")] = "",
    profile: Annotated[str, typer.Option(help="The redaction profile to apply, where no tool is named.")] = "default",
    show_values: Annotated[bool, typer.Option(help="Print the values, and what would be seen of them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    folder: Folder = Path(),
    model: Model = "",
) -> None:
    """Say of each value in a sample which rule or detector decided on it, and what an identity would see of it."""
    config = _config(folder, model)
    masking = _masking_of(tool, folder) if tool else Masking(profile=profile)
    payload = _payload(sample, mime)
    members = frozenset({*(f"group:{name}" for name in group or ()), *([f"user:{subject}"] if subject else ())})
    if "#" in subject:
        members |= {f"user:{subject.rsplit('#', 1)[1]}"}
    reader = Reader(members=members, scope="explained" if config.hash_key else "")
    found = explained(Engine(config, namer(config)), payload, masking, reader)
    told = [_told(decision, show_values=show_values) for decision in found]
    if as_json:
        for line in told:
            print(json.dumps(line))
        return
    _print_table(told, subject or "the reader")


def _told(decision: Explained, *, show_values: bool) -> dict[str, Any]:
    """Return what is printed of a decision; what may hold personal data only where it was asked for."""
    told: dict[str, Any] = {
        "path": decision.path,
        "entity": decision.entity,
        "decided_by": decision.detector,
        "operator": decision.operator.value,
        "size": decision.size,
    }
    return {**told, "value": decision.value, "seen": decision.seen} if show_values else told


def _print_table(told: list[dict[str, Any]], who: str) -> None:
    columns = {"path": "Where", "entity": "What", "decided_by": "Decided by", "operator": f"What {who} gets", "size": "Signs"}
    columns |= {"value": "Value", "seen": "Seen"} if told and "value" in told[0] else {}
    table = Table()
    for title in columns.values():
        table.add_column(title, overflow="fold")
    for line in told:
        table.add_row(*(escape(str(line[name]) or "-") for name in columns))
    Console(highlight=False).print(table)


def _payload(sample: Path, mime: str) -> dict[str, Any]:
    where = "standard input" if str(sample) == "-" else str(sample)
    try:
        text = sys.stdin.read() if str(sample) == "-" else sample.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("the sample cannot be read as UTF-8 text", where=where, hint=str(error)) from None
    if mime != "application/json" and (mime or sample.suffix != ".json"):
        return {"content": [{"type": "text", "text": text}]}
    try:
        return {"structuredContent": json.loads(text)}
    except ValueError as error:
        raise ConfigError("the sample is not JSON", where=where, hint="Give --mime text/plain.") from error


def _masking_of(tool: str, folder: Path) -> Masking:
    from mcpgw.cli.common import load_targets, open_folder  # lazy: needs no other room

    # Tools come first, so the last word is theirs where a prompt has the same name.
    found = {target.name: target.masking for target in reversed(load_targets(open_folder(folder)))}
    if tool not in found:
        raise ConfigError(f"nothing called {tool!r} was accepted", where="--tool", hint="`mcpgw catalog list` names them.")
    return found[tool]


def _config(folder: Path, model: str) -> RedactionConfig:
    config = RedactionConfig()
    if (folder / CONFIG_FILE).exists():
        from mcpgw.app import redacting  # lazy: measuring without a folder
        from mcpgw.cli.common import open_folder  # lazy: needs no other room

        config = redacting.config(open_folder(folder))
    return config.replace(model=model) if model else config


async def _redact(config: RedactionConfig, masking: Masking, manifest: bool, source: TextIO, sink: TextIO) -> None:
    redactor = PresidioRedactor(config)
    await redactor.start()
    try:
        for row in _rows(source):
            text, masked = await redactor.clean_text(row["text"], masking)
            out: dict[str, Any] = {"id": row["id"], "text": text}
            if manifest:
                out["masked"] = [
                    {"entity": line.entity, "path": line.path, "detector": line.detector, "count": line.count}
                    for line in masked.masked
                ]
            sink.write(json.dumps(out) + "\n")
    finally:
        await redactor.aclose()


def _rows(source: TextIO) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("text"), str) or "id" not in row:
            hint = 'Each line is like {"id": "1", "text": "…", "mime": "text/plain"}.'
            raise ConfigError("this is not a row with an id and a text", where=f"standard input:{number}", hint=hint)
        yield row
