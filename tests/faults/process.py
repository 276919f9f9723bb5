"""A gateway process that is going to be killed, and everything that it started."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.flows.gateway import BOUND_S, Folder, Gateway, wait


@dataclass(frozen=True, slots=True)
class Proc:
    """One process, told apart from a later one with the same id by when it started."""

    pid: int
    started: str
    command: str

    @property
    def lives(self) -> bool:
        now = proc(self.pid)
        return now is not None and now.started == self.started


def proc(pid: int) -> Proc | None:
    """Return the process, or None if it is gone or only waits to be reaped (proc_pid_stat(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in "ZX" else Proc(pid, rest[18], command)


def descendants(pid: int) -> list[Proc]:
    """Return the living children of a process, theirs, and so on."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended
        for child in children:
            found += [alive] if (alive := proc(child)) is not None else []
            found += descendants(child)
    return found


def one_of(pid: int, command: str) -> Proc:
    """Return the one descendant whose command line holds these words."""
    (found,) = (child for child in descendants(pid) if command in child.command and "launch.py" not in child.command)
    return found


def start(folder: Folder, command: Sequence[str] = ("-m", "mcpgw", "serve")) -> Gateway:
    """Start `mcpgw serve` as the leader of its own process group; return at once."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder.path,
        env=folder.full_environ(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    gateway = Gateway(folder, process)
    threading.Thread(target=_hear, args=(gateway,), daemon=True).start()
    return gateway


def _hear(gateway: Gateway) -> None:
    assert gateway.process.stderr is not None
    with gateway.process.stderr:
        gateway.hear()  # until nobody holds the other end any more


def until_serving(gateway: Gateway) -> None:
    """Wait until it is ready for calls. Blocks."""
    assert gateway.listening.wait(BOUND_S) and gateway.url, "".join(gateway.log)
    try:
        wait(lambda: not gateway.problems(), "/readyz is green")
    except AssertionError:
        raise AssertionError(f"never ready: {gateway.problems()}\n{''.join(gateway.log)}") from None


def kill(gateway: Gateway, *, group: bool) -> Sequence[Proc]:
    """Kill the gateway, or its whole process group, with SIGKILL, and return what it had started."""
    children = descendants(gateway.process.pid)
    (os.killpg if group else os.kill)(gateway.process.pid, signal.SIGKILL)
    gateway.process.wait(BOUND_S)
    return children


def survivors(children: Sequence[Proc], bound_s: float = 5.0) -> Sequence[Proc]:
    """Return those that still live after that time; none, if all is well, as soon as all are gone."""
    end = time.monotonic() + bound_s
    while (alive := [child for child in children if child.lives]) and time.monotonic() < end:
        time.sleep(0.02)
    return alive
