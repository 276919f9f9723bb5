"""Cutting a byte stream into lines and server-sent events, in linear time and with a cap."""

from dataclasses import dataclass


class Oversize(ValueError):
    """A line or event is longer than its cap. The rest of the stream cannot be trusted to be framed."""


class LineBuffer:
    """Bytes in, whole lines out, without their line feed. A byte is looked at once, however it is chunked."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._held = bytearray()  # not a list of chunks: an object for each byte of a line that drips would take fifty times it

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that this chunk completes.

        Raises:
            Oversize: a line has more than `cap` bytes.
        """
        head, newline, rest = chunk.partition(b"\n")
        self._keep(head)
        if not newline:
            return []
        lines = [bytes(self._held)]
        self._held.clear()
        *whole, tail = rest.split(b"\n")
        if any(len(line) > self._cap for line in whole):
            raise Oversize
        self._keep(tail)
        return lines + whole

    def _keep(self, part: bytes) -> None:
        if len(self._held) + len(part) > self._cap:
            raise Oversize
        self._held += part


@dataclass(frozen=True, slots=True)
class SseEvent:
    name: str
    data: bytes


class SseParser:
    """Server-sent events as the HTML standard section 9.2 frames them (lines end in LF or CRLF; no server writes bare CR).

    `last_id` and `retry_ms` are what a client needs to resume the stream.
    """

    def __init__(self, cap: int) -> None:
        self._lines = LineBuffer(cap)
        self._cap = cap
        self._name = "message"
        self._data: list[bytes] = []
        self._size = 0
        self.last_id = ""
        self.retry_ms = 1000

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Return the events that this chunk completes.

        Raises:
            Oversize: an event has more than `cap` bytes.
        """
        events: list[SseEvent] = []
        for raw in self._lines.feed(chunk):
            line = raw.removesuffix(b"\r")
            if line:
                self._field(line)
            elif self._data:
                events.append(SseEvent(self._name, b"\n".join(self._data)))
                self._reset()
            else:
                self._reset()
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._size += len(value)
                if self._size > self._cap:
                    raise Oversize
                self._data.append(value)
            case b"event":
                self._name = value.decode("utf-8", "replace")
            case b"id":
                text = value.decode("latin-1")
                self.last_id = text if text.isprintable() else ""
            case b"retry" if value.isdigit() and len(value) < 8:
                self.retry_ms = int(value)
            case _:
                pass  # comments and unknown fields are ignored by the standard

    def _reset(self) -> None:
        self._name = "message"
        self._data = []
        self._size = 0
