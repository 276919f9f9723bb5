"""The short form of scripts/fuzz_wire, which CI runs; the long one is run by hand and nightly."""

import random

from mcpgw.core.model import Sealed
from mcpgw.ports import EntryT
from tests.inbound import fuzz


async def test_nothing_that_a_client_sends_crashes_hangs_or_is_refused_without_a_record() -> None:
    tally = await fuzz.run(1_000)
    assert tally.problems == []
    assert tally.cases == 1_000
    assert {"200", "202", "400", "401", "404", "stdio"} <= tally.statuses.keys()
    assert tally.records > 300


class Blind(fuzz.Counting):
    """A ledger that says that it recorded what it did not."""

    async def append(self, entry: EntryT) -> Sealed[EntryT]:
        sealed = await super().append(entry)
        self.by_address.clear()
        return sealed


async def test_a_refusal_without_a_record_would_be_found() -> None:
    tally = await fuzz.run(150, journal=Blind())
    assert len(tally.unrecorded) > 20


def test_a_seed_makes_its_case_again() -> None:
    one, same, other = (fuzz.http_case(random.Random(seed), "/mcp", "s").data for seed in (7, 7, 8))
    assert one == same != other
