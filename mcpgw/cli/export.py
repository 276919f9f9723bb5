"""`mcpgw export`: an evidence package, and the record that it was given away."""

import sys
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import anyio
import typer

from mcpgw import __version__
from mcpgw.app import convert
from mcpgw.cli.common import open_folder, open_ledger, system_user, write_new
from mcpgw.cli.log import parse_end, parse_time
from mcpgw.cli.verify import read_note
from mcpgw.core.entries import Event
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.ledger.checkpoint import InvalidNote
from mcpgw.ledger.evidence.check import check
from mcpgw.ledger.evidence.collect import Asked
from mcpgw.ledger.evidence.export import Package, Purpose
from mcpgw.ledger.evidence.export import export as exported
from mcpgw.ledger.keys import PUBLIC, load_keys, load_verifiers
from mcpgw.settings import Settings

_OF_THE_LOG = frozenset({"session", "summary", "approval", "change"})
"""Problems that a package has because the log has them."""
_MAX_REASON = 500
"""Characters: it stands in a record, and on the first page of the package."""


def export(
    reason: Annotated[str, typer.Option(help="Why it is asked for. It is recorded, and stands in the package.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new file.")] = Path("evidence.zip"),
    since: Annotated[str, typer.Option("--from", help="2026-11-20T00:00Z, or an age as 3d; local time unless it says.")] = "",
    until: Annotated[
        str, typer.Option("--to", help="The first moment that is not asked for any more, as --from; a day counts to its end.")
    ] = "",
    who: Annotated[str, typer.Option(help="A subject, a principal (issuer#subject), or a glob over principals.")] = "",
    session: Annotated[str, typer.Option(help="A session's id.")] = "",
    server: Annotated[str, typer.Option(help="An upstream server's name.")] = "",
    tool: Annotated[str, typer.Option(help="A glob over published names: bank__*")] = "",
    anchor: Annotated[
        list[Path] | None,
        typer.Option(
            "--anchor",
            metavar="FILE",
            help="A checkpoint that was kept elsewhere, to prove that the log continues it. Repeatable.",
            exists=True,
        ),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="With the raw payloads that the vault keeps, sealed as they are. This is recorded.")
    ] = False,
    folder: Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")] = Path(),
) -> None:
    """Write the records that are asked for, all that proves them, and what checks the proof. The export is recorded."""
    if not reason.strip() or len(reason) > _MAX_REASON:
        raise ConfigError(f"say in at most {_MAX_REASON} characters why the package is asked for", where="--reason")
    settings = open_folder(folder)
    now = time.time()
    asked = Asked(
        since_ns=parse_time(since, now, "--from") if since else 0,
        until_ns=parse_end(until, now, "--to") if until else 2**63 - 1,
        who=who,
        session=session,
        server=server,
        tool=tool,
        raw=raw,
    )
    if asked.since_ns >= asked.until_ns:
        raise ConfigError("no time is asked for: --to is not after --from", where="--to")
    if out.exists():
        raise ConfigError("there is such a file already; a package never replaces one", where=str(out))
    purpose = Purpose(requester=system_user(), reason=reason, gateway=__version__)
    package = checked(made(settings, asked, purpose, [read_note(path) for path in anchor or ()]))
    anyio.run(_recorded, settings, package, asked, purpose)  # before anything leaves
    write_new(out, package.data)
    print(f"{package.facts['records']} records are in {out}, SHA-256 {package.digest}.")
    if raw:
        print(f"{package.facts['raw']} raw payloads are in it, sealed: a private key of the vault opens them.")
    print(f"`mcpgw verify {out}` checks it; so do verify.py and verify.html, which are in it.")


def made(settings: Settings, asked: Asked, purpose: Purpose, anchors: list[str]) -> Package:
    """Return the package of the folder's log.

    Raises:
        ConfigError: an anchor is not one that this log continues; the keys are not there.
        LedgerUnavailable: the log cannot be read, or does not prove what it holds.
    """
    public = (settings.keys_dir / PUBLIC).read_text(encoding="ascii")
    signer = load_keys(settings.keys_dir, settings.ledger.origin).signer
    with closing(convert.database(settings).connect_read_only()) as store, store.snapshot():
        try:
            verifiers = load_verifiers(settings.keys_dir)
            return exported(store, asked, purpose, signer=signer, verifiers=verifiers, public=public, anchors=anchors)
        except InvalidNote as error:
            raise ConfigError(f"the checkpoint cannot be proved: {error}", where="--anchor") from error
        except ValueError as error:
            raise LedgerUnavailable(f"the log cannot be exported: {error}", hint="Run `mcpgw verify`.") from error


def checked(package: Package) -> Package:
    """Return the package once it was checked. What the log itself lacks is told, and given away: that it lacks it is evidence.

    Raises:
        LedgerUnavailable: the package does not prove what it holds.
    """
    problems = check(package.data).problems
    for kind, where in problems:
        if kind not in _OF_THE_LOG:
            raise LedgerUnavailable(f"the package would not hold ({kind}: {where})", hint="Run `mcpgw verify`: it says where.")
        print(f"Whoever verifies it will be told: {kind} {where}. `mcpgw verify` says more.", file=sys.stderr)
    return package


async def _recorded(settings: Settings, package: Package, asked: Asked, purpose: Purpose) -> None:
    query = {**asdict(asked), "since_ns": str(asked.since_ns), "until_ns": str(asked.until_ns)}
    facts = {
        "query": {name: value for name, value in query.items() if value},
        "reason": purpose.reason,
        "sha256": package.digest,
        "size": len(package.data),
        "records": package.facts["records"],
    }
    async with open_ledger(settings) as ledger:
        await ledger.append(Event(kind="evidence.exported", actor=purpose.requester, facts=facts))
