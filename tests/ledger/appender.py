"""A process that appends until it is told to stop, or killed: `appender.py FOLDER COUNT`. Prints each acknowledged record."""

import asyncio
import sys
from pathlib import Path

from ledger_parts import CONTEXT, ORIGIN, intent, outcome

from mcpgw.ledger import Ledger

CALLERS = 8


async def main(folder: Path, count: int) -> None:
    async with Ledger.open(folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT, node="appender") as ledger:

        async def caller() -> None:
            for _ in range(count // CALLERS):
                one = await ledger.append(intent())
                print("intent", one.seq, one.leaf_hash, one.entry.shown.call.id, flush=True)
                two = await ledger.append(outcome(one))
                print("outcome", two.seq, two.leaf_hash, two.entry.intent.entry.shown.call.id, flush=True)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CALLERS):
                tasks.create_task(caller())


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
