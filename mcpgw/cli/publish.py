"""`mcpgw publish`: the log as static files, for a web server or a medium."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from mcpgw.app import convert
from mcpgw.cli.common import open_folder
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.keys import PUBLIC, read_verifiers
from mcpgw.ledger.publish import publish as published


def publish(
    directory: Annotated[Path, typer.Argument(help="Where the files go: empty, or published into before.")],
    folder: Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")] = Path(),
    hashes_only: Annotated[
        bool, typer.Option("--hashes-only", help="Without the records: they name people, tools, decisions and reasons.")
    ] = False,
) -> None:
    """Write the log as C2SP tlog-tiles files, adding to those of before. Records hold no payloads, but they name people."""
    settings = open_folder(folder)
    verifiers = read_verifiers(settings.keys_dir / PUBLIC)
    with closing(convert.database(settings).connect_read_only()) as store, store.snapshot():
        for newest in store.newest_checkpoint():
            note = convert.countersign(settings, newest.note)
            written = published(store, directory, verifiers, note, entries=not hashes_only)
            print(f"{written} files written; {directory} covers {newest.size} records.")
            return
    raise LedgerUnavailable("the log has no checkpoint yet: nothing was recorded")
