"""`mcpgw witness`: a C2SP witness for those who audit a log, on a machine that the log's operator cannot reach."""

import signal
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import anyio
import typer

from mcpgw.cli.stderr import log_to_stderr
from mcpgw.core.visible import visible
from mcpgw.ledger.witness.folder import MEMORY, create_folder, load_config, load_cosigner
from mcpgw.ledger.witness.judge import Witness
from mcpgw.ledger.witness.memory import Memory
from mcpgw.ledger.witness.server import serving

witness = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Option("--dir", "-C", help="The witness's working folder.")]


@witness.command()
def init(
    name: Annotated[str, typer.Option(help="The witness's name in its signatures: a host and path that is yours.")],
    log: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Verifier key of a log: the first line of its keys/ledger.pub.")
    ] = None,
    folder: Folder = Path(),
) -> None:
    """Make a witness: its key, its configuration and an empty memory. Prints its verifier key."""
    print(create_folder(folder, name, log or []).vkey())


@witness.command()
def key(folder: Folder = Path()) -> None:
    """Print the witness's verifier key, for the gateways that submit to it and for whoever is to believe it."""
    print(load_cosigner(folder).verifier.vkey())


@witness.command()
def show(folder: Folder = Path()) -> None:
    """Print what was cosigned last of each log, and what was refused. Exits with 1 where anything was refused."""
    refused = 0
    with closing(Memory(folder / MEMORY)) as memory:
        for origin in sorted({log.name for log in load_config(folder).logs}):
            seen = [f"{one.checkpoint.size} records" for one in memory.seen(origin)] or ["nothing yet"]
            print(f"{visible(origin)}: {seen[0]}")
            for one in memory.refused(origin):
                refused += 1
                when = datetime.fromtimestamp(one.time_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
                print(f"  refused {when}, {one.checkpoint.size} records: {one.why}\n{visible(one.note)}")
    raise typer.Exit(1 if refused else 0)


@witness.command()
def serve(
    folder: Folder = Path(),
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, not only what is wrong.")] = False,
) -> None:
    """Answer to add-checkpoint, and show the newest cosigned checkpoints, until a signal."""
    log_to_stderr(verbose=verbose)
    config = load_config(folder)
    with closing(Memory(folder / MEMORY)) as memory:
        one = Witness(load_cosigner(folder), config.logs, memory)

        async def run() -> None:
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async with serving(one, config) as address:
                    print(f"mcpgw: witnessing {len({log.name for log in config.logs})} logs at {address}", file=sys.stderr)
                    async for _ in signals:
                        return

        anyio.run(run)
