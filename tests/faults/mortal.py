"""`mcpgw` that dies at one moment of an approved call: `mortal.py ORDERS VERB …`, in a gateway's folder.

ORDERS is a file that names the moment; while it is not there, the process lives. A moment is `before NAME` or `after NAME`,
where NAME is an entry that is committed to the record (`Opened`, `Vote`, `Settled`, `Intent`, `Outcome`), or `send`, the door
to the upstream. The program is the real one; two of its doors are watched from outside, and at the moment it gets SIGKILL.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
from mcpgw.cli.main import run
from mcpgw.core.model import (
    Permit,
    RawReply,
    Sealed,
)
from mcpgw.ledger import Ledger
from mcpgw.ports import EntryT, Interview, OnNotice
from mcpgw.upstream import UpstreamPool


def mortal(orders: Path) -> None:
    """Put every ledger and every upstream pool of this process under the orders."""
    append, send = Ledger.append, UpstreamPool.send

    def comes(moment: str) -> None:
        if orders.exists() and orders.read_text() == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    async def watched_append(ledger: Ledger, entry: EntryT) -> Sealed[EntryT]:
        name = type(entry).__name__
        comes(f"before {name}")
        sealed = await append(ledger, entry)
        comes(f"after {name}")
        return sealed

    async def watched_send(pool: UpstreamPool, permit: Permit, on_notice: OnNotice, interview: Interview) -> RawReply:
        comes("before send")
        reply = await send(pool, permit, on_notice, interview)
        comes("after send")
        return reply

    watched: list[tuple[type, str, Any]] = [(Ledger, "append", watched_append), (UpstreamPool, "send", watched_send)]
    for door, name, stand_in in watched:
        setattr(door, name, stand_in)


if __name__ == "__main__":
    mortal(Path(sys.argv[1]))
    sys.argv = ["mcpgw", *sys.argv[2:]]
    run()
