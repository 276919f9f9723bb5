"""The long version of `test_interleavings`: `scripts/approvals_soak --examples 10000`."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import anyio
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from mcpgw.ledger import create_keys
from tests.approval.interleavings import ORIGIN, Interleavings
from tests.approval.race import race
from tests.approval.test_on_sqlite import opened


async def race_over(holds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="mcpgw-race-") as temporary:
        folder = Path(temporary)
        create_keys(folder / "keys", ORIGIN)
        (folder / "data").mkdir()
        async with opened(folder) as one, opened(folder) as other:
            await race(one, other, holds=holds, approvers=20)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/approvals_soak", description="Interleave everything at the desk, and judge.")
    parser.add_argument("--examples", type=int, default=10_000, help="how many interleavings")
    parser.add_argument("--steps", type=int, default=20, help="the most steps of each")
    parser.add_argument("--holds", type=int, default=100, help="how many holds 20 approvers race over, before that")
    options = parser.parse_args()
    began = time.monotonic()
    anyio.run(race_over, options.holds)
    print(
        f"{options.holds} holds raced over by 20 approvers: settled once, run once, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    counted = {"interleavings": 0, "executions": 0}

    class Counting(Interleavings):
        def teardown(self) -> None:
            counted["interleavings"] += 1
            counted["executions"] += sum(self.executed.values())
            super().teardown()

    began = time.monotonic()
    run_state_machine_as_test(
        Counting,
        settings=settings(
            max_examples=options.examples,
            stateful_step_count=options.steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    took = f"{time.monotonic() - began:.0f} s"
    print(f"{counted['interleavings']} interleavings, {counted['executions']} executions, 0 problems, {took}")
    sys.exit(0)


if __name__ == "__main__":
    main()
