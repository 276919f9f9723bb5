"""Many approvers at once over many holds, at two gateways on one store: each is settled once, each call runs once."""

from collections import Counter
from contextlib import suppress

import anyio

from mcpgw.approval import Desk
from mcpgw.core.entries import Verdict
from mcpgw.core.errors import ApprovalConflict
from mcpgw.core.model import (
    Allow,
    Intent,
    Outcome,
    Patience,
    ShownCall,
    Waiting,
)
from mcpgw.ledger import Ledger, Query
from mcpgw.ports import ApprovalState
from tests.approval.world import KEY, REPLY, Everybody, Witness, World, asking, person

NOW = Patience(budget_s=0.0)


async def race(one: Ledger, other: Ledger, *, holds: int, approvers: int) -> None:
    """Raises: AssertionError: something was settled or run more or less than once."""
    ledgers = (one, other)
    desks = [Desk(ledger, ledger, KEY, Everybody()) for ledger in ledgers]
    world, hold = World(), asking(2)
    asked: dict[str, ShownCall] = {}
    for number in range(holds):
        shown = world.call(arguments={"to": str(number)})
        answer = await desks[number % 2].settle(shown, hold, NOW, Witness())
        assert isinstance(answer, Waiting)
        asked[answer.approval_id] = shown
    ran: Counter[str] = Counter()

    async def approve_and_call(number: int) -> None:
        """Each starts elsewhere, votes, and tries to run what it finds approved."""
        ids = [*asked]
        for approval_id in ids[number * 7 % len(ids) :] + ids[: number * 7 % len(ids)]:
            desk, ledger = desks[number % 2], ledgers[number % 2]
            with suppress(ApprovalConflict):  # somebody was faster: it is settled
                await desk.vote(approval_id, person(f"lead-{number}", "payments-leads"), Verdict.APPROVE)
            answer = await desk.settle(asked[approval_id], hold, NOW, Witness())
            if isinstance(answer, Allow):
                try:
                    intent = await ledger.append(Intent(shown=asked[approval_id], allow=answer))
                except ApprovalConflict:
                    continue
                ran[approval_id] += 1
                await ledger.append(Outcome(intent=intent, result=REPLY))

    async with anyio.create_task_group() as group:
        for number in range(approvers):
            group.start_soon(approve_and_call, number)
    assert ran == Counter(dict.fromkeys(asked, 1))
    settled = await one.search(Query(kind="approval.settled", limit=10 * holds))
    assert Counter(record.index["approval_id"] for record in settled) == Counter(dict.fromkeys(asked, 1))
    assert {approval.id for approval in await other.approvals((ApprovalState.DONE,), holds)} == set(asked)
