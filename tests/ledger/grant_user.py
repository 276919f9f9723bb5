"""A gateway that makes ten calls under a grant, as long as it may: `grant_user.py FOLDER ADDRESS NUMBER`.

The log is in PostgreSQL at ADDRESS or, if that is empty, in SQLite in the folder. Each effect is a line in the file `effects`.
"""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from ledger_parts import CONTEXT, ORIGIN

from mcpgw.approval import Desk
from mcpgw.core.errors import ApprovalConflict
from mcpgw.core.model import (
    Allow,
    Intent,
    Outcome,
    Patience,
)
from mcpgw.ledger import Ledger
from mcpgw.ledger.postgres_database import PostgresDatabase
from mcpgw.ledger.sqlite import SqliteDatabase
from tests.approval.granting import GRANTING
from tests.approval.world import ARGUMENTS, KEY, REPLY, Everybody, Witness, World


async def main(folder: Path, address: str, number: str) -> None:
    database = PostgresDatabase(address) if address else SqliteDatabase(folder / "data")
    async with Ledger.open(
        folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT, node="user", database=database
    ) as ledger:
        desk = Desk(ledger, ledger, KEY, Everybody())

        async def call(amount: int) -> None:
            shown = World().call(arguments={**ARGUMENTS, "amount": amount})
            shown = replace(shown, call=replace(shown.call, id=f"process-{number}-call-{amount}"))
            answer = await desk.settle(shown, GRANTING, Patience(budget_s=0.0), Witness())
            if not isinstance(answer, Allow):
                return
            try:
                intent = await ledger.append(Intent(shown=shown, allow=answer))
            except ApprovalConflict:
                return
            with (folder / "effects").open("a") as effects:
                effects.write(f"{shown.call.id}\n")
                effects.flush()
                os.fsync(effects.fileno())
            await ledger.append(Outcome(intent=intent, result=REPLY))

        await asyncio.gather(*(call(amount) for amount in range(10)))


asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
