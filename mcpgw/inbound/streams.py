"""ASGI plumbing of the gate: what is received and sent, as the kernel behind it shall see it."""

import json
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from starlette.types import Message, Receive, Send

from mcpgw.core.model import RefusalCode
from mcpgw.inbound.guard import too_large
from mcpgw.inbound.head import Turned

_METHOD_NOT_FOUND: Final = -32601
_RECORDED_STATUS: Final = frozenset({400, 403, 404, 406, 408, 411, 413, 415, 421})
"""Refusals of the kernel behind the gate that are recorded; 401 is recorded where it is raised."""


async def read_body(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Turned(400, "The client went away before the body was complete.")
        body += message.get("body", b"")
        if len(body) > limit:
            raise Turned(413, too_large(limit), headers={"connection": "close"})
        if not message.get("more_body", False):
            return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def noticing(receive: Receive, gone: anyio.Event) -> Receive:
    async def receive_and_notice() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            gone.set()
        return message

    return receive_and_notice


def until(closing: anyio.Event, receive: Receive) -> Receive:
    """A `receive` that reports a disconnect as soon as `closing` is set."""

    async def receive_or_closing() -> Message:
        message: Message = {"type": "http.disconnect"}
        async with anyio.create_task_group() as race:

            async def real() -> None:
                nonlocal message
                message = await receive()
                race.cancel_scope.cancel()

            race.start_soon(real)
            await closing.wait()
            race.cancel_scope.cancel()
        return message

    return receive_or_closing


class Watched:
    """Sees the answer of the kernel on its way out, and notes a refusal before it leaves."""

    def __init__(self, send: Send, note: Callable[[str], Awaitable[None]]) -> None:
        self._send = send
        self._note = note
        self._held: list[Message] = []
        self._started = False
        self._open = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] in _RECORDED_STATUS:
            self._held.append(message)  # until the body tells which error it is
            return
        if self._held:
            start = self._held.pop()
            code = _rpc_code(message.get("body", b""))
            if code != _METHOD_NOT_FOUND:  # probing for a method is how clients find out what a server can do
                await self._note(f"Refused by the protocol layer: HTTP {start['status']}, JSON-RPC {code}.")
            await self._send(start)
        self._started = True
        self._open = message["type"] == "http.response.start" or message.get("more_body", False)
        await self._send(message)

    async def finish(self) -> None:
        """Complete the answer of a request whose session ended under it: the kernel then leaves without a last word.

        Raises:
            Turned: it left without a first one.
        """
        if not self._started:
            raise Turned(404, "The session ended before this was answered.", code=RefusalCode.ABANDONED)
        if self._open:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _rpc_code(body: bytes) -> int:
    """The JSON-RPC code of an error answer, or 0 where it is plain text."""
    try:
        code = json.loads(body)["error"]["code"]
    except (ValueError, LookupError, TypeError):
        return 0
    return code if isinstance(code, int) else 0
