"""Somebody who looks at the log all the time, in a process of his own: `python -m tests.faults.observer ADDRESS`.

ADDRESS is that of PostgreSQL or the path of SQLite's file. Prints each newest checkpoint as one line of JSON, until killed. He
reads with plain SQL, and opens SQLite's file anew for each look: nobody who dies is kept company by his connection.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import apsw
import psycopg

NEWEST = "SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1"
ROWS = "SELECT seq, event_id, leaf FROM records ORDER BY seq"
_PAUSE_S = 0.02

Rows = list[tuple[Any, ...]]
Ask = Callable[[str], Rows]


@contextmanager
def asking(address: str) -> Iterator[Ask]:
    """Yield what answers SQL about the log at that address."""
    if address.startswith("postgresql:"):
        with psycopg.connect(address, autocommit=True, application_name="observer") as server:
            server.execute("SET search_path = mcpgw")
            yield lambda sql: server.execute(sql.encode()).fetchall()
        return

    def ask(sql: str) -> Rows:
        with closing(apsw.Connection(address, flags=apsw.SQLITE_OPEN_READONLY)) as file:
            file.set_busy_timeout(5_000)
            return file.execute(sql).fetchall()

    yield ask


def answer(address: str, sql: str) -> Rows:
    with asking(address) as ask:
        return ask(sql)


def main(address: str) -> None:
    last = ""
    with asking(address) as ask:
        while True:
            for (note,) in ask(NEWEST):
                if note != last:
                    print(json.dumps(note), flush=True)
                last = note
            time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main(sys.argv[1])
