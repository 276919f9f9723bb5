"""The long versions of `test_two_gateways` and `test_interleavings`: `scripts/approvals_soak --examples 10000`."""

import argparse
import logging
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import anyio
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from mcpgw.ledger import create_keys
from tests.approval.interleavings import ORIGIN, Interleavings
from tests.approval.race import race
from tests.approval.test_on_sqlite import opened
from tests.approval.two_gateways import Counts, raced
from tests.faults.stores import SQLITE, in_postgres

PEOPLE = 20
_BOUND_S = 3_600.0
"""Longest that the race may take on a busy machine."""
_TOLD_EVERY = 500
"""Interleavings between two signs of life: a run takes half an hour and more."""


async def race_over(holds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="mcpgw-race-") as temporary:
        folder = Path(temporary)
        create_keys(folder / "keys", ORIGIN)
        (folder / "data").mkdir()
        async with opened(folder) as one, opened(folder) as other:
            await race(one, other, holds=holds, approvers=PEOPLE)


def race_at_two_gateways(store: str, holds: int) -> Counts:
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="mcpgw-race-"))
        place = stack.enter_context(in_postgres()) if store == "postgres" else SQLITE
        race = stack.enter_context(raced(Path(temporary) / "race", url=place.url, holds=holds, people=PEOPLE))

        async def run() -> None:
            with anyio.fail_after(_BOUND_S):
                await race.run()

        anyio.run(run)
        return race.judge()


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/approvals_soak", description="Interleave everything at the desk, and judge.")
    parser.add_argument("--examples", type=int, default=10_000, help="how many interleavings; 0 for none")
    parser.add_argument("--steps", type=int, default=20, help="the most steps of each")
    parser.add_argument("--holds", type=int, default=100, help="how many holds 20 people race over before that; 0 for none")
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite", help="where the race is recorded")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # what is alarming at a bank is what is played here, thousands of times
    began = time.monotonic()

    def told(what: object) -> None:
        print(f"{what}, {time.monotonic() - began:.0f} s", flush=True)

    if options.holds:
        anyio.run(race_over, options.holds)
        told(f"{options.holds} holds raced over by {PEOPLE} approvers in one process: settled once, run once")
        began = time.monotonic()
        told(race_at_two_gateways(options.store, options.holds))
    if options.examples:
        began = time.monotonic()
        told(interleave(options.examples, options.steps))


def interleave(examples: int, steps: int) -> str:
    counted = {"interleavings": 0, "executions": 0}

    class Counting(Interleavings):
        def teardown(self) -> None:
            counted["interleavings"] += 1
            counted["executions"] += sum(self.executed.values())
            super().teardown()
            if counted["interleavings"] % _TOLD_EVERY == 0:
                print(f"{counted['interleavings']} interleavings, {counted['executions']} executions so far", flush=True)

    run_state_machine_as_test(
        Counting,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return f"{counted['interleavings']} interleavings, {counted['executions']} executions, 0 problems"


if __name__ == "__main__":
    main()
