"""`mcpgw approvals`: see held calls, and decide on them as the person whose credential is in the environment."""

import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio
import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from mcpgw.approval import Desk
from mcpgw.approval.answers import clock_time
from mcpgw.approval.desk import MAX_COMMENT
from mcpgw.approval.people import is_requester
from mcpgw.approval.proposal import differences
from mcpgw.approval.standing import Standing
from mcpgw.approval.stats import GrantStats, Stats, stats_of
from mcpgw.cli.common import GatewayStore, acting_identity, calling_identity, open_folder, open_gateway_store
from mcpgw.core import strict_json
from mcpgw.core.entries import Happened, Verdict
from mcpgw.core.errors import GatewayError
from mcpgw.core.model import Change, Identity
from mcpgw.core.terms import as_data
from mcpgw.core.visible import visible
from mcpgw.identity.local import FILE_VARIABLE, KEY_VARIABLE
from mcpgw.ports import Approval, ApprovalState, CastVote, Remark, Sheet, Use
from mcpgw.settings import Settings

approvals = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")]
KeyFile = Annotated[Path | None, typer.Option(help=f"File with your own API key; else {KEY_VARIABLE} in the environment.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ApprovalId = Annotated[str, typer.Argument(metavar="APR_ID", help="The approval's id, as `list` shows it.")]
Comment = Annotated[str, typer.Option("--comment", "-m", help="Why; kept with your vote. The caller does not see it.")]
Why = Annotated[str, typer.Option("--comment", "-m", help="What you found out; required, and recorded.")]

OPEN = (ApprovalState.PENDING, ApprovalState.APPROVED)
UNATTENDED = "once approved, also while nobody waits for it"
MAY_BE_ASKED = "once approved, its server may ask the caller, whose answers nobody approves"
_EVER = 1_000_000
"""Approvals that `stats` looks at: in effect all."""
_DAY_NS = 86_400_000_000_000

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

    async def look(desk: Desk, person: Identity) -> tuple[list[Standing], list[Approval]]:
        docket = await desk.docket(person, () if everything else OPEN)
        return [desk.standing(approval) for approval in docket], list(await desk.open_items(person))

    found, items = as_person(folder, key_file, look)
    now_ns = time.time_ns()
    if as_json:
        listed = {standing.approval.id: standing.approval for standing in found} | {item.id: item for item in items}
        for approval in listed.values():
            print(json.dumps(as_facts(approval, now_ns)))
        return
    terminal().print(as_table(found, now_ns))
    for item in items:
        terminal().print(Text(to_do(item), style="bold red"))


@approvals.command()
def grants(
    everything: Annotated[bool, typer.Option("--all", help="Ended ones too, not only those that are open.")] = False,
    as_json: AsJson = False,
    key_file: KeyFile = None,
    folder: Folder = Path(),
) -> None:
    """List the grants that you may decide on or revoke, or asked for yourself, and how far they are used."""
    states = () if everything else OPEN
    seen = as_person(folder, key_file, lambda desk, person: desk.docket(person, states, _EVER))
    print_grants([approval for approval in seen if approval.is_grant], as_json=as_json)


def print_grants(found: Sequence[Approval], *, as_json: bool) -> None:
    """Print them for people, or one JSON object per line."""
    now_ns = time.time_ns()
    if as_json:
        for approval in found:
            print(json.dumps(as_facts(approval, now_ns)))
    else:
        terminal().print(grants_table(found, now_ns))


@approvals.command()
def show(approval_id: ApprovalId, as_json: AsJson = False, key_file: KeyFile = None, folder: Folder = Path()) -> None:
    """Show one held call with its exact arguments. Reading them is recorded."""
    sheet, standing = as_person(folder, key_file, lambda desk, person: looked_at(desk, approval_id, person))
    if as_json:
        facts = as_facts(sheet.approval, time.time_ns())
        seen = {
            "exact": sheet.exact,
            "preview": sheet.preview,
            "preview_problem": sheet.preview_problem,
            "arguments": json.loads(sheet.arguments),
            "shown": sheet.commitment,
        }
        granted = {"granted": list(sheet.granted), "words": sheet.words} if sheet.granted else {}
        print(json.dumps({**facts, **seen, **granted}))
    else:
        print_sheet(sheet, standing, terminal())


@approvals.command()
def approve(
    approval_id: ApprovalId,
    comment: Comment = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; the arguments are printed all the same.")] = False,
    break_glass: Annotated[
        bool, typer.Option("--break-glass", help="An emergency: two openers stand in for the approvers. It will be reviewed.")
    ] = False,
    key_file: KeyFile = None,
    folder: Folder = Path(),
) -> None:
    """Look at what will run, then approve it."""
    check_length(comment)
    sheet, standing = as_person(folder, key_file, lambda desk, person: looked_at(desk, approval_id, person))
    print_sheet(sheet, standing, terminal())
    if not yes:
        what = "all calls that fit this grant" if sheet.granted else "exactly this call"
        typer.confirm(f"Break the glass for {what}?" if break_glass else f"Approve {what}?", abort=True)

    # The store is closed while the person thinks; the commitment ties the vote to what was on the screen.
    def vote(desk: Desk, person: Identity) -> Awaitable[Approval]:
        verdict = Verdict.APPROVE
        return desk.vote(approval_id, person, verdict, comment, shown=sheet.commitment, break_glass=break_glass)

    _do(folder, key_file, vote, "your verdict is recorded")


@approvals.command()
def deny(approval_id: ApprovalId, comment: Comment = "", key_file: KeyFile = None, folder: Folder = Path()) -> None:
    """Deny a held call: it will not run."""
    check_length(comment)
    _do(
        folder,
        key_file,
        lambda desk, person: desk.vote(approval_id, person, Verdict.DENY, comment),
        "your verdict is recorded",
    )


@approvals.command()
def propose(
    approval_id: ApprovalId,
    arguments: Annotated[str, typer.Option(help="A file with a JSON object, - for standard input, or the object itself.")],
    comment: Annotated[str, typer.Option("--comment", "-m", help="Why; the caller sees it.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; the difference is printed all the same.")] = False,
    key_file: KeyFile = None,
    folder: Folder = Path(),
) -> None:
    """Deny a held call, and tell its client which arguments you would approve."""
    check_length(comment)
    proposed = read_object(arguments, "--arguments")
    sheet, standing = as_person(folder, key_file, lambda desk, person: looked_at(desk, approval_id, person))
    print_sheet(sheet, standing, terminal())
    if sheet.exact:
        print_changes(differences(json.loads(sheet.arguments), proposed), terminal())
    if not yes:
        typer.confirm("Deny this call, and propose exactly that?", abort=True)

    def deny_so(desk: Desk, person: Identity) -> Awaitable[Approval]:
        return desk.propose(approval_id, person, proposed, comment, shown=sheet.commitment)

    _do(folder, key_file, deny_so, "your proposal is recorded, and its client is told of it")


@approvals.command()
def withdraw(approval_id: ApprovalId, comment: Comment = "", key_file: KeyFile = None, folder: Folder = Path()) -> None:
    """Take back your vote while it is undecided; or your call, if you asked for it and it has not run."""
    check_length(comment)

    async def take_back(desk: Desk, person: Identity) -> Approval:
        approval = (await desk.show(approval_id, person)).approval
        if is_requester(person, approval):
            return await desk.withdraw(approval_id, person, comment)
        return await desk.withdraw_vote(approval_id, person, comment)

    _do(folder, key_file, take_back, "taken back")


@approvals.command()
def revoke(approval_id: ApprovalId, comment: Comment = "", key_file: KeyFile = None, folder: Folder = Path()) -> None:
    """Stop an approved call before it runs."""
    check_length(comment)
    _do(folder, key_file, lambda desk, person: desk.revoke(approval_id, person, comment), "it will not run")


@approvals.command()
def resolve(
    approval_id: ApprovalId,
    happened: Annotated[Happened, typer.Option(help="Whether the call took effect, as far as you found out.")],
    comment: Why,
    key_file: KeyFile = None,
    folder: Folder = Path(),
) -> None:
    """Say what became of a call whose outcome is unknown. It is not sent again by that."""
    check_length(comment)
    _do(folder, key_file, lambda desk, person: desk.resolve(approval_id, person, happened, comment), "resolved")


@approvals.command()
def review(approval_id: ApprovalId, comment: Why, key_file: KeyFile = None, folder: Folder = Path()) -> None:
    """Review a call that ran, or could have run, by break-glass."""
    check_length(comment)
    _do(folder, key_file, lambda desk, person: desk.review(approval_id, person, comment), "reviewed")


@approvals.command()
def stats(
    days: Annotated[int, typer.Option(min=1, help="Look so many days back.")] = 30,
    as_json: AsJson = False,
    key_file: KeyFile = None,
    folder: Folder = Path(),
) -> None:
    """Tell how long people take, who decides, what expires, and which rules hold what is always approved.

    It counts what is yours to see: an admin of the desk sees everything.
    """
    seen = as_person(folder, key_file, lambda desk, person: desk.docket(person, (), _EVER))
    since_ns = time.time_ns() - days * _DAY_NS
    counted = stats_of([approval for approval in seen if approval.opened_ns >= since_ns])
    if as_json:
        rules = [{**asdict(rule), "could_be_relaxed": rule.could_be_relaxed} for rule in counted.rules]
        print(json.dumps({**asdict(counted), "rules": rules}))
    else:
        print_stats(counted, days, terminal())


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
        "terms": as_data(approval.terms),
        "level": approval.level,
        "break_glass": approval.break_glass,
        "needs_review": approval.needs_review,
        "needs_resolution": approval.needs_resolution,
        "votes": [_vote_facts(vote) for vote in approval.votes],
        "remarks": [_remark_facts(remark) for remark in approval.remarks],
        "proposed_by": [vote.voter for vote in approval.offer],
        "taken_up_as": approval.taken_by,
        "opened": clock_time(approval.opened_ns),
        "deadline": clock_time(approval.deadline_ns),
        "waiting_s": max(0, (now_ns - approval.opened_ns) // 1_000_000_000),
        "digest": approval.digest,
        "clean_arguments": approval.facts.get("arguments", {}),
        **({"grant": _grant_facts(approval)} if approval.is_grant else {}),
    }


def _grant_facts(approval: Approval) -> dict[str, Any]:
    (allowance,) = approval.allowances
    return {
        "max_calls": allowance.max_calls,
        "until": clock_time(approval.usable_until_ns),
        "total_of": allowance.total_of,
        "max_total": allowance.max_total,
        "usage": approval.usage,
        "clean_access": approval.facts["access"],
        "uses": [
            {"call": use.call_id, "at": clock_time(use.time_ns), "amount": use.amount, "outcome": use.outcome}
            for use in approval.uses
        ],
    }


def _vote_facts(vote: CastVote) -> dict[str, Any]:
    return {
        "voter": vote.voter,
        "verdict": vote.verdict,
        "comment": vote.comment,
        "break_glass": vote.break_glass,
        "withdrawn": bool(vote.withdrawn_ns),
        "at": clock_time(vote.time_ns),
    }


def _remark_facts(remark: Remark) -> dict[str, Any]:
    return {**asdict(remark), "kind": remark.kind.value, "time_ns": str(remark.time_ns)}


def to_do(approval: Approval) -> str:
    """Return what somebody has to look at, in a sentence."""
    if approval.needs_review:
        return f"{approval.id}: break-glass on {visible(approval.target)}; somebody else must review it: mcpgw approvals review"
    return f"{approval.id}: the outcome of {visible(approval.target)} is unknown; find out, then: mcpgw approvals resolve"


def as_table(found: Sequence[Standing], now_ns: int) -> Table:
    """Lay approvals out, one per row."""
    table = Table(
        Column("id", no_wrap=True), "state", "waiting", "deadline", "tool", "requester", "rule", box=None, header_style="bold"
    )
    for standing in found:
        approval = standing.approval
        state = standing.tally if approval.state is ApprovalState.PENDING else approval.state.value
        level = f", escalated {approval.level} x" if approval.level else ""
        waiting, left = span(now_ns - approval.opened_ns), span(approval.decide_by_ns - now_ns)
        deadline = f"in {left}" if approval.decide_by_ns > now_ns else "passed"
        tool = approval.target + (f" (grant, {approval.usage})" if approval.is_grant else "")
        row = (approval.id, state + level, waiting, deadline, tool, approval.requester, ", ".join(approval.rule_ids))
        table.add_row(*(Text(visible(cell), overflow="fold") for cell in row))  # Text: names are no markup
    return table


def grants_table(found: Sequence[Approval], now_ns: int) -> Table:
    """Lay grants out, one per row."""
    table = Table(Column("id", no_wrap=True), "state", "until", "used", "tool", "requester", box=None, header_style="bold")
    for approval in found:
        state = "used up" if approval.is_used_up and approval.state is ApprovalState.APPROVED else approval.state.value
        left = approval.usable_until_ns - now_ns
        until = f"in {span(left)}" if left > 0 and approval.state in OPEN else clock_time(approval.usable_until_ns)
        row = (approval.id, state, until, approval.usage, approval.target, approval.requester)
        table.add_row(*(Text(visible(cell), overflow="fold") for cell in row))
    return table


def print_sheet(sheet: Sheet, standing: Standing, console: Console) -> None:
    """Print an approval for a person who is about to decide: who, what, why, and then the arguments to the letter."""
    approval = sheet.approval
    via = f" through {', '.join(approval.actors)}" if approval.actors else ""
    more = len(approval.terms.levels) - approval.level - 1
    lines = (
        ("approval", f"{approval.id}, {approval.state.value}"),
        ("tool", approval.target),
        ("requester", approval.requester + via),
        ("reason", f"{approval.reason} [{', '.join(approval.rule_ids)}]"),
        *(("seats", str(seats)) for seats in standing.taken),
        *([("level", f"{approval.level} of {approval.level + more} escalations")] if approval.level or more else []),
        *(("vote", _vote_line(vote)) for vote in approval.votes),
        *(("void", f"{voter}: no approver any more, or signed in too long ago") for voter in standing.void),
        *(("proposed", _offer_line(vote, approval)) for vote in approval.offer),
        *((remark.kind.value, _remark_line(remark)) for remark in approval.remarks),
        *([("to do", to_do(approval))] if approval.needs_review or approval.needs_resolution else []),
        ("deadline", clock_time(approval.decide_by_ns)),
        *([("grant", approval.usage)] if sheet.granted else []),
        *(("use", _use_line(number, use)) for number, use in enumerate(approval.uses, start=1)),
        *([("runs", UNATTENDED)] if approval.terms.unattended else []),
        *([("questions", MAY_BE_ASKED)] if approval.terms.may_be_asked else []),
        ("digest", approval.digest),
    )
    for name, value in lines:
        console.print(Text.assemble((f"{name:>10}  ", "bold"), visible(value)))
    if sheet.granted:
        console.print(Text("\nA GRANT: not one call, but all that fit this:", style="bold"))
        for line in sheet.granted:
            console.print(Text(f"  {line}", style="bold red" if "ANY VALUE AT ALL" in line else ""))
    if sheet.words:
        console.print(Text(f'The requester\'s own words, which nobody checked: "{sheet.words}"'))
    what, exactly = ("example", "to the letter") if sheet.granted else ("arguments", "exactly as they will run")
    title = f"The {what}, {exactly}:" if sheet.exact else f"The {what} as recorded; the exact ones are erased:"
    console.print(Text(f"\n{title}", style="bold"))
    console.print(Text(sheet.arguments))
    if sheet.oddities:
        console.print(Text("\nEscaped above, because they hide, turn the line around, or look like others:", style="bold red"))
        for oddity in sheet.oddities:
            console.print(Text(f"  {oddity}"))
    _print_preview(sheet, console)


def _print_preview(sheet: Sheet, console: Console) -> None:
    if sheet.preview or sheet.preview_problem:
        console.print(Text("\nWhat the server says the call would do; nobody checked it:", style="bold"))
    if sheet.preview_problem:
        console.print(Text(sheet.preview_problem, style="yellow"))
    if sheet.preview:
        console.print(Text(sheet.preview))


def print_changes(changes: Sequence[Change], console: Console) -> None:
    """Print where proposed arguments differ, in characters that cannot deceive."""
    console.print(Text("\nWhat differs:", style="bold"))
    for change in changes:
        console.print(Text(f"  {change.path}"))
        console.print(Text(f"    - {change.before or '(nothing)'}", style="red"))
        console.print(Text(f"    + {change.after or '(nothing)'}", style="green"))


def print_stats(counted: Stats, days: int, console: Console) -> None:
    """Print how the desk works."""
    total = sum(counted.states.values())
    states = ", ".join(f"{count} {state}" for state, count in counted.states.items())
    console.print(Text(f"{total} held calls in {days} days: {states or 'none'}; {counted.break_glass} by break-glass"))
    waits = ", ".join(f"{percent} % within {span(waited)}" for percent, waited in counted.waited_ns.items())
    console.print(Text(f"decided by people: {waits or 'none'}"))
    console.print(Text(f"{_grants_line(counted.grants)}\n"))
    rules = Table("rule", "held", "approved", "denied", "expired", "escalated", "", box=None, header_style="bold")
    for rule in counted.rules:
        hint = "always approved: could it be relaxed?" if rule.could_be_relaxed else ""
        counts = (rule.held, rule.approved, rule.denied, rule.expired, rule.escalated)
        rules.add_row(Text(visible(rule.rule)), *map(str, counts), hint)
    console.print(rules)
    voters = Table("who decides", "approved", "denied", "withdrawn", "median", box=None, header_style="bold")
    for voter in counted.voters:
        cells = (str(voter.approved), str(voter.denied), str(voter.withdrawn), span(voter.median_ns))
        voters.add_row(Text(visible(voter.voter)), *cells)
    console.print(Text())
    console.print(voters)


def _grants_line(grants: GrantStats) -> str:
    if not grants.states:
        return "no grants"
    states = ", ".join(f"{count} {state}" for state, count in grants.states.items())
    return f"{sum(grants.states.values())} grants: {states}; {grants.uses} calls by them; {grants.break_glass} by break-glass"


def _vote_line(vote: CastVote) -> str:
    comment = f" ({vote.comment})" if vote.comment else ""
    return f"{vote.voter}: {'break-glass, ' * vote.break_glass}{vote.verdict}{comment}{', withdrawn' * bool(vote.withdrawn_ns)}"


def _use_line(number: int, use: Use) -> str:
    amount = f", {use.amount}" if use.amount != "0" else ""
    return f"{number}: {use.call_id} at {clock_time(use.time_ns)}{amount}, {use.outcome or 'under way'}"


def _offer_line(vote: CastVote, approval: Approval) -> str:
    until = f"until {clock_time(approval.usable_until_ns)}" if approval.offered else "not taken up in time"
    comment = f" ({vote.comment})" if vote.comment else ""
    return f"other arguments, by {vote.voter}{comment}; {f'taken up as {approval.taken_by}' if approval.taken_by else until}"


def _remark_line(remark: Remark) -> str:
    happened = f" it happened: {remark.happened};" if remark.happened else ""
    return f"{remark.person}:{happened} {remark.comment}"


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


async def looked_at(desk: Desk, approval_id: str, person: Identity) -> tuple[Sheet, Standing]:
    sheet = await desk.show(approval_id, person)
    return sheet, desk.standing(sheet.approval)


def _do(folder: Path, key_file: Path | None, deed: Callable[[Desk, Identity], Awaitable[Approval]], said: str) -> None:
    async def act(desk: Desk, person: Identity) -> Standing:
        try:
            return desk.standing(await deed(desk, person))
        except ValueError as error:
            raise GatewayError(f"nothing was recorded: {error}") from None

    standing = as_person(folder, key_file, act)
    approval = standing.approval
    terminal().print(Text(f"{approval.id}: {said}; it is {approval.state.value}, {standing.tally}."))


def as_person(folder: Path, key_file: Path | None, work: Callable[[Desk, Identity], Awaitable[T]]) -> T:
    """Do one thing at the desk of that folder, as the person that the credential belongs to."""
    return as_whoever(folder, key_file, lambda store, person: work(store.desk, person), acting_identity)


def as_whoever(
    folder: Path,
    key_file: Path | None,
    work: Callable[[GatewayStore, Identity], Awaitable[T]],
    who: Callable[[Settings], Awaitable[Identity]] = calling_identity,
) -> T:
    """Do one thing in the store of that folder, as whoever the credential belongs to."""
    if key_file is not None:  # the option is said for this run, so it outweighs the environment
        os.environ.pop(KEY_VARIABLE, None)
        os.environ[FILE_VARIABLE] = str(key_file)

    async def act() -> T:
        identity = await who(open_folder(folder))
        async with open_gateway_store(folder) as store:
            return await work(store, identity)

    return anyio.run(act)


def read_object(text: str, option: str) -> dict[str, Any]:
    """Return the JSON object that the option holds, or the file that it names; `-` is standard input.

    A file keeps it out of the list of processes.
    """
    try:
        if not text.lstrip().startswith("{"):
            text = sys.stdin.read() if text == "-" else Path(text).read_text(encoding="utf-8")
        arguments = strict_json.loads(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"cannot be read as JSON: {error}", param_hint=option) from None
    if not isinstance(arguments, dict):
        raise typer.BadParameter("must be a JSON object", param_hint=option)
    return arguments


def check_length(comment: str) -> None:
    if len(comment) > MAX_COMMENT:
        raise typer.BadParameter(f"{len(comment)} characters; {MAX_COMMENT} are the most", param_hint="--comment")


def terminal() -> Console:
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
