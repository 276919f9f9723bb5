"""JSON text on its way past the SDK: the entries of a list are encoded once, and put into each answer that holds them.

The SDK copies what it answers value by value and then encodes it, 50 ms for 2,000 definitions. So its result holds a stand-in,
a text that nobody can guess, and the listener that sends the answer puts the text for which it stands in its place. On
transports without this (stdio, HTTP+SSE) a result holds its entries themselves.
"""

import secrets

from starlette.types import Message, Send

_LENGTH = b"content-length"


class Enclosed:
    """What belongs into the answer to one message. Nothing, for all but lists."""

    def __init__(self) -> None:
        self._text = b""
        self._mark = b""

    def stand_in(self, text: bytes) -> str:
        """Return what stands in the answer for this text, which is JSON in ASCII on one line."""
        mark = f"mcpgw:{secrets.token_hex(16)}"
        self._mark, self._text = f'"{mark}"'.encode(), text
        return mark

    def into(self, send: Send) -> Send:
        """Return a `send` that puts the text in. The part of an answer that holds the stand-in must be one message, as is
        each body and each event that the SDK sends."""
        held: list[Message] = []

        async def put_in(message: Message) -> None:
            if message["type"] == "http.response.start" and _says_length(message):
                held.append(message)  # until it is known how long the body is
                return
            if self._mark and self._mark in message.get("body", b""):
                message = {**message, "body": message["body"].replace(self._mark, self._text)}
                held[:] = [_with_length(start, len(message["body"])) for start in held]
                self._mark = self._text = b""
            for start in held:
                await send(start)
            held.clear()
            await send(message)

        return put_in


def _says_length(start: Message) -> bool:
    return any(name.lower() == _LENGTH for name, _ in start.get("headers", ()))


def _with_length(start: Message, length: int) -> Message:
    kept = [(name, value) for name, value in start["headers"] if name.lower() != _LENGTH]
    return {**start, "headers": [*kept, (_LENGTH, str(length).encode())]}
