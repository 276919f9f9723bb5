"""`mcpgw approvals`: see held calls, and decide on them as the person whose credential is in the environment."""

import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio
import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from mcpgw.approval import Desk, Sheet
from mcpgw.approval.answers import clock_time
from mcpgw.approval.desk import MAX_COMMENT
from mcpgw.approval.standing import tally
from mcpgw.cli.common import acting_identity, open_folder, open_gateway_store
from mcpgw.core.model import Identity, Verdict
from mcpgw.core.visible import visible
from mcpgw.identity.local import FILE_VARIABLE, KEY_VARIABLE
from mcpgw.ports import Approval, ApprovalState

approvals = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")]
KeyFile = Annotated[Path | None, typer.Option(help=f"File with your own API key; else {KEY_VARIABLE} in the environment.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ApprovalId = Annotated[str, typer.Argument(metavar="APR_ID", help="The approval's id, as `list` shows it.")]
Comment = Annotated[str, typer.Option("--comment", "-m", help="Why; kept with your vote. The caller does not see it.")]

OPEN = (ApprovalState.PENDING, ApprovalState.APPROVED)

T = TypeVar("T")


# --- the verbs -----------------------------------------------------------------------------------------------------------


@approvals.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Ended ones too, not only those that are open.")] = False,
    as_json: AsJson = False,
    key_file: KeyFile = None,
    folder: Folder = Path(),
) -> None:
    """List the held calls that you may decide on, or asked for yourself."""
    found = _as_person(folder, key_file, lambda desk, person: desk.docket(person, () if everything else OPEN))
    now_ns = time.time_ns()
    if as_json:
        for approval in found:
            print(json.dumps(as_facts(approval, now_ns)))
    else:
        _console().print(as_table(found, now_ns))


@approvals.command()
def show(approval_id: ApprovalId, as_json: AsJson = False, key_file: KeyFile = None, folder: Folder = Path()) -> None:
    """Show one held call with its exact arguments. Reading them is recorded."""
    sheet = _as_person(folder, key_file, lambda desk, person: desk.show(approval_id, person))
    if as_json:
        facts = as_facts(sheet.approval, time.time_ns())
        print(json.dumps({**facts, "exact": sheet.exact, "arguments": json.loads(sheet.arguments), "shown": sheet.commitment}))
    else:
        print_sheet(sheet, _console())


@approvals.command()
def approve(
    approval_id: ApprovalId,
    comment: Comment = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; the arguments are printed all the same.")] = False,
    key_file: KeyFile = None,
    folder: Folder = Path(),
) -> None:
    """Look at what will run, then approve it."""
    _check_length(comment)
    sheet = _as_person(folder, key_file, lambda desk, person: desk.show(approval_id, person))
    print_sheet(sheet, _console())
    if not yes:
        typer.confirm("Approve exactly this call?", abort=True)
    # The store is closed while the person thinks; the commitment ties the vote to what was on the screen.
    _decide(folder, key_file, approval_id, Verdict.APPROVE, comment, sheet.commitment)


@approvals.command()
def deny(approval_id: ApprovalId, comment: Comment = "", key_file: KeyFile = None, folder: Folder = Path()) -> None:
    """Deny a held call: it will not run."""
    _check_length(comment)
    _decide(folder, key_file, approval_id, Verdict.DENY, comment, "")


# --- how they are shown --------------------------------------------------------------------------------------------------


def as_facts(approval: Approval, now_ns: int) -> dict[str, Any]:
    """Return what a program may want to know of an approval; the arguments are the clean ones."""
    return {
        "id": approval.id,
        "state": approval.state.value,
        "tool": approval.target,
        "requester": approval.requester,
        "actors": list(approval.actors),
        "rule_ids": list(approval.rule_ids),
        "reason": approval.reason,
        "approvers": list(approval.approvers),
        "quorum": approval.quorum,
        "votes": [{"voter": vote.voter, "verdict": vote.verdict, "comment": vote.comment} for vote in approval.votes],
        "opened": clock_time(approval.opened_ns),
        "deadline": clock_time(approval.deadline_ns),
        "waiting_s": max(0, (now_ns - approval.opened_ns) // 1_000_000_000),
        "digest": approval.digest,
        "clean_arguments": approval.facts.get("arguments", {}),
    }


def as_table(found: Sequence[Approval], now_ns: int) -> Table:
    """Lay approvals out, one per row."""
    table = Table(
        Column("id", no_wrap=True), "state", "waiting", "deadline", "tool", "requester", "rule", box=None, header_style="bold"
    )
    for approval in found:
        state = tally(approval) if approval.state is ApprovalState.PENDING else approval.state.value
        waiting, left = span(now_ns - approval.opened_ns), span(approval.deadline_ns - now_ns)
        deadline = f"in {left}" if approval.deadline_ns > now_ns else "passed"
        row = (approval.id, state, waiting, deadline, approval.target, approval.requester, ", ".join(approval.rule_ids))
        table.add_row(*(Text(visible(cell), overflow="fold") for cell in row))  # Text: names are no markup
    return table


def print_sheet(sheet: Sheet, console: Console) -> None:
    """Print an approval for a person who is about to decide: who, what, why, and then the arguments to the letter."""
    approval = sheet.approval
    via = f" through {', '.join(approval.actors)}" if approval.actors else ""
    votes = [f"{vote.voter}: {vote.verdict}" + (f" ({vote.comment})" if vote.comment else "") for vote in approval.votes]
    lines = (
        ("approval", f"{approval.id}, {approval.state.value}"),
        ("tool", approval.target),
        ("requester", approval.requester + via),
        ("reason", f"{approval.reason} [{', '.join(approval.rule_ids)}]"),
        ("approvers", f"{', '.join(approval.approvers)}; {tally(approval)}"),
        *(("vote", vote) for vote in votes),
        ("deadline", clock_time(approval.deadline_ns)),
        ("digest", approval.digest),
    )
    for name, value in lines:
        console.print(Text.assemble((f"{name:>10}  ", "bold"), visible(value)))
    title = (
        "The arguments, exactly as they will run:" if sheet.exact else "The arguments as recorded; the exact ones are erased:"
    )
    console.print(Text(f"\n{title}", style="bold"))
    console.print(Text(sheet.arguments))
    if sheet.oddities:
        console.print(Text("\nEscaped above, because they hide, turn the line around, or look like others:", style="bold red"))
        for oddity in sheet.oddities:
            console.print(Text(f"  {oddity}"))


def span(nanoseconds: int) -> str:
    """Return a length of time for people: `45s`, `12m`, `3h 05m`, `2d 4h`; nothing below zero."""
    seconds = max(0, nanoseconds // 1_000_000_000)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3_600:
        return f"{seconds // 60}m"
    if seconds < 86_400:
        return f"{seconds // 3_600}h {seconds % 3_600 // 60:02}m"
    return f"{seconds // 86_400}d {seconds % 86_400 // 3_600}h"


# --- inside --------------------------------------------------------------------------------------------------------------


def _decide(folder: Path, key_file: Path | None, approval_id: str, verdict: Verdict, comment: str, shown: str) -> None:
    def vote(desk: Desk, person: Identity) -> Awaitable[Approval]:
        return desk.vote(approval_id, person, verdict, comment, shown=shown)

    approval = _as_person(folder, key_file, vote)
    _console().print(Text(f"{approval.id}: your verdict is recorded; it is {approval.state.value}, {tally(approval)}."))


def _as_person(folder: Path, key_file: Path | None, work: Callable[[Desk, Identity], Awaitable[T]]) -> T:
    """Do one thing at the desk of that folder, as whoever the credential belongs to."""
    if key_file is not None:  # the option is said for this run, so it outweighs the environment
        os.environ.pop(KEY_VARIABLE, None)
        os.environ[FILE_VARIABLE] = str(key_file)

    async def act() -> T:
        person = await acting_identity(open_folder(folder))
        async with open_gateway_store(folder) as store:
            return await work(store.desk, person)

    return anyio.run(act)


def _check_length(comment: str) -> None:
    if len(comment) > MAX_COMMENT:
        raise typer.BadParameter(f"{len(comment)} characters; {MAX_COMMENT} are the most", param_hint="--comment")


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
