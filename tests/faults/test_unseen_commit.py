"""A process that dies between its commit and telling its neighbours of it: what docs/durability.md calls odd, made to happen.

It is why the judge accepts an outcome that turns up after a kill, if the dying process wrote it.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from mcpgw.ledger.sqlite import FILE, SqliteStore

ONE_THAT_DIES = """
import os, signal, sys
from pathlib import Path
from mcpgw.ledger.sqlite import SqliteStore
from tests.ledger.disks import Disk

class Deadly(Disk):
    armed = False

    def synced(self, name: str) -> None:
        if self.armed and name.endswith("-wal"):  # durable; the shared index of the WAL, which neighbours read, comes next
            os.kill(os.getpid(), signal.SIGKILL)

disk = Deadly()
store = SqliteStore.connect(Path(sys.argv[1]), vfs=disk.name)
for word in ("an-earlier-word", "the-last-word"):  # the first commit of a WAL also syncs its header
    transaction = store.begin()
    transaction.add_node(word, "", 1)
    disk.armed = word == "the-last-word"
    transaction.commit()
"""


A_NEIGHBOUR = """
import sys, time
from pathlib import Path
from mcpgw.ledger.sqlite import SqliteStore

store = SqliteStore.connect(Path(sys.argv[1]))
store.size()
print("OPEN", flush=True)
time.sleep(60)
"""


@contextmanager
def neighbour(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that has the database open."""
    process = subprocess.Popen([sys.executable, "-c", A_NEIGHBOUR, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "OPEN\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def nodes(connection: apsw.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT id FROM nodes ORDER BY rowid")]


def test_a_commit_that_nobody_was_told_of_is_seen_once_its_neighbours_have_died_as_well(tmp_path: Path) -> None:
    path = tmp_path / FILE
    SqliteStore.connect(path).close()
    with neighbour(path) as living:
        died = subprocess.run([sys.executable, "-c", ONE_THAT_DIES, str(path)], timeout=30)
        assert died.returncode == -signal.SIGKILL
        with closing(apsw.Connection(str(path))) as reader:
            assert nodes(reader) == ["an-earlier-word"]
        living.kill()
        living.wait()
    with closing(apsw.Connection(str(path))) as afterwards:
        assert nodes(afterwards) == ["an-earlier-word", "the-last-word"]


def test_a_neighbour_that_writes_first_takes_its_place_for_good(tmp_path: Path) -> None:
    path = tmp_path / FILE
    SqliteStore.connect(path).close()
    with closing(SqliteStore.connect(path)) as neighbour, closing(apsw.Connection(str(path))) as reader:
        assert nodes(reader) == []
        subprocess.run([sys.executable, "-c", ONE_THAT_DIES, str(path)], timeout=30)
        transaction = neighbour.begin()
        transaction.add_node("written-since", "", 2)
        transaction.commit()
        assert nodes(reader) == ["an-earlier-word", "written-since"]
    with closing(apsw.Connection(str(path))) as afterwards:
        assert nodes(afterwards) == ["an-earlier-word", "written-since"]
