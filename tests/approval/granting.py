"""A rule that permits grants, and requests for them."""

from dataclasses import replace
from typing import Any

from mcpgw.approval import Desk
from mcpgw.core.access import Access, access_of
from mcpgw.core.allowance import GrantLimits
from mcpgw.core.entries import Verdict
from mcpgw.core.model import (
    CleanJson,
    Hold,
    Identity,
    Patience,
    ShownCall,
)
from tests.approval.world import BOB, HOLD, World

HOUR_NS = 3_600 * 10**9
LIMITS = GrantLimits(max_calls=20, lasts_ns=8 * HOUR_NS)
NOW = Patience(budget_s=0.0)


def permitting(hold: Hold = HOLD, limits: GrantLimits = LIMITS) -> Hold:
    """The same hold, by a rule that permits grants."""
    return replace(hold, terms=replace(hold.terms, grants=limits))


GRANTING = permitting()


def access(**changes: Any) -> Access:
    """Five transfers of 1 to 20,000, of 50,000 in all, within two hours."""
    data = {
        "max_calls": 5,
        "lasts_ns": 2 * HOUR_NS,
        "vary": {"amount": {"at_least": 1, "at_most": 20_000}},
        "total": {"argument": "amount", "at_most": 50_000},
        "reason": "the month's rents",
    }
    return access_of(data | changes)


async def asked(desk: Desk, shown: ShownCall, hold: Hold = GRANTING, **changes: Any) -> str:
    """Ask for a grant, and return its id."""
    waiting = await desk.ask(shown, hold, access(**changes), CleanJson({"reason": "the month's rents"}))
    return waiting.approval_id


async def granted(
    world: World, desk: Desk, hold: Hold = GRANTING, voters: tuple[Identity, ...] = (BOB,), **changes: Any
) -> str:
    """Ask for a grant of the world's call, have it approved, and return its id."""
    approval_id = await asked(desk, world.call(), hold, **changes)
    for voter in voters:
        sheet = await desk.show(approval_id, voter)
        await desk.vote(approval_id, voter, Verdict.APPROVE, shown=sheet.commitment)
    return approval_id
