"""Somebody who looks at the log all the time, in a process of his own: `python -m tests.faults.observer ADDRESS`.

ADDRESS is that of PostgreSQL or the path of SQLite's file. Prints each newest checkpoint as one line of JSON, until killed. He
reads with plain SQL, and opens SQLite's file anew for each look: nobody who dies is kept company by his connection.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import apsw
import psycopg

NEWEST = "SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1"
ROWS = "SELECT seq, event_id, leaf FROM records ORDER BY seq"
_PAUSE_S = 0.02

Ask = Callable[[str], list[tuple[Any, ...]]]


def asking(address: str) -> Ask:
    """Return what answers SQL about the log at that address."""
    if address.startswith("postgresql:"):
        server = psycopg.connect(address, autocommit=True, application_name="observer")
        server.execute("SET search_path = mcpgw")
        return lambda sql: server.execute(sql.encode()).fetchall()

    def ask(sql: str) -> list[tuple[Any, ...]]:
        with closing(apsw.Connection(address, flags=apsw.SQLITE_OPEN_READONLY)) as file:
            file.set_busy_timeout(5_000)
            return file.execute(sql).fetchall()

    return ask


def main(address: str) -> None:
    ask, last = asking(address), ""
    while True:
        for (note,) in ask(NEWEST):
            if note != last:
                print(json.dumps(note), flush=True)
            last = note
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main(sys.argv[1])
