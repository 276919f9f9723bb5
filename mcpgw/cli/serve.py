"""`mcpgw serve` and `mcpgw stdio`: the gateway itself.

Importing all of it takes as long as loading the language model. So this module imports little, and starts the redactor's
workers before it imports `running`, which needs the rest.
"""

import sys
from pathlib import Path
from typing import Annotated

import anyio
import typer

from mcpgw.app import redacting
from mcpgw.cli.stderr import log_to_stderr
from mcpgw.settings import Settings, load

Folder = Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, not only what is wrong.")]


def serve(folder: Folder = Path(), verbose: Verbose = False) -> None:
    """Run the gateway over HTTP: /mcp (Streamable HTTP), /sse (legacy), /healthz, /readyz, and the console at /."""
    settings = load(folder)
    log_to_stderr(verbose=verbose)
    anyio.run(_serve, settings, backend_options={"use_uvloop": sys.platform != "win32"})


async def _serve(settings: Settings) -> None:
    async with redacting.redactor(settings) as redactor:
        from mcpgw.cli import running  # lazy: the model loads meanwhile

        await running.serve(settings, redactor)


def stdio(folder: Folder = Path(), verbose: Verbose = False) -> None:
    """Run the gateway over standard input and output, as the caller of the key in MCPGW_API_KEY."""
    settings = load(folder)
    log_to_stderr(verbose=verbose)
    anyio.run(_stdio, settings, backend_options={"use_uvloop": sys.platform != "win32"})


async def _stdio(settings: Settings) -> None:
    async with redacting.redactor(settings) as redactor:
        from mcpgw.cli import running  # lazy: the model loads meanwhile

        await running.stdio(settings, redactor)
