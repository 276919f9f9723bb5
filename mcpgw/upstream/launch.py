"""Starts a stdio upstream so that it cannot outlive the gateway, however the gateway dies. Linux only.

Run as a script, `launch.py GATEWAY_PID COMMAND ARG…`: asks the kernel to kill this process with its parent (more exactly,
with the thread that started it: the event loop's), then becomes the command. The request survives `execve`. Its own small
program and not a `preexec_fn`, because running Python between fork and exec of a process with threads can deadlock.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""


def main(gateway_pid: int, command: list[str]) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != gateway_pid:
        sys.exit("the gateway is gone")  # it died before the kernel was asked
    try:
        os.execvp(command[0], command)  # noqa: S606  the admin's own command line; a shell is what must not run
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
