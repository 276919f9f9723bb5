"""The processes that redact, as the gateway holds them: started one by one, or forked by one that has loaded the model."""

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable
from contextlib import ExitStack
from typing import Protocol

import anyio
from anyio.abc import Process, UNIXSocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from mcpgw.redaction import wire
from mcpgw.redaction.config import NO_MODEL, RedactionConfig

logger = logging.getLogger(__name__)

_ENVIRONMENT = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "SYSTEMROOT",
    "COVERAGE_PROCESS_START",
)
"""Variables that a worker needs to run Python. The gateway's secrets stay out of it."""
_GREETING_BYTES = 65_536
"""More than a greeting or a refusal has."""


class WorkerProcess(Protocol):
    """A process that answers frames with frames. Its first frame, unasked, says whether it is ready."""

    @property
    def pid(self) -> int:
        """Its process id; 0 until it is known."""
        ...

    @property
    def alive(self) -> bool: ...

    async def greeting(self) -> bytes:
        """Return its first frame's body. To be called once."""
        ...

    async def send(self, frame: bytes) -> None: ...

    async def receive(self) -> bytes:
        """Return the next frame's body."""
        ...

    async def kill(self) -> None:
        """End it at once and for good."""
        ...


class Spawned:
    """A worker that loads its own model."""

    def __init__(self, process: Process) -> None:
        self._process = process
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 - both are pipes, see `spawn`
        self._stdin = process.stdin
        self._stdout = BufferedByteReceiveStream(process.stdout)

    @classmethod
    async def spawn(cls, settings: bytes) -> "Spawned":
        """Start a process and send it the frame of the settings; it loads its model by itself."""
        worker = cls(await _python("mcpgw.redaction.worker", stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        try:
            await worker.send(settings)
        except (OSError, anyio.BrokenResourceError):
            logger.error("a redaction worker ended as it was started")  # seen again, and handled, at its first use
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def greeting(self) -> bytes:
        return await self.receive()

    async def send(self, frame: bytes) -> None:
        await self._stdin.send(frame)

    async def receive(self) -> bytes:
        return await _frame(self._stdout)

    async def kill(self) -> None:
        await _end(self._process)


class Forker:
    """A process that has loaded the model, or is loading it, and forks workers. They end with it."""

    def __init__(self, process: Process, control: UNIXSocketStream) -> None:
        self._process = process
        self._control = control

    @classmethod
    async def spawn(cls, settings: bytes) -> "Forker":
        """Start a process and send it the frame of the settings; it loads the model by itself.

        Raises:
            OSError: no process can be started, or it ended at once.
        """
        near, far = socket.socketpair()
        with ExitStack() as opened:
            opened.callback(near.close)
            with far:
                process = await _python("mcpgw.redaction.forker", stdin=far.fileno(), stdout=subprocess.DEVNULL)
            forker = cls(process, await UNIXSocketStream.from_socket(near))
            opened.pop_all()
        await forker._said(forker._control.send(settings))
        return forker

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def fork(self) -> "Forked":
        """Ask for a worker, which greets once the model is loaded.

        Raises:
            OSError: this process ended.
        """
        near, far = socket.socketpair()
        with ExitStack() as opened:
            opened.callback(near.close)
            with far:
                await self._said(self._control.send_fds(b"w", [far.fileno()]))
            worker = Forked(await UNIXSocketStream.from_socket(near), self)
            opened.pop_all()
        return worker

    async def _said(self, sending: Awaitable[None]) -> None:
        try:
            await sending
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            await self.kill()
            raise OSError("the process that forks redaction workers ended") from error

    async def kill(self) -> None:
        """End the process at once and reap it; its workers end too."""
        await _end(self._process)
        with anyio.CancelScope(shield=True):
            await self._control.aclose()


class Forked:
    """A worker that shares the model of the process that forked it."""

    def __init__(self, stream: UNIXSocketStream, forker: Forker) -> None:
        self._stream = stream
        self._received = BufferedByteReceiveStream(stream)
        self._forker = forker
        self._handle = -1
        """Its pidfd, once it has greeted: a process id could mean another process by the time that it is used."""
        self._ended = self._killed = False
        self.pid = 0

    @property
    def alive(self) -> bool:
        """Until it has greeted it is as alive as the one that is to fork it."""
        if self._ended or self._killed:
            return False
        return self._forker.alive if self._handle < 0 else not _over(self._handle)

    async def greeting(self) -> bytes:
        try:
            message, handles = await self._stream.receive_fds(_GREETING_BYTES, 1)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            self._ended = True
            raise
        body = message[wire.LENGTH_BYTES :]
        for handle in handles:
            self._handle, self.pid = handle, json.loads(body)["pid"]
        return body

    async def send(self, frame: bytes) -> None:
        await self._stream.send(frame)

    async def receive(self) -> bytes:
        return await _frame(self._received)

    async def kill(self) -> None:
        """End it. Where it has not greeted, there is none to be ended: it is its forker that does not do its work."""
        if self._killed:
            return
        self._killed = True
        with anyio.CancelScope(shield=True):
            if self._handle < 0:
                await self._forker.kill()
            else:
                if not _over(self._handle):
                    signal.pidfd_send_signal(self._handle, signal.SIGKILL)
                await anyio.wait_readable(self._handle)
                os.close(self._handle)
            await self._stream.aclose()


def shares_model(config: RedactionConfig) -> bool:
    """Whether there is a model to be shared, and several workers to share it, on a platform that can."""
    return config.workers > 1 and config.model != NO_MODEL and sys.platform == "linux" and hasattr(os, "pidfd_open")


async def _python(module: str, *, stdin: int, stdout: int) -> Process:
    env = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    env |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-P", "-m", module]  # -P: nothing is imported from where we were started
    return await anyio.open_process(
        command, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, env=env, start_new_session=True
    )


async def _frame(source: BufferedByteReceiveStream) -> bytes:
    head = await source.receive_exactly(wire.LENGTH_BYTES)
    return await source.receive_exactly(int.from_bytes(head, "big"))


async def _end(process: Process) -> None:
    """End a process at once and reap it."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            process.kill()
        await process.aclose()


def _over(handle: int) -> bool:
    """Tell whether the process of a pidfd has ended (pidfd_open(2): it is readable then)."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))
