"""An HTTP server without any library, whose every byte a test decides."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def asks(self) -> str:
        """The JSON-RPC method."""
        return str(self.body.get("method", ""))


Handler = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawHttp:
    """Answers the handshake (legacy by default) and an empty tool list; leaves the rest to `handler`."""

    handler: Handler
    modern: bool = False
    session: str = ""
    stream: Handler | None = None
    """Answers GET; 405 where there is none."""
    requests: list[Request] = field(default_factory=list)
    port: int = 0
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            while request := await read(reader):
                self.requests.append(request)
                await self.answer(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        match request.method, request.asks:
            case "GET", _ if self.stream is not None:
                await self.stream(request, writer)
            case (("GET" | "DELETE"), _):
                write(writer, "405 Method Not Allowed", b"")
            case _, "server/discover" if self.modern:
                result = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete"}
                reply(request, writer, result)
            case _, "server/discover":
                write(writer, "400 Bad Request", b"what?", "text/plain")
            case _, "initialize":
                info = {"name": "raw", "version": "0"}
                result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
                reply(request, writer, result, *([f"Mcp-Session-Id: {self.session}"] if self.session else []))
            case _, "tools/list":
                reply(request, writer, {"tools": [{"name": "t"}]})
            case _, asked if asked.startswith("notifications/") or not asked:
                write(writer, "202 Accepted", b"")
            case _:
                await self.handler(request, writer)
        await writer.drain()

    def asked(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.asks == method]


@asynccontextmanager
async def serving(server: RawHttp) -> AsyncIterator[RawHttp]:
    listener = await asyncio.start_server(server.connected, "127.0.0.1", 0, limit=2**26)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


async def read(reader: asyncio.StreamReader) -> Request | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, path, _ = first.split()
    return Request(method, path, headers, json.loads(body) if body else {})


def write(writer: asyncio.StreamWriter, status: str, body: bytes, content_type: str = "application/json", *more: str) -> None:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *more]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def reply(request: Request, writer: asyncio.StreamWriter, result: object, *headers: str) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": request.body["id"], "result": result}).encode()
    write(writer, "200 OK", body, "application/json", *headers)


def begin_stream(writer: asyncio.StreamWriter) -> None:
    """Begin an event stream that ends with the connection."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")


def event(message: object, event_id: str = "", name: str = "message") -> bytes:
    identifier = f"id: {event_id}\n" if event_id else ""
    return f"event: {name}\n{identifier}data: {json.dumps(message)}\n\n".encode()
