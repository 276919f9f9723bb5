"""`mcpgw notify`: how the notifiers stand, and a message to try one."""

import os
from pathlib import Path
from typing import Annotated

import anyio
import typer

from mcpgw.app import outlets
from mcpgw.cli.common import open_folder
from mcpgw.cli.siem import show_status
from mcpgw.core.errors import ConfigError
from mcpgw.settings import Settings
from mcpgw.sinks.config import NoticeConfig
from mcpgw.sinks.notice import trial_notice
from mcpgw.sinks.open import open_receiver

notify = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")]


@notify.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of a table.")] = False,
    folder: Folder = Path(),
) -> None:
    """Show how far each notifier has come, and why one stands still. Exits with 1 where one has a problem."""
    settings = open_folder(folder)
    show_status(settings, outlets.notifiers(settings, os.environ), as_json=as_json)


@notify.command()
def test(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The notifier's name in config.toml.")], folder: Folder = Path()
) -> None:
    """Send one message that says of itself that it is a test."""
    settings = open_folder(folder)
    notifier = _notifier(settings, name)
    message = trial_notice(settings.ledger.origin)

    async def send() -> None:
        async with open_receiver(notifier) as receiver:
            await receiver.send([message])

    anyio.run(send)
    print(f"{name} has taken the message.")


def _notifier(settings: Settings, name: str) -> NoticeConfig:
    found = dict(zip((entry.name for entry in settings.notify), outlets.notifiers(settings, os.environ), strict=True))
    if name not in found:
        known = ", ".join(found) or "none"
        raise ConfigError(f"there is no notifier {name!r}; there is: {known}", where=str(settings.config_file))
    return found[name]
