"""A child process as upstream: one JSON-RPC message per line on stdin and stdout (stdio transport, all protocol versions)."""

import asyncio
import logging
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import anyio

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import Json, RawReply
from mcpgw.upstream import launch
from mcpgw.upstream.config import Limits, StdioServer
from mcpgw.upstream.exchange import Correlator, Exchange
from mcpgw.upstream.framing import LineBuffer, Oversize
from mcpgw.upstream.jsonrpc import Malformed, encode
from mcpgw.upstream.questions import Questions
from mcpgw.upstream.stderr import Stderr
from mcpgw.upstream.wire import Ask, OnAnnounced, WireLost

logger = logging.getLogger(__name__)

INHERITED = ("PATH", "HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LOGNAME", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
"""What a child may see of the gateway's environment: what programs need to run, nothing that could be a credential."""

_MOST_UNREAD = 1_000_000
"""Bytes. A child that asks and asks and does not read the answers is not answered further."""
_LAST_WORDS_S = 0.3
"""A child that closed its output is usually about to exit, and one that exited may have output in the pipe: wait this long."""


class StdioWire:
    """The line protocol over one child's pipes."""

    def __init__(self, name: str, limits: Limits, on_announced: OnAnnounced, questions: Questions, stderr: Stderr) -> None:
        self._name = name
        self._stderr = stderr
        self._correlator = Correlator(name, post=self._post, on_announced=on_announced, questions=questions)
        self._lines = LineBuffer(limits.reply_bytes)
        self._child: _Child | None = None  # None until it is started

    async def request(self, ask: Ask) -> RawReply:
        line = _line(self._name, ask.message)
        exchange = self._correlator.open(ask)
        try:
            with ask.clock.scope():
                await self._write(line, exchange)
                return await exchange.wait(ask.on_notice)
            if exchange.settled:  # only handing on its notices took too long
                return exchange.result()
            raise TimeoutError
        finally:
            self._correlator.close(exchange)

    async def notify(self, method: str, params: Mapping[str, Json]) -> None:
        self._post({"jsonrpc": "2.0", "method": method, "params": params})

    def adopt(self, version: str, *, modern: bool) -> None:
        """The wire is the same in both eras: `notifications/cancelled` cancels in 2026-07-28 too, on stdio."""

    async def listen(self) -> None:
        """Everything comes on stdout."""

    async def listening(self) -> None:
        """From the beginning."""

    @property
    def session_id(self) -> str:
        return ""

    async def lost(self) -> str:
        return await self._correlator.lost()

    def attach(self, child: "_Child") -> None:
        self._child = child

    def received(self, chunk: bytes) -> None:
        try:
            for line in self._lines.feed(chunk):
                if line and not line.isspace():
                    self._correlator.receive(line)
        except Oversize:
            self.lose("sent a line beyond the size limit")

    def received_stderr(self, chunk: bytes) -> None:
        self._stderr.feed(chunk)

    def lose(self, because: str) -> None:
        self._correlator.lose(because)

    async def _write(self, line: bytes, exchange: Exchange) -> None:
        child = self._child
        if child is None:
            raise RuntimeError("the wire has no child yet")
        await child.writable.wait()
        if not child.write(line):
            raise WireLost(f"The upstream server {self._name!r} closed its input.", sent=False)
        exchange.sent = True

    def _post(self, message: dict[str, Json]) -> None:
        if self._child is not None and not self._child.is_behind:
            self._child.write(_line(self._name, message))


class _Child(asyncio.SubprocessProtocol):
    """asyncio's view of the process: chunks go to the wire, its end ends the wire."""

    def __init__(self, wire: StdioWire) -> None:
        self._wire = wire
        self._stdin: asyncio.WriteTransport | None = None  # None until connected
        self._transport: asyncio.SubprocessTransport | None = None
        self.writable = asyncio.Event()
        self.writable.set()
        self.exited = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Cast and not checked: uvloop's transports have the methods of asyncio's, but not its classes.
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))

    def write(self, line: bytes) -> bool:
        """Hand the line to the pipe; False if it is closed, so that not a byte of it left."""
        if self._stdin is None or self._stdin.is_closing():
            return False
        self._stdin.write(line)
        return True

    @property
    def is_behind(self) -> bool:
        """Tell whether so much waits for the child to read it that nothing is added which nobody waits for."""
        return self._stdin is not None and self._stdin.get_write_buffer_size() > _MOST_UNREAD

    def close_stdin(self) -> None:
        if self._stdin is not None:
            self._stdin.close()

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        if isinstance(data, bytes):
            (self._wire.received if fd == 1 else self._wire.received_stderr)(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 0:
            self.writable.set()  # a blocked writer finds out that the pipe is closed
        elif fd == 1:
            self._lose_soon("closed its output")

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def process_exited(self) -> None:
        self.exited.set()
        self._lose_soon(self._how_it_ended())

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire.lose(self._how_it_ended())

    def _lose_soon(self, because: str) -> None:
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._wire.lose, because)

    def _how_it_ended(self) -> str:
        code = self._transport.get_returncode() if self._transport is not None else None
        if code is None:
            return "closed its output"
        if code < 0:
            return f"was ended by {_signal_name(-code)}"
        return f"exited with status {code}"


