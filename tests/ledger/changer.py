"""A process that tells the ledger how a policy stands: `changer.py FOLDER ADDRESS one-state|die-before-the-record`.

The log is in PostgreSQL at ADDRESS or, if that is empty, in SQLite in the folder.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from ledger_parts import CONTEXT, ORIGIN

from mcpgw.core.entries import Changed, Standing
from mcpgw.ledger import Ledger
from mcpgw.ledger.postgres_database import PostgresDatabase
from mcpgw.ledger.sqlite import SqliteDatabase


def policy(rule: str) -> Changed:
    standing = Standing.of("policy", {f"rule {rule.split('=')[0]}": rule})
    return Changed(kind="policy.activated", actor="os:root", standing=standing)


async def main(folder: Path, address: str, what: str) -> None:
    database = PostgresDatabase(address) if address else SqliteDatabase(folder / "data")
    async with Ledger.open(
        folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT, node="changer", database=database
    ) as ledger:
        await ledger.record_changes(policy("a=1"))
        if what == "die-before-the-record":
            (folder / "state").write_text("a=2")
            os.kill(os.getpid(), signal.SIGKILL)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
