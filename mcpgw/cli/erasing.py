"""`mcpgw shred` and `mcpgw retention`: what is erased, by people and by time, and what may not be."""

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import anyio
import typer

from mcpgw.app.retention import retention_of
from mcpgw.cli.common import open_folder, open_ledger, system_user
from mcpgw.cli.log import parse_end, parse_time
from mcpgw.core.errors import ConfigError
from mcpgw.core.visible import visible
from mcpgw.ledger.holds import EVER_NS, LegalHold
from mcpgw.ledger.ids import new_id
from mcpgw.ledger.shredding import Asked, Tally

MAX_REASON = 500
"""Characters: it stands in a record for good."""

retention = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")]
Who = Annotated[str, typer.Option(help="A subject or a principal (issuer#subject), to the letter.")]
Session = Annotated[str, typer.Option(help="A session's id, as records carry it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def shred(
    reason: Annotated[str, typer.Option(help="Why. It is recorded for good: name a case, and no person's data.")],
    who: Who = "",
    session: Session = "",
    event: Annotated[str, typer.Option(help="A record's id; of a call, all of that call is meant.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
    folder: Folder = Path(),
) -> None:
    """Erase what was said: payloads, clean and sealed, with their salts. Records stay, and one more says what was erased.

    Nothing is erased where a legal hold covers some of it, or some is still in use. Exit code 1 then.
    """
    asked = Asked(who=who, session=session, event_id=event)
    if len(asked.facts()) != 1:
        raise ConfigError("say whose: --who, --session or --event, and one of them alone", where="mcpgw shred")
    anyio.run(_shred, folder, asked, checked_reason(reason), yes, as_json)


@retention.command()
def hold(
    reason: Annotated[str, typer.Option(help="Why, as the number of a case. It is recorded.")],
    who: Who = "",
    session: Session = "",
    since: Annotated[str, typer.Option("--from", help="2026-11-20, a moment, or an age as 3d.")] = "",
    until: Annotated[
        str, typer.Option("--to", help="The first moment that is not held any more; a day counts to its end.")
    ] = "",
    folder: Folder = Path(),
) -> None:
    """Hold what fits all that is given: nobody erases it, and no sweep, until it is released."""
    now = time.time()
    held = LegalHold(
        id=new_id(),
        who=who,
        session=session,
        from_ns=parse_time(since, now, "--from") if since else 0,
        until_ns=parse_end(until, now, "--to") if until else EVER_NS,
        reason=checked_reason(reason),
    )
    if not (who or session or since or until):
        raise ConfigError("say what is to be held: --who, --session, --from or --to", where="mcpgw retention hold")
    if held.from_ns >= held.until_ns:
        raise ConfigError("no time is held: --to is not after --from", where="--to")
    seq = anyio.run(_hold, folder, held)
    print(f"Hold {held.id} stands, says record {seq}. What was erased before is gone; nothing more of it goes.")


@retention.command()
def release(
    hold_id: Annotated[str, typer.Argument(metavar="HOLD", help="Its id, as `mcpgw retention list` shows it.")],
    reason: Annotated[str, typer.Option(help="Why. It is recorded.")],
    folder: Folder = Path(),
) -> None:
    """End a hold. What it held is erased by the next sweep if its time is over."""
    if not anyio.run(_release, folder, hold_id, checked_reason(reason)):
        raise ConfigError("no such hold stands", where=visible(hold_id), hint="`mcpgw retention list` shows those that do.")
    print(f"Hold {hold_id} is released.")


@retention.command("list")
def listed(as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False, folder: Folder = Path()) -> None:
    """List the holds that stand, and how long payloads are kept."""
    holds = anyio.run(_holds, folder)
    for one in holds:
        print(json.dumps(asdict(one)) if as_json else f"{one.id}  {_covered(one)}: {visible(one.reason)} (record {one.seq})")
    if not as_json:
        kept = open_folder(folder).retention
        print("" if holds else "No hold stands.")
        print(f"Clean payloads are kept for {_days(kept.clean)}, sealed ones for {_days(kept.raw)}, records for good.")


@retention.command()
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be erased.")] = False,
    as_json: AsJson = False,
    folder: Folder = Path(),
) -> None:
    """Erase now what gateways erase by themselves once a day: payloads whose time is over."""
    tally = anyio.run(_sweep, folder, dry_run)
    _tell(tally, "would be erased" if dry_run else "are erased", as_json=as_json)


def checked_reason(reason: str) -> str:
    """Return the reason if it can be recorded.

    Raises:
        ConfigError: it is empty, or too long.
    """
    if not reason.strip() or len(reason) > MAX_REASON:
        raise ConfigError(f"say why in at most {MAX_REASON} characters", where="--reason")
    return reason


async def _shred(folder: Path, asked: Asked, reason: str, yes: bool, as_json: bool) -> None:
    async with open_ledger(open_folder(folder)) as ledger:
        tally = await ledger.eraser.shred(asked, reason, system_user(), dry_run=True)
        if tally.count and not (tally.held or tally.in_use):
            if not yes:
                question = f"Erase {tally.count} payloads ({_slots(tally)}) for good?"
                await anyio.to_thread.run_sync(lambda: typer.confirm(question, abort=True, err=True))
            tally = await ledger.eraser.shred(asked, reason, system_user())
    _tell(tally, "are erased", as_json=as_json)
    if tally.held or tally.in_use:
        raise typer.Exit(1)


async def _hold(folder: Path, held: LegalHold) -> int:
    async with open_ledger(open_folder(folder)) as ledger:
        return await ledger.eraser.hold(held, system_user())


async def _release(folder: Path, hold_id: str, reason: str) -> bool:
    async with open_ledger(open_folder(folder)) as ledger:
        return await ledger.eraser.release(hold_id, reason, system_user())


async def _holds(folder: Path) -> list[LegalHold]:
    async with open_ledger(open_folder(folder)) as ledger:
        return [*await ledger.eraser.holds()]


async def _sweep(folder: Path, dry_run: bool) -> Tally:
    settings = open_folder(folder)
    async with open_ledger(settings) as ledger:
        return await ledger.eraser.sweep(retention_of(settings), dry_run=dry_run)


def _tell(tally: Tally, what: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(tally)))
        return
    done = tally.records or "would" in what
    erased = f"{tally.count} payloads {what}" if done and tally.count else f"Nothing {what.replace('are', 'is')}"
    named = f", says record {', '.join(map(str, tally.records))}" if tally.records else ""
    print(f"{erased}{named}." + (f" ({_slots(tally)})" if tally.count and done else ""))
    for hold_id, count in tally.held.items():
        print(f"{count} payloads are held by {hold_id}.")
    if tally.in_use:
        print(f"{tally.in_use} payloads are of calls under way, or of approvals that wait.")
    if tally.records and not tally.scrubbed:
        print(
            "Bytes of them are still in the database's files, because somebody reads it. A gateway that runs removes them soon."
        )


def _slots(tally: Tally) -> str:
    return ", ".join(f"{count} {slot}" for slot, count in sorted(tally.payloads.items()))


def _covered(one: LegalHold) -> str:
    parts = [f"who {visible(one.who)}"] if one.who else []
    parts += [f"session {visible(one.session)}"] if one.session else []
    parts += [f"from {_moment(one.from_ns)}"] if one.from_ns else []
    parts += [f"to {_moment(one.until_ns)}"] if one.until_ns != EVER_NS else []
    return ", ".join(parts)


def _moment(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, tz=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _days(seconds: float) -> str:
    return f"{seconds / 86_400:g} days"
