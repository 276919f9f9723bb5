"""The long version: `scripts/soak --rounds 20 --clients 64`. Writes nothing outside its temporary folder."""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from tests.faults.folder import fault_folder
from tests.faults.history import Said
from tests.faults.storm import Round, Storm

COLUMNS = (
    "round", "killed", "asked", "completed", "held", "refused", "failed", "unheard", "effects", "intents", "spent", "left open",
    "indeterminate", "ready", "problems",
)  # fmt: skip


def row(done: Round) -> list[str]:
    heard = done.heard
    said = [heard[kind] for kind in (Said.COMPLETED, Said.HELD, Said.REFUSED, Said.FAILED, Said.NOTHING)]
    counts = [heard.total(), *said, done.effects, done.intents, done.spent, done.left_open, done.indeterminate]
    return [str(done.number), done.killed, *map(str, counts), f"{done.ready_s:.1f} s", str(len(done.problems))]


def totals(rounds: list[Round], problems: int) -> list[str]:
    heard = sum((done.heard for done in rounds), Counter[Said]())
    whole = Round(
        number=len(rounds),
        killed="",
        heard=heard,
        effects=sum(done.effects for done in rounds),
        intents=sum(done.intents for done in rounds),
        spent=sum(done.spent for done in rounds),
        left_open=sum(done.left_open for done in rounds),
        indeterminate=sum(done.indeterminate for done in rounds),
        ready_s=max(done.ready_s for done in rounds),
        problems=(),
    )
    return ["all", *row(whole)[1:-1], str(problems)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Kill a gateway under load again and again, and judge.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clients", type=int, default=64, help="calling at once, without pause")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of what is left to chance")
    options = parser.parse_args()
    console = Console(width=int(os.environ.get("COLUMNS", "160")), highlight=False)
    table = Table(*COLUMNS, box=None)
    began = time.monotonic()

    def report(done: Round) -> None:
        console.print(f"round {done.number} of {options.rounds}: killed {done.killed}; {len(done.problems)} problems")
        table.add_row(*row(done))

    console.print(f"{options.rounds} rounds, {options.clients} clients, seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="mcpgw-soak-") as temporary, fault_folder(Path(temporary) / "soak") as faults:
        storm = Storm(faults, options.clients, options.seed, report)
        problems = anyio.run(storm.run, options.rounds)
    table.add_section()
    table.add_row(*totals(storm.rounds, len(problems)))
    console.print(table)
    console.print(f"{storm.evidence.records} records, verified against each checkpoint, in {time.monotonic() - began:.0f} s")
    for problem in problems:
        console.print(f"✗ {problem}", style="red", markup=False)
    console.print("every promise was kept" if not problems else f"{len(problems)} problems", style="bold")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
