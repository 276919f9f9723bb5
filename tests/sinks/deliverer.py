"""A process that delivers one folder's log to a collector until it is killed: `deliverer.py FOLDER URL`."""

import sys
from functools import partial
from pathlib import Path

import anyio
from ledger_parts import CONTEXT, ORIGIN
from sink_parts import FAST, SECRET

from mcpgw.ledger import Ledger
from mcpgw.sinks.config import WebhookSink
from mcpgw.sinks.cursor import CursorFile
from mcpgw.sinks.exporter import open_exporter


async def main(folder: Path, url: str) -> None:
    sink = WebhookSink(name="soc", url=url, secret=SECRET, max_events=20)
    async with Ledger.open(
        folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT, node="deliverer", announce=False
    ) as ledger:
        cursors = folder / "data" / "sinks"
        async with open_exporter([sink], log=ledger, cursors=partial(CursorFile, cursors), pace=FAST) as exporter:
            print("ready", flush=True)
            await exporter.run()


anyio.run(main, Path(sys.argv[1]), sys.argv[2])
