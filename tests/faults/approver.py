"""A person with quick fingers, in a process of her own: `python -m tests.faults.approver FOLDER`.

Approves whatever waits at the desk of the folder; denies deeds whose names begin with `reject`. MCPGW_API_KEY is her key.
"""

import sys
from contextlib import suppress
from pathlib import Path

import anyio

from mcpgw.cli.common import acting_identity, open_gateway_store
from mcpgw.core.entries import Verdict
from mcpgw.core.errors import ApprovalConflict, LedgerUnavailable
from mcpgw.ports import ApprovalState

_PAUSE_S = 0.1
"""Before a store that failed is asked again."""


async def main(folder: Path) -> None:
    async with open_gateway_store(folder) as store:
        person = await acting_identity(store.settings)
        print("READY", flush=True)
        while True:
            with suppress(LedgerUnavailable):  # asked again in the next round
                for approval in await store.desk.docket(person, [ApprovalState.PENDING]):
                    rejected = str(approval.facts["arguments"]["deed"]).startswith("reject")
                    with suppress(ApprovalConflict):  # settled meanwhile
                        await store.desk.vote(approval.id, person, Verdict.DENY if rejected else Verdict.APPROVE)
                await store.ledger.changed(1.0)
                continue
            await anyio.sleep(_PAUSE_S)


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
