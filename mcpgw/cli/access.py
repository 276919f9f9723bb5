"""`mcpgw access`: ask people ahead for several calls at once, as whose the credential is, and see what was granted."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mcpgw.app.asking import open_corridor
from mcpgw.approval import Desk
from mcpgw.approval.answers import clock_time
from mcpgw.approval.people import is_requester, unknown
from mcpgw.cli.approvals import (
    OPEN,
    ApprovalId,
    AsJson,
    Comment,
    Folder,
    KeyFile,
    as_facts,
    as_whoever,
    check_length,
    looked_at,
    print_grants,
    print_sheet,
    read_object,
    terminal,
)
from mcpgw.cli.common import GatewayStore
from mcpgw.core.access import Access, access_of
from mcpgw.core.errors import GatewayError
from mcpgw.core.model import (
    Held,
    Identity,
    Origin,
    Patience,
    Refused,
    Request,
    TargetKind,
)
from mcpgw.ports import Approval, ApprovalState
from mcpgw.settings import seconds

access = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

_EVER = 1_000_000
"""Approvals that are looked through: in effect all."""
_ORIGIN = Origin(transport="cli", protocol_version="")


class NotAsked(GatewayError):
    """Nobody is asked for this grant; the message says why."""


@access.command("request")
def request_(
    tool: Annotated[str, typer.Argument(help="The published name of the tool.")],
    calls: Annotated[int, typer.Option(help="How many calls at most.")],
    lasts: Annotated[str, typer.Option("--for", help="How long from now on: 90m, 4h, 1d.")],
    arguments: Annotated[
        str, typer.Option(help="An example call's arguments: JSON, a file with it, or - for standard input.")
    ] = "{}",
    vary: Annotated[
        str, typer.Option(help='What may differ from it: JSON or a file with it, {"amount": {"at_most": 500}}.')
    ] = "{}",
    total: Annotated[str, typer.Option(help="ARGUMENT=MAX: the most that the argument may add up to.")] = "",
    reason: Annotated[str, typer.Option(help="Why, in your words; those who decide see it.")] = "",
    as_json: AsJson = False,
    key_file: KeyFile = None,
    folder: Folder = Path(),
) -> None:
    """Ask for a grant. Nothing runs by it; the command returns as soon as people are asked."""
    asked = _access(calls=calls, lasts=lasts, vary=read_object(vary, "--vary"), total=total, reason=reason)
    example = read_object(arguments, "--arguments")

    async def ask(store: GatewayStore, identity: Identity) -> tuple[Held, Approval]:
        request = Request(
            identity=identity,
            kind=TargetKind.TOOL,
            name=tool,
            arguments=example,
            origin=_ORIGIN,
            patience=Patience(budget_s=0.0),
        )
        async with open_corridor(store.settings, store.ledger, store.desk) as corridor:
            answer = await corridor.request_access(request, asked)
        if isinstance(answer, Refused):
            raise NotAsked(answer.reason)
        (approval,) = await store.ledger.approval(answer.approval_id)
        return answer, approval

    held, approval = as_whoever(folder, key_file, ask)
    if as_json:
        print(
            json.dumps({"id": held.approval_id, "state": approval.state.value, "until": clock_time(approval.usable_until_ns)})
        )
    elif approval.state is ApprovalState.APPROVED:
        print(f"{held.approval_id}: granted already, {approval.usage}, until {clock_time(approval.usable_until_ns)}.")
    else:
        print(f"{held.approval_id}: people are asked, until {clock_time(held.deadline_ns)}. {held.reason}")


@access.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Ended ones too, not only those that are open.")] = False,
    as_json: AsJson = False,
    key_file: KeyFile = None,
    folder: Folder = Path(),
) -> None:
    """List the grants that you asked for, and how far they are used."""

    async def look(store: GatewayStore, identity: Identity) -> list[Approval]:
        docket = await store.desk.docket(identity, () if everything else OPEN, _EVER)
        return [approval for approval in docket if approval.is_grant and is_requester(identity, approval)]

    print_grants(as_whoever(folder, key_file, look), as_json=as_json)


@access.command()
def show(approval_id: ApprovalId, as_json: AsJson = False, key_file: KeyFile = None, folder: Folder = Path()) -> None:
    """Show one of your grants: what it covers, and each use. Reading exact values is recorded."""

    async def look(store: GatewayStore, identity: Identity) -> Any:
        await _own(store.desk, approval_id, identity)
        return await looked_at(store.desk, approval_id, identity)

    sheet, standing = as_whoever(folder, key_file, look)
    if as_json:
        print(json.dumps({**as_facts(sheet.approval, standing.now_ns), "granted": list(sheet.granted)}))
    else:
        print_sheet(sheet, standing, terminal())


@access.command()
def withdraw(approval_id: ApprovalId, comment: Comment = "", key_file: KeyFile = None, folder: Folder = Path()) -> None:
    """Give one of your grants back: no further call runs by it."""
    check_length(comment)

    async def give_back(store: GatewayStore, identity: Identity) -> Approval:
        await _own(store.desk, approval_id, identity)
        return await store.desk.withdraw(approval_id, identity, comment)

    print(f"{approval_id}: {as_whoever(folder, key_file, give_back).state.value}.")


async def _own(desk: Desk, approval_id: str, identity: Identity) -> None:
    """Raises: NotEntitled: it is no grant of theirs."""
    mine = [one for one in await desk.docket(identity, (), _EVER) if one.is_grant and is_requester(identity, one)]
    if approval_id not in {one.id for one in mine}:
        raise unknown(approval_id)


def _access(*, calls: int, lasts: str, vary: Mapping[str, Any], total: str, reason: str) -> Access:
    bounds = _total(total) if total else {}
    try:
        lasts_s = float(str(seconds(lasts)))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--for") from None
    data = {"max_calls": calls, "lasts_ns": round(lasts_s * 1e9), "vary": vary, "total": bounds, "reason": reason}
    try:
        return access_of(data)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _total(text: str) -> dict[str, Any]:
    argument, _, most = text.rpartition("=")
    try:
        return {"argument": argument, "at_most": json.loads(most)}
    except ValueError:
        raise typer.BadParameter("is not ARGUMENT=MAX, such as amount=50000", param_hint="--total") from None
