"""A real PostgreSQL of the tests' own: an unprivileged process in a temporary folder, reached through a unix socket.

It can be killed, frozen and started again. The roles and the database are made by the SQL that docs/postgres.md shows.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).parent.parent.parent
ADMIN = "admin"
LOG = ("records", "checkpoints", "payloads")


def binaries() -> Path:
    """Return the folder of `initdb` and `postgres`: of the newest version that Debian's packages brought, or in the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return (found[-1] if found else Path(on_path or "/nonexistent/initdb")).parent


def cannot_run() -> str:
    """Return why no server can be started here; empty where one can."""
    return "" if (binaries() / "initdb").exists() else "PostgreSQL is not installed: run scripts/postgres"


def documented_sql(block: int = 0) -> list[str]:
    """Return the statements of one SQL block of docs/postgres.md: the first makes the roles, the second the eraser."""
    blocks = re.findall(r"```sql\n(.*?)```", (ROOT / "docs/postgres.md").read_text(), re.DOTALL)
    bare = re.sub(r"--.*", "", blocks[block])
    return [statement.strip() for statement in bare.split(";") if statement.strip()]


class Server:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._as = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        self._process: subprocess.Popen[bytes] | None = None
        if self._as:
            shutil.chown(folder, self._as["user"], self._as["group"])
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        options = f"-U {ADMIN} -A trust -E UTF8 --no-locale --no-sync --data-checksums".split()
        subprocess.run([binaries() / "initdb", "-D", folder / "data", *options], check=True, **quiet, **self._as)

    def address(self, role: str, database: str = "mcpgw") -> str:
        return f"postgresql://{role}@/{database}?host={self.folder}"

    def start(self, *options: str) -> None:
        """Start it, with further options (`fsync=off`), and return once it answers."""
        settings = ("listen_addresses=", f"unix_socket_directories={self.folder}", "max_connections=30", "shared_buffers=16MB")
        command: list[Any] = [binaries() / "postgres", "-D", self.folder / "data"]
        for option in (*settings, *options):
            command += ["-c", option]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True, **self._as
            )
        until = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.address(ADMIN, "postgres")).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None and time.monotonic() < until, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.02)

    def kill(self) -> None:
        """End it and all its children at once, as a power cut would, but for what the kernel holds."""
        assert self._process is not None
        for pid in (self._process.pid, *self.children()):  # each backend has a session of its own: no signal reaches all
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Nothing of it runs, and nobody is told."""
        assert self._process is not None
        stopped = (self._process.pid, *self.children())
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)

    def children(self) -> list[int]:
        """Return the ids of its backends and helpers."""
        assert self._process is not None
        return [int(pid) for pid in Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()]

    def run(self, sql: str, database: str = "postgres", role: str = ADMIN) -> list[tuple[Any, ...]]:
        """Run one statement as the server's administrator."""
        with closing(psycopg.connect(self.address(role, database), autocommit=True)) as db:
            cursor = db.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def empty(self) -> None:
        """Leave the log of the database `mcpgw` as it was when it had just been migrated."""
        self.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'mcpgw' AND pid != pg_backend_pid()")
        with closing(psycopg.connect(self.address(ADMIN))) as db, db:
            db.execute("SET search_path = mcpgw")
            for table in LOG:
                db.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL".encode())
            db.execute("TRUNCATE records, checkpoints, payloads, tiles, approvals, open_calls, nodes, sessions, marks, holds")
            db.execute("UPDATE meta SET value = 0")
            for table in LOG:
                db.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL".encode())


@contextmanager
def running() -> Iterator[Server]:
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2 * 10**9  # a container has 64 MB there
    with tempfile.TemporaryDirectory(prefix="mcpgw-pg-", dir=memory if roomy else None, ignore_cleanup_errors=True) as name:
        server = Server(Path(name))
        server.start()
        try:
            yield server
        finally:
            server.kill()
