"""`mcpgw keys`: API keys of services, agents and people."""

import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from mcpgw.app.convert import API_KEYS
from mcpgw.cli.common import open_folder, record_changes, system_user
from mcpgw.cli.terminal import terminal
from mcpgw.core.model import IdentityKind
from mcpgw.identity.administration import create_key, revoke_key
from mcpgw.identity.api_keys import ApiKeys
from mcpgw.identity.key_record import KeyRecord, new_key, parse_expiry
from mcpgw.settings import Settings

keys = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")]


@keys.command()
def create(
    subject: Annotated[str, typer.Option(help="Who calls with this key: the name that rules and records use.")],
    kind: Annotated[IdentityKind, typer.Option(help="What kind of caller it is.")] = IdentityKind.SERVICE,
    group: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A group of the caller; may be repeated.")] = None,
    expires: Annotated[str, typer.Option(help="90d, 12h, 2w, 1y, a date such as 2027-01-01, or never.")] = "90d",
    acts_for: Annotated[str, typer.Option(help="The person an agent works for: a subject, or https://issuer#subject.")] = "",
    folder: Folder = Path(),
) -> None:
    """Make a key and print it, this once: only its hash is stored."""
    settings = open_folder(folder)
    now = time.time()
    made = new_key(
        subject=subject,
        kind=kind,
        groups=tuple(group or ()),
        expires=parse_expiry(expires, now),
        acts_for=acts_for,
        now=int(now),
    )
    create_key(_store(settings), made, partial(record_changes, settings), actor=system_user())
    print(made.text)
    print(f"This is the key {made.record.id} of {subject}, {_until(made.record)}. It is not shown again.", file=sys.stderr)
    print("Clients send it as `Authorization: Bearer …`; for stdio it stands in MCPGW_API_KEY.", file=sys.stderr)


@keys.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of a table.")] = False,
    folder: Folder = Path(),
) -> None:
    """List all keys, without their secrets; revoked and expired ones too."""
    records = _store(open_folder(folder)).records()
    if as_json:
        for record in records:
            print(json.dumps(record.facts(), ensure_ascii=False))
    else:
        terminal().print(_table(records, time.time()))


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `mcpgw keys list` shows it.")],
    folder: Folder = Path(),
) -> None:
    """Revoke a key for good. Running gateways refuse it from their next request on."""
    settings = open_folder(folder)
    revoked = revoke_key(_store(settings), key_id, partial(record_changes, settings), actor=system_user())
    print(f"The key {revoked.id} of {revoked.subject} is revoked.", file=sys.stderr)


def _store(settings: Settings) -> ApiKeys:
    return ApiKeys(settings.keys_dir / API_KEYS)


def _table(records: Sequence[KeyRecord], now: float) -> Table:
    table = Table(
        Column("id", no_wrap=True, min_width=12),
        "subject",
        "kind",
        "groups",
        "acts for",
        "created",
        "state",
        box=None,
        header_style="bold",
    )
    for record in records:
        row = (record.id, record.subject, record.kind.value, ", ".join(record.groups), record.acts_for, _day(record.created))
        table.add_row(*(Text(cell) for cell in (*row, _state(record, now))))  # Text: names are no markup
    return table


def _state(record: KeyRecord, now: float) -> str:
    if record.revoked:
        return f"revoked {_day(record.revoked)}"
    return f"expired {_day(record.expires)}" if record.expired(now) else _until(record)


def _until(record: KeyRecord) -> str:
    return f"valid until {_day(record.expires)}" if record.expires else "valid for ever"


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
