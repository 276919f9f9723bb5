"""`mcpgw ledger`: the database that the log is kept in."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from mcpgw.app import convert
from mcpgw.cli.common import open_folder
from mcpgw.ledger.store import Database, SchemaStatus
from mcpgw.settings import ledger_at

ledger = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")]
Url = Annotated[
    str,
    typer.Option(
        "--url",
        help="Another PostgreSQL address than ledger.url, for one the owner's: postgresql://mcpgw_owner:${env:NAME}@HOST/DATABASE.",
    ),
]


@ledger.command()
def migrate(folder: Folder = Path(), url: Url = "") -> None:
    """Bring the schema up to date. On PostgreSQL as its owner, while gateways run; SQLite also does it when it is opened."""
    print(_sentence(_database(folder, url).migrate()))


@ledger.command()
def status(folder: Folder = Path(), url: Url = "") -> None:
    """Say how far the schema is and how many records there are. Exit code 1 if something is to be done first."""
    database = _database(folder, url)
    found = database.schema_status()
    print(_sentence(found))
    if found.version < found.known or found.oldest > found.known:
        raise typer.Exit(1)
    with closing(database.connect_read_only()) as store:
        checkpoints = store.newest_checkpoint()
        print(f"{store.size()} records; the newest checkpoint covers {checkpoints[0].size if checkpoints else 0}.")


def _database(folder: Path, url: str) -> Database:
    settings = open_folder(folder)
    return convert.database(settings, ledger_at(url, "--url") if url else settings.ledger)


def _sentence(found: SchemaStatus) -> str:
    if found.version < found.known:
        return f"The schema is {found.version}, and this mcpgw needs {found.known}: run `mcpgw ledger migrate`."
    if found.oldest > found.known:
        return f"The schema is {found.version} and needs an mcpgw that knows {found.oldest}; this one knows {found.known}."
    return f"The schema is {found.version}; this mcpgw knows {found.known}."
