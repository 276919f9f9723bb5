"""The same server over a pipe, for one local client: newline-delimited JSON-RPC, both eras.

stdout carries the protocol alone: descriptor 1 points at stderr while we serve, so that a stray `print` of any library lands
in the log. A reader thread of our own is a daemon, so a client that keeps stdin open cannot keep the process alive.
"""

import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import mcp_types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.runner import serve_dual_era_loop
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types.jsonrpc import INVALID_REQUEST, ErrorData, JSONRPCError, JSONRPCResponse

from mcpgw.core.errors import AuthenticationError
from mcpgw.core.model import (
    Identity,
    Origin,
    RefusalCode,
    Refused,
)
from mcpgw.inbound.caller import Caller
from mcpgw.inbound.guard import MalformedMessage, check
from mcpgw.inbound.server import GatewayServer

logger = logging.getLogger(__name__)

Identify = Callable[[], Awaitable[Identity]]
"""Authenticate the local user again. Raises `AuthenticationError`."""

GRACE_S = 5.0
"""After the client closed stdin: how long calls under way may still take to answer."""


@dataclass(frozen=True, slots=True)
class Pipe:
    """Where the bytes come from and go to."""

    reader: BinaryIO
    writer: BinaryIO


async def serve_stdio(server: GatewayServer, identify: Identify, pipe: Pipe | None = None, *, grace_s: float = GRACE_S) -> None:
    """Serve one client until it closes its end, then let calls under way finish within `grace_s` seconds.

    `identify` is asked for every message, so that a revoked key stops at once. Without a `pipe` the process's own stdin and
    stdout are claimed for as long as this runs.
    """
    if pipe is None:
        with _claimed() as own:
            await serve_stdio(server, identify, own, grace_s=grace_s)
        return
    to_kernel, from_rim = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_client, from_kernel = anyio.create_memory_object_stream[SessionMessage](0)
    owed = _Owed()
    rim = _StdioRim(server, identify, to_kernel, to_client.clone(), owed)
    async with server.running(), anyio.create_task_group() as tasks:

        async def write_to_the_end() -> None:
            await _write(pipe.writer, from_kernel, owed)
            tasks.cancel_scope.cancel()  # nobody reads any more: what is under way is cancelled, and recorded as that

        tasks.start_soon(write_to_the_end)
        tasks.start_soon(rim.read, pipe.reader, grace_s)
        kernel = server.kernel
        await serve_dual_era_loop(
            kernel, from_rim, to_client, lifespan_state={}, init_options=kernel.create_initialization_options()
        )
        tasks.cancel_scope.cancel()


class _Owed:
    """The requests that still wait for their answer to be written, so that the end of stdin loses none."""

    def __init__(self) -> None:
        self._ids: set[str | int] = set()
        self._settled = anyio.Event()

    def asked(self, message: dict[str, Any]) -> None:
        match message:
            case {"method": "notifications/cancelled", "params": {"requestId": str() | int() as request_id}}:
                self.answered(request_id)  # a cancelled request is never answered
            case {"method": "subscriptions/listen"}:
                pass  # its answer is the end of the subscription
            case {"method": str(), "id": str() | int() as request_id}:
                self._ids.add(request_id)
            case _:
                pass

    def answered(self, request_id: str | int | None) -> None:
        self._ids -= {request_id}
        if not self._ids:
            self._settled.set()
            self._settled = anyio.Event()

    async def nothing(self) -> None:
        while self._ids:
            await self._settled.wait()


