"""The long version: `scripts/soak --rounds 200 --clients 64`. Writes nothing outside its temporary folder."""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from tests.faults.folder import fault_folder
from tests.faults.history import Said
from tests.faults.stores import SQLITE, in_postgres
from tests.faults.storm import Round, Storm

HEARD = (Said.COMPLETED, Said.HELD, Said.REFUSED, Said.FAILED, Said.NOTHING_DONE, Said.WITHHELD, Said.NOTHING)
COLUMNS = (
    "gateways", "round", "killed", "kills", "cuts", "asked", *HEARD, "effects", "intents", "spent", "left open",
    "indeterminate", "ready", "closed", "problems",
)  # fmt: skip


def row(gateways: int, done: Round) -> list[str]:
    said = [done.heard[kind] for kind in HEARD]
    counts = [done.heard.total(), *said, done.effects, done.intents, done.spent, done.left_open, done.indeterminate]
    waits = [f"{done.ready_s:.1f} s", f"{done.closed_s:.1f} s"]
    return [*map(str, (gateways, done.number)), done.killed, *map(str, (done.kills, done.cuts, *counts)), *waits]


def totals(gateways: int, rounds: Sequence[Round]) -> list[str]:
    def total(name: str) -> int:
        return sum(getattr(done, name) for done in rounds)

    summed = {name: total(name) for name in ("kills", "cuts", "effects", "intents", "spent", "left_open", "indeterminate")}
    longest = {name: max(getattr(done, name) for done in rounds) for name in ("ready_s", "closed_s")}
    heard = sum((done.heard for done in rounds), Counter[Said]())
    return row(gateways, Round(number=len(rounds), killed="all", heard=heard, problems=(), **summed, **longest))


def soak(options: argparse.Namespace, gateways: int, rounds: int, console: Console) -> tuple[list[list[str]], list[str]]:
    """Run one storm, print what it was, and return its rows and problems."""
    began = time.monotonic()
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="mcpgw-soak-"))
        place = stack.enter_context(in_postgres()) if options.store == "postgres" else SQLITE
        faults = stack.enter_context(fault_folder(Path(temporary) / "soak", place.url))

        def report(done: Round) -> None:
            seconds = time.monotonic() - began
            console.print(f"{gateways} gateways, {seconds:.0f} s: round {done.number} of {rounds}: {', '.join(told(done))}")

        storm = Storm(faults, options.clients, options.seed, gateways, place, report)
        problems = anyio.run(storm.run, rounds)
        seen = storm.seen()
    console.print(
        f"{gateways} gateways: {len(seen.rows)} records, verified against each checkpoint of {rounds} rounds; {seen.distinct} "
        f"checkpoints seen, each the root of a prefix of the log; {len(problems)} problems; {time.monotonic() - began:.0f} s"
    )
    rows = [[*row(gateways, done), str(len(done.problems))] for done in storm.rounds]
    return [*rows, [*totals(gateways, storm.rounds), str(len(problems))]], problems


def told(done: Round) -> Iterator[str]:
    yield f"killed {done.killed}"
    yield f"{done.heard.total()} answers"
    yield f"{len(done.problems)} problems"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Kill gateways under load again and again, and judge.")
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--gateways", default="1,2,4", help="processes on one store; each number gets its share of the rounds")
    parser.add_argument("--rounds", type=int, default=21, help="of load, kill and recovery, in all")
    parser.add_argument("--clients", type=int, default=64, help="calling at once, without pause")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of what is left to chance")
    options = parser.parse_args()
    console = Console(width=int(os.environ.get("COLUMNS", "200")), highlight=False)
    table = Table(*COLUMNS, box=None)
    console.print(f"{options.rounds} rounds on {options.store}, {options.clients} clients, seed {options.seed}")
    counts, problems = [int(count) for count in options.gateways.split(",")], list[str]()
    for number, count in enumerate(counts):
        rounds = options.rounds * (number + 1) // len(counts) - options.rounds * number // len(counts)
        rows, found = soak(options, count, rounds, console)
        problems += found
        for cells in rows:
            table.add_row(*cells)
        table.add_section()
    console.print(table)
    for problem in problems:
        console.print(f"✗ {problem}", style="red", markup=False)
    console.print("every promise was kept" if not problems else f"{len(problems)} problems", style="bold")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
