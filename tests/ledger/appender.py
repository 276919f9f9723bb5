"""A process that appends calls and prints each acknowledged record: `appender.py FOLDER ADDRESS [COUNT]`.

The log is in PostgreSQL at ADDRESS or, if that is empty, in SQLite in the folder. Without a COUNT it goes on until it is
killed, and its first call never comes back from its upstream.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from ledger_parts import CONTEXT, ORIGIN, intent, outcome

from mcpgw.core.model import Sealed
from mcpgw.ledger import Ledger
from mcpgw.ledger.postgres_database import PostgresDatabase
from mcpgw.ledger.sqlite import SqliteDatabase

CALLERS = 8


async def main(folder: Path, address: str, count: int, stuck: bool) -> None:
    database = PostgresDatabase(address) if address else SqliteDatabase(folder / "data")
    async with Ledger.open(
        folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT, node="appender", database=database
    ) as ledger:
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


forever = len(sys.argv) < 4
asyncio.run(main(Path(sys.argv[1]), sys.argv[2], 10**9 if forever else int(sys.argv[3]), stuck=forever))
