"""Daily summaries: once for each day, whoever writes them, whatever came between; nobody is named without their payload."""

import asyncio
import json
from collections import Counter

import pytest
from ledger_parts import Open, failed, intent, outcome, refusal, rejection
from stores import Kept, verified
from test_sessions import Clock, leaves

from mcpgw.ledger import Ledger, Query
from mcpgw.ledger import summaries as summing
from mcpgw.ledger.checks import ProblemKind as K
from mcpgw.ledger.completeness import DAY_NS
from mcpgw.ledger.floods import FloodLimits
from mcpgw.ledger.record import Members, unpack

DAY_S = DAY_NS / 1e9


async def summaries(ledger: Ledger) -> list[Members]:
    return [*await leaves(ledger, Query(kind="summary.daily"))]


async def test_a_day_is_summed_up_once_by_whoever_comes_first(open_ledger: Open, kept: Kept) -> None:
    clock = Clock()
    async with open_ledger(clock=clock) as one, open_ledger(clock=clock) as two:
        await one.append(outcome(await two.append(intent("alice"))))
        await one.append(outcome(await two.append(intent("bob")), failed()))
        await two.append(refusal("alice"))
        await two.append(rejection())
        assert await one.sum_up() == 0
        clock.pass_s(DAY_S)
        assert await one.sum_up() == 0, "where the day ended is not settled before there is a record of the next one"
        later = await one.append(intent("alice"))
        assert sorted(await asyncio.gather(one.sum_up(), two.sum_up())) == [0, 1]
        (page,) = [leaf["facts"] for leaf in await summaries(one)]
        assert (page["from"], page["to"], page["page"], page["pages"]) == (0, later.seq - 0, 1, 1)
        by_line: Counter[tuple[str, str, str]] = Counter()
        for _, server, kind, result, number in page["counts"]:
            by_line[server, kind, result] += number
        assert by_line == {
            ("bank", "call.intent", "allow"): 2,
            ("bank", "call.outcome", "completed"): 1,
            ("bank", "call.outcome", "timeout"): 1,
            ("bank", "call.refused", "denied"): 1,
            ("", "call.refused", "unauthenticated"): 1,
        }
    assert verified(kept).ok, verified(kept).problems


async def test_days_without_a_gateway_are_caught_up_with_and_summaries_leave_no_gap(open_ledger: Open, kept: Kept) -> None:
    clock = Clock()
    for _ in range(3):
        async with open_ledger(clock=clock, announce=False) as ledger:  # as commands do, which sum up nothing
            await ledger.append(intent())
        clock.pass_s(3 * DAY_S)
    async with open_ledger(clock=clock) as ledger:
        assert await ledger.sum_up() == 3
        assert await ledger.sum_up() == 0
        told = [(leaf["facts"]["from"], leaf["facts"]["to"]) for leaf in await summaries(ledger)]
    assert told[0][0] == 0
    assert [end for _, end in told[:-1]] == [start for start, _ in told[1:]]
    assert verified(kept).ok, verified(kept).problems


async def test_who_is_who_stands_beside_the_record_and_can_be_erased(open_ledger: Open, kept: Kept) -> None:
    clock = Clock()
    async with open_ledger(clock=clock) as ledger:
        await ledger.append(intent("alice"))
        clock.pass_s(DAY_S)
        await ledger.append(intent("bob"))
        await ledger.sum_up()
        (leaf,) = await summaries(ledger)
    assert "alice" not in json.dumps(leaf)
    with kept.admin() as admin:
        ((body,),) = admin.execute("SELECT body FROM payloads WHERE seq = ? AND slot = 'identities'", (leaf["seq"],)).fetchall()
    told = json.loads(unpack(bytes(body)))
    assert told["names"] == {leaf["facts"]["counts"][0][0]: "https://idp.example#alice"}
    with kept.tampering() as admin:
        admin.execute("DELETE FROM payloads WHERE seq = ? AND slot = 'identities'", (leaf["seq"],))
    assert {problem.kind for problem in verified(kept).problems} == {K.PAYLOAD}, "the sums still hold"


async def test_more_callers_than_fit_a_leaf_are_told_on_several_pages(
    open_ledger: Open, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summing, "_PAGE_BYTES", 200)
    clock = Clock()
    async with open_ledger(clock=clock) as ledger:
        for number in range(9):
            await ledger.append(intent(f"caller {number}"))
        clock.pass_s(DAY_S)
        await ledger.append(intent())
        await ledger.sum_up()
        told = [(leaf["facts"]["page"], leaf["facts"]["pages"]) for leaf in await summaries(ledger)]
    assert len(told) > 2
    assert told == [(page, len(told)) for page in range(1, len(told) + 1)]
    assert verified(kept).ok, verified(kept).problems


async def test_refusals_that_were_only_counted_are_in_the_days_sum(open_ledger: Open, kept: Kept) -> None:
    clock = Clock()
    limits = FloodLimits(per_caller=2)
    async with open_ledger(clock=clock, limits=limits) as ledger:
        for _ in range(7):
            await ledger.append(refusal("mallory"))
    clock.pass_s(DAY_S)
    async with open_ledger(clock=clock) as ledger:
        await ledger.sum_up()
        (leaf,) = await summaries(ledger)
    lines = {kind: number for _, _, kind, _, number in leaf["facts"]["counts"]}
    assert lines == {"call.refused": 2, "refusals.counted": 5}
    assert verified(kept).ok, verified(kept).problems