@asynccontextmanager
async def open_stdio(
    name: str, config: StdioServer, limits: Limits, on_announced: OnAnnounced, questions: Questions, stderr: Stderr
) -> AsyncIterator[StdioWire]:
    """Start the child in its own session and process group, and end it, with its group, on the way out.

    Raises:
        UpstreamError: it cannot be started.
    """
    wire = StdioWire(name, limits, on_announced, questions, stderr)
    env = environment(config)
    command = _command(name, config, env)
    child = _Child(wire)
    wire.attach(child)
    try:
        with anyio.CancelScope(shield=True):  # asyncio loses hold of a child whose start is cancelled halfway
            transport, _ = await asyncio.get_running_loop().subprocess_exec(
                lambda: child, *command, env=env, cwd=config.cwd or None, start_new_session=True
            )
    except (OSError, ValueError) as error:
        stderr.explain(f"cannot start {config.command!r} in {config.cwd or 'the current folder'}: {type(error).__name__}")
        raise UpstreamError(f"The upstream server {name!r} cannot be started.", sent=False) from error
    try:
        yield wire
    finally:
        with anyio.CancelScope(shield=True):  # every wait inside is bounded
            await _end(transport, child, limits.stop_s)
        wire.lose("was stopped")


def environment(config: StdioServer) -> dict[str, str]:
    """Return the child's whole environment: whitelisted names of the gateway's own, then what is configured."""
    inherited = {name: os.environ[name] for name in (*INHERITED, *config.inherit_env) if name in os.environ}
    return inherited | dict(config.env)


def _command(name: str, config: StdioServer, env: Mapping[str, str]) -> list[str]:
    """Return the command line, wrapped on Linux so that the child is limited and ends with the gateway.

    A command with a slash is relative to `cwd`; one without is looked for on the child's PATH.

    Raises:
        UpstreamError: there is no such program.
    """
    if os.sep in config.command:
        program = shutil.which(Path(config.cwd, config.command).absolute())
    else:
        program = shutil.which(config.command, path=env.get("PATH", os.defpath))
    if program is None:
        message = f"The upstream server {name!r} cannot be started: its command is not installed or not on PATH."
        raise UpstreamError(message, sent=False, hint=f"Install {config.command!r}, or correct `command` in the catalog.")
    command = [program, *config.args]
    if not _is_launched():
        return command
    limits = f"{config.memory_mb},{config.open_files},{config.cpu_s}"
    return [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), limits, *command]


def _is_launched() -> bool:
    return sys.platform == "linux" and bool(sys.executable)


async def _end(transport: asyncio.SubprocessTransport, child: _Child, step_s: float) -> None:
    """End the child as the stdio transport's specification says (close stdin, SIGTERM, SIGKILL), then what it left behind."""
    pid = transport.get_pid()
    child.close_stdin()
    with anyio.move_on_after(step_s):
        await child.exited.wait()
    if not child.exited.is_set():
        _signal_group(pid, signal.SIGTERM)
        with anyio.move_on_after(step_s):
            await child.exited.wait()
    if not child.exited.is_set():
        _end_with_descendants(pid)
    with anyio.move_on_after(step_s):
        await child.exited.wait()
    _signal_group(pid, signal.SIGKILL)
    transport.close()


def _end_with_descendants(pid: int) -> None:
    """Tell the launcher to end the child and all that came of it, in whatever group; where there is none, end the group."""
    if not _is_launched():
        _signal_group(pid, signal.SIGKILL)
        return
    with suppress(ProcessLookupError):
        os.kill(pid, launch.END)


def _signal_group(pid: int, signal_number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal_number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _line(name: str, message: Mapping[str, Json]) -> bytes:
    try:
        return encode(message) + b"\n"
    except Malformed as problem:
        raise UpstreamError(f"The request to the upstream server {name!r} holds {problem}.", sent=False) from None
