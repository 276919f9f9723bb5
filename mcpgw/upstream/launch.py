"""Starts a stdio upstream so that nothing of it can outlive the gateway, however the gateway dies. Linux only.

Run as a script, `launch.py GATEWAY_PID LIMITS COMMAND ARG…`; `LIMITS` is `MEMORY_MB,OPEN_FILES,CPU_S`, each 0 for none. It
starts the command as its child and stays, doing nothing but wait. The kernel tells it of the gateway's death (more exactly, of
the thread's that started it: the event loop's). Whatever the command starts is its own to end: processes whose parent ended, in
whatever session, become its children (`PR_SET_CHILD_SUBREAPER`). It ends them all when the gateway is gone, when the gateway
says so (SIGUSR1), and when the command has ended; then it ends as the command did.

A small program of its own and not a `preexec_fn`: Python between fork and exec of a process with threads can deadlock.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h"""

END = signal.SIGUSR1
_HEARD = {END, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
"""Blocked and waited for. The last three are sent to the whole process group, so the command has them too."""
_ROUNDS = 500
"""Of ending processes, 10 ms apart: those that start others while they are ended need several."""


def main(gateway_pid: int, limits: str, command: list[str]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    prctl(_PR_SET_PDEATHSIG, END)
    if os.getppid() != gateway_pid:
        sys.exit("the gateway is gone")  # it died before the kernel was asked
    launcher_pid = os.getpid()
    child = os.fork()
    if child == 0:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == launcher_pid:
            _become(command, limits)
        os._exit(1)
    _let_go_of_the_pipes()
    status = _wait_for(child)
    _end_all()
    _end_as(status)


def _become(command: list[str], limits: str) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
    memory_mb, open_files, cpu_s = map(int, limits.split(","))
    _limit(resource.RLIMIT_CORE, 0)  # a core dump would hold what calls carried
    for kind, most in (
        (resource.RLIMIT_DATA, memory_mb * 2**20),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_CPU, cpu_s),
    ):
        if most:
            _limit(kind, most)
    try:
        os.execvp(command[0], command)  # noqa: S606  the admin's own command line; a shell is what must not run
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())


def _limit(kind: int, most: int) -> None:
    """Lower a limit for good: the command cannot raise it again. One that is lower already stays."""
    hard = resource.getrlimit(kind)[1]
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (least, least))


def _let_go_of_the_pipes() -> None:
    """The gateway has to see when the command closes them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def _wait_for(child: int) -> int:
    """Return the wait status of the command; of one that has to be ended here, that of SIGKILL."""
    while True:
        heard = signal.sigwait(_HEARD)
        if heard == END:
            return int(signal.SIGKILL)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == child:
                    return ended[1]


def _end_all() -> None:
    """End every process that came of the command. Those whose parent is ended here become children of this one."""
    for _ in range(_ROUNDS):
        for pid in _children():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def _children() -> list[int]:
    with suppress(OSError):  # a kernel without CONFIG_PROC_CHILDREN: the process group is ended by the gateway all the same
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    return []


def _end_as(status: int) -> None:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # SIGKILL has no handler to reset
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
