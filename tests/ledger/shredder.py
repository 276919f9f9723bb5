"""A process that shreds what a person said, and is killed on its way: `shredder.py FOLDER ADDRESS WHO STEP`.

The log is in PostgreSQL at ADDRESS or, if that is empty, in SQLite in the folder. STEP is one of `STEPS`, or empty.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ledger_parts import CONTEXT, ORIGIN

from mcpgw.ledger import Ledger
from mcpgw.ledger.postgres import PostgresTransaction
from mcpgw.ledger.postgres_database import PostgresDatabase
from mcpgw.ledger.shredding import Asked
from mcpgw.ledger.sqlite import SqliteDatabase, SqliteTransaction

STEPS = ("before it erases", "before it commits", "after it committed")


def killed(original: Callable[..., Any], when: Callable[[Any], bool], *, after: bool) -> Callable[..., Any]:
    def wrapper(self: Any, *given: Any) -> Any:
        due = when(self)
        if due and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(self, *given)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapper


def prepare(step: str) -> None:
    """Let the process be killed at that step of its first transaction that erases something."""
    erasing: list[int] = []
    for kind in (SqliteTransaction, PostgresTransaction):
        erase, commit = kind.erase, kind.commit

        def noted(self: Any, *given: Any, erase: Callable[..., Any] = erase) -> Any:
            erasing.append(id(self))
            return erase(self, *given)

        def due(self: Any) -> bool:
            return id(self) in erasing

        if step == STEPS[0]:
            kind.erase = killed(erase, lambda self: True, after=False)  # type: ignore[method-assign]
            continue
        kind.erase = noted  # type: ignore[method-assign]
        if step:
            kind.commit = killed(commit, due, after=step == STEPS[2])  # type: ignore[method-assign]


async def main(folder: Path, address: str, who: str) -> None:
    database = PostgresDatabase(address) if address else SqliteDatabase(folder / "data")
    async with Ledger.open(
        folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT, announce=False, database=database
    ) as ledger:
        print((await ledger.eraser.shred(Asked(who=who), "case 9", "os:test")).count)


if __name__ == "__main__":
    prepare(sys.argv[4])
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
