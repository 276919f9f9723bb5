"""A process that appends COUNT calls, or until it is killed; prints each acknowledged record: `appender.py FOLDER COUNT`.

Without a COUNT it goes on for ever, and its first call never comes back from its upstream.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from ledger_parts import CONTEXT, ORIGIN, intent, outcome

from mcpgw.core.model import Sealed
from mcpgw.ledger import Ledger

CALLERS = 8


async def main(folder: Path, count: int, stuck: bool) -> None:
    async with Ledger.open(folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT, node="appender") as ledger:
        if stuck:
            print_sealed("intent", await ledger.append(intent()))

        async def caller() -> None:
            for _ in range(count // CALLERS):
                one = await ledger.append(intent())
                print_sealed("intent", one)
                two = await ledger.append(outcome(one))
                print_sealed("outcome", two)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CALLERS):
                tasks.create_task(caller())


def print_sealed(kind: str, sealed: Sealed[Any]) -> None:
    print(kind, sealed.seq, sealed.leaf_hash, flush=True)


forever = len(sys.argv) < 3
asyncio.run(main(Path(sys.argv[1]), 10**9 if forever else int(sys.argv[2]), stuck=forever))