class _StdioRim:
    """What the gate is to HTTP: each line is authenticated, checked, and refused with a record or handed on."""

    def __init__(
        self,
        server: GatewayServer,
        identify: Identify,
        to_kernel: MemoryObjectSendStream[SessionMessage | Exception],
        to_client: MemoryObjectSendStream[SessionMessage],
        owed: _Owed,
    ) -> None:
        self._owed = owed
        self._server = server
        self._identify = identify
        self._to_kernel = to_kernel
        self._to_client = to_client

    async def read(self, reader: BinaryIO, grace_s: float) -> None:
        limit = self._server.config.max_body_bytes
        async with self._to_kernel, self._to_client:
            async with _lines(reader, limit) as lines:
                async for line in lines:
                    await self._take(line)
            with anyio.move_on_after(grace_s):
                await self._owed.nothing()
            await self._server.drain(0)

    async def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        config = self._server.config
        try:
            message = check(line.rstrip(b"\r\n"), max_bytes=config.max_body_bytes, max_depth=config.max_depth)
        except MalformedMessage as defect:
            await self._record(RefusalCode.MALFORMED, str(defect))
            await self._answer(defect.request_id, defect.code, str(defect))
            return
        try:
            identity = await self._identify()
        except AuthenticationError as error:
            await self._turn_away(message, RefusalCode.UNAUTHENTICATED, str(error))
            return
        except Exception:
            # Whatever is wrong with keys or issuers: nobody is let in, and it is recorded.
            logger.exception("the credential could not be checked; the message is refused")
            await self._turn_away(message, RefusalCode.UNAVAILABLE, "The gateway could not check the credential.")
            return
        metadata = ServerMessageMetadata(request_context=Caller(identity=identity, identify=self._identify, transport="stdio"))
        parsed = mcp_types.jsonrpc_message_adapter.validate_python(message, by_name=False)
        self._owed.asked(message)
        await self._to_kernel.send(SessionMessage(parsed, metadata))

    async def _turn_away(self, message: dict[str, Any], code: RefusalCode, reason: str) -> None:
        await self._record(code, reason)
        if "method" in message and "id" in message:  # notifications and responses are never answered
            await self._answer(message["id"], INVALID_REQUEST, reason)

    async def _record(self, code: RefusalCode, reason: str) -> None:
        origin = Origin(transport="stdio", protocol_version="")
        await self._server.corridor.reject(origin, Refused(code=code, reason=reason))

    async def _answer(self, request_id: str | int | None, code: int, reason: str) -> None:
        error = JSONRPCError(jsonrpc="2.0", id=request_id, error=ErrorData(code=code, message=reason))
        await self._to_client.send(SessionMessage(error))


@asynccontextmanager
async def _lines(reader: BinaryIO, limit: int) -> AsyncIterator[MemoryObjectReceiveStream[bytes]]:
    """Yield the lines of a blocking file, each cut at `limit` + 1 bytes so that the guard sees that it is too long."""
    send, receive = anyio.create_memory_object_stream[bytes](0)
    loop = anyio.lowlevel.current_token()

    def pump() -> None:
        try:
            while line := reader.readline(limit + 2):
                if len(line) > limit + 1:
                    _skip_rest(reader, line)
                anyio.from_thread.run(send.send, line, token=loop)
            anyio.from_thread.run_sync(send.close, token=loop)
        except (RuntimeError, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError, ValueError) as gone:
            logger.debug("the reader of stdin ended: %r", gone)  # nobody listens any more

    async with receive, send:
        threading.Thread(target=pump, name="mcpgw-stdin", daemon=True).start()
        yield receive


def _skip_rest(reader: BinaryIO, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = reader.readline(65_536)


async def _write(writer: BinaryIO, messages: MemoryObjectReceiveStream[SessionMessage], owed: _Owed) -> None:
    def put(line: bytes) -> None:
        writer.write(line)
        writer.flush()

    async with messages:
        async for message in messages:
            line = message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
            try:
                await anyio.to_thread.run_sync(put, line, abandon_on_cancel=True)
            except (OSError, ValueError):
                logger.info("the client closed its end without waiting for answers")
                return
            if isinstance(message.message, JSONRPCResponse | JSONRPCError):
                owed.answered(message.message.id)


@contextmanager
def _claimed() -> Iterator[Pipe]:
    """Take descriptors 0 and 1 for the protocol, and give the rest of the process /dev/null and stderr instead."""
    sys.stdout.flush()
    reader = os.fdopen(os.dup(0), "rb")
    writer = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    try:
        yield Pipe(reader, writer)
    finally:
        sys.stdout.flush()
        os.dup2(reader.fileno(), 0)
        os.dup2(writer.fileno(), 1)
        with suppress(BrokenPipeError):  # what it still holds is for a client that went away
            writer.close()  # but not the reader: its thread may be inside it
