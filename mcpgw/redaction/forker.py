"""The process that loads the model once for all workers: `python -m mcpgw.redaction.forker` (Linux).

Its standard input is a Unix socket. It reads its settings there, loads the model, and then forks a worker for each socket that
it is handed: what the model takes is shared, copy on write. It looks into no payload, starts no thread, and ends with the
gateway; workers end with it. A worker's first word is its process id, and with it comes a handle on that process and no other.
"""

import ctypes
import gc
import os
import signal
import socket

from mcpgw.redaction import wire
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.worker import limit, load, work

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""


def main() -> None:
    """Serve one gateway process until it closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which finishes its calls first
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps workers; the gateway sees by their handles that they ended
    with socket.socket(fileno=0) as control:
        size = int.from_bytes(control.recv(wire.LENGTH_BYTES, socket.MSG_WAITALL), "big")
        config = wire.read_settings(control.recv(size, socket.MSG_WAITALL))
        limit(config.memory_mb)  # workers inherit it
        loaded = load(config)
        gc.collect()
        gc.freeze()  # or the first collection in each worker would write to every page of the model, and share none
        serve(control, loaded)


def serve(control: socket.socket, loaded: Engine | bytes) -> None:
    """Fork a worker for each socket that comes; where nothing could be loaded, answer it with why."""
    while True:
        message, handed, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        for descriptor in handed:
            with socket.socket(fileno=descriptor) as gateway:
                if isinstance(loaded, bytes):
                    gateway.sendall(loaded)
                else:
                    _fork(loaded, control, gateway)


def _fork(engine: Engine, control: socket.socket, gateway: socket.socket) -> None:
    parent = os.getpid()
    try:
        if os.fork():
            return
    except OSError:
        return  # the socket is closed unanswered, which tells the gateway
    try:
        _be_worker(engine, control, gateway, parent)
    finally:
        os._exit(0)  # whatever happened: this process must not go on as the one that forked it


def _be_worker(engine: Engine, control: socket.socket, gateway: socket.socket, parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before it could be asked for
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    control.close()
    own = os.pidfd_open(os.getpid())
    socket.send_fds(gateway, [wire.frame(b'{"pid":%d}' % os.getpid())], [own])
    os.close(own)
    with gateway.makefile("rb") as source, gateway.makefile("wb") as sink:
        work(engine, source, sink)


if __name__ == "__main__":
    main()
