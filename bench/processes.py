"""Processes that we start, and what their whole trees cost, from /proc."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
_STOP_S = 20.0

ECHO = "bench.echo"
CROWD = "bench.crowd"
"""Parts of upstreams' command lines: where a gateway is their parent, their cost is not the gateway's."""


@dataclass(frozen=True, slots=True)
class Cost:
    cpu_ms: float
    """User and system time of the tree so far, children that have ended included."""
    rss_mb: float
    """Resident memory now; pages that processes share are counted once for each."""


@contextmanager
def running(command: Sequence[str], *, folder: Path, environ: Mapping[str, str] | None = None, log: str = "") -> Iterator[int]:
    """Run a command in a folder until the block ends; yield its process id. Its output goes to a file in the folder."""
    with (folder / (log or "process.log")).open("ab") as out:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **(environ or {})}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cost(root: int) -> Cost:
    """Return what the tree below a process has used, without upstreams of ours in it."""
    parents = dict(_parents())
    members = {root}
    grown = True
    while grown:
        found = {pid for pid, parent in parents.items() if parent in members and pid not in members and not _is_upstream(pid)}
        members |= found
        grown = bool(found)
    cpu, pages = 0, 0
    for pid in members:
        fields = _stat(pid)
        if fields:
            cpu += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime: proc(5), counted behind the name
            pages += int(fields[21])
    return Cost(cpu * _TICK_MS, pages * _PAGE_MB)


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            yield int(entry.name), int(fields[1])


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []  # it ended meanwhile


def _is_upstream(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return any(upstream.encode() in command for upstream in (ECHO, CROWD))
