"""Appending: what a caller is promised when `append` returns."""

from ledger_parts import intent, outcome

from mcpgw.ledger.journal import Ledger
from mcpgw.ledger.store import Query


async def test_an_intent_and_its_outcome_stand_in_the_log_in_order(ledger: Ledger) -> None:
    before = await ledger.append(intent())
    after = await ledger.append(outcome(before))
    assert after.seq == before.seq + 1
    found = await ledger.search(Query(call_id=before.entry.shown.call.id))
    assert [(r.seq, r.index["kind"], r.index["outcome"]) for r in found] == [
        (before.seq, "call.intent", ""),
        (after.seq, "call.outcome", "completed"),
    ]
