"""`mcpgw ledger`: the database that the log is kept in."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mcpgw.app import convert
from mcpgw.cli.common import open_folder, record_context, system_user
from mcpgw.cli.verify import Examination, as_text, progress_bar
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.visible import visible
from mcpgw.ledger.backup import back_up
from mcpgw.ledger.backup import restore as restored
from mcpgw.ledger.keys import PUBLIC, load_verifiers
from mcpgw.ledger.projections import compare
from mcpgw.ledger.projections import rebuild as rebuilt
from mcpgw.ledger.rotation import is_pending
from mcpgw.ledger.rotation import rotate as rotate_key
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
    keys_dir = open_folder(folder).keys_dir
    if not (keys_dir / PUBLIC).exists():
        return  # as where the schema's owner works, who needs no keys
    *retired, current = load_verifiers(keys_dir)
    print(f"The log is signed with {visible(current.name)}+{current.key_id.hex()}.")
    for one in retired:
        print(f"Key {one.key_id.hex()} was retired by record {one.sizes.stop - 2}.")
    if is_pending(keys_dir):
        print("A rotation was begun and cut off. The next gateway that starts, or `mcpgw ledger rotate`, settles it.")


@ledger.command()
def rotate(folder: Folder = Path()) -> None:
    """Give the log a new signing key, while gateways go on. What the old key signed verifies as before."""
    settings = open_folder(folder)
    origin, keys_dir = settings.ledger.origin, settings.keys_dir
    convert.make_data_folder(settings)
    rotated = rotate_key(
        _database(folder, ""),
        keys_dir,
        origin,
        actor=system_user(),
        context=record_context(settings),
        quantum=settings.ledger.post_quantum,
    )
    old, new = rotated.retired.key_id.hex(), rotated.current.key_id.hex()
    print(f"Record {rotated.seq} retires key {old}; from now on the log is signed with {new}.")
    print(f"Give {keys_dir / PUBLIC} anew to whoever verifies, and make a backup of the log and of keys/ now.")


@ledger.command()
def backup(file: Annotated[Path, typer.Argument(help="A new file.")], folder: Folder = Path()) -> None:
    """Write the whole log, as it is at this moment, to a new file, while gateways go on. `mcpgw ledger restore` reads it."""
    with closing(_database(folder, "").connect_read_only()) as store, progress_bar("backing up", _console()) as progress:
        count = back_up(store, file, progress)
    print(f"{count} records are in {file}. The keys are not: keep a copy of keys/ in another place.")


@ledger.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `mcpgw ledger backup` wrote, on either kind of database.")],
    folder: Folder = Path(),
) -> None:
    """Write a backup into an empty place, and verify it there. Exit code 1 if the restored log does not verify."""
    settings = open_folder(folder)
    database = _database(folder, "")
    convert.make_data_folder(settings)
    verifiers = load_verifiers(settings.keys_dir)
    with closing(database.connect()) as store, progress_bar("restoring", _console()) as progress:
        restored(store, file, progress)
    report = Examination(database, verifiers, (), _console()).of()
    print(as_text(report).plain.rstrip())
    if not report.ok:
        print("Do not start a gateway on it: what was backed up, or the file, was altered.")
        raise typer.Exit(1)
    print(
        f"Restored: {report.records} records. What was recorded after the backup is not in it, so this is a rollback. Before a "
        "gateway starts, run `mcpgw verify --against` with the newest checkpoint that was kept elsewhere: it says how many "
        "records are gone. Whether to go on without them is for people to decide, and to write down."
    )


@ledger.command()
def rebuild(
    folder: Folder = Path(),
    check: Annotated[bool, typer.Option("--check", help="Only compare. Exit code 1 if something differs.")] = False,
) -> None:
    """Make approvals, open calls and marks again from the records, while gateways go on. No record is ever changed."""
    database = _database(folder, "")
    connect = database.connect_read_only if check else database.connect
    with closing(connect()) as store, progress_bar("reading", _console()) as progress:
        try:
            wrong = compare(store, progress) if check else rebuilt(store, progress)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            hint = "Run `mcpgw verify`: it says which. Nothing was changed."
            raise LedgerUnavailable(f"a record cannot be read: {type(error).__name__}", hint=hint) from error
    for sentence in wrong:
        print(visible(sentence))
    if not wrong:
        print("Approvals, open calls and marks are what the records say.")
    elif check:
        print(
            "`mcpgw ledger rebuild` puts this right. Exact arguments that are lost stay lost: such a hold can only be denied."
        )
        raise typer.Exit(1)
    else:
        print("Put right. Somebody changed it, or a disk did: run `mcpgw verify` as well.")


def _console() -> Console:
    return Console(stderr=True)


def _database(folder: Path, url: str) -> Database:
    settings = open_folder(folder)
    return convert.database(settings, ledger_at(url, "--url") if url else settings.ledger)


def _sentence(found: SchemaStatus) -> str:
    if found.version < found.known:
        return f"The schema is {found.version}, and this mcpgw needs {found.known}: run `mcpgw ledger migrate`."
    if found.oldest > found.known:
        return f"The schema is {found.version} and needs an mcpgw that knows {found.oldest}; this one knows {found.known}."
    return f"The schema is {found.version}; this mcpgw knows {found.known}."
