"""`mcpgw redact`: what the gateway would let through, for measuring on labelled data."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TextIO

import anyio
import typer

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import Masking
from mcpgw.redaction import PresidioRedactor, RedactionConfig
from mcpgw.settings import CONFIG_FILE


def redact(
    folder: Annotated[
        Path, typer.Option("--folder", "--dir", "-C", help="A working folder; its settings apply if it has any.")
    ] = Path(),
    model: Annotated[str, typer.Option(help="Another language model than the settings', or none.")] = "",
    profile: Annotated[str, typer.Option(help="The redaction profile to apply.")] = "default",
    column: Annotated[list[str] | None, typer.Option(help="A key or column to mask; may be repeated.")] = None,
    path: Annotated[list[str] | None, typer.Option(help="A JSON path to mask, like rows[*].ssn; may be repeated.")] = None,
    manifest: Annotated[bool, typer.Option(help="Add to each row what was masked where, by which detector.")] = False,
) -> None:
    """Read rows {"id", "text", "mime"} as JSON lines from standard input; write {"id", "text"} as a client would get them."""
    config = _config(folder, model)
    masking = Masking(profile=profile, columns=tuple(column or ()), paths=tuple(path or ()))
    anyio.run(_redact, config, masking, manifest, sys.stdin, sys.stdout)


def _config(folder: Path, model: str) -> RedactionConfig:
    config = RedactionConfig()
    if (folder / CONFIG_FILE).exists():
        from mcpgw.app import convert  # lazy: measuring without a folder
        from mcpgw.cli.common import open_folder  # lazy: needs no other room

        config = convert.redaction(open_folder(folder))
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
