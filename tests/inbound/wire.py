"""The gateway on a real listener and a real pipe, and real clients to reach it with."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import anyio
import httpx2
import mcp_types
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage

from mcpgw.core.model import Identity
from mcpgw.inbound.http import make_app
from mcpgw.inbound.server import GatewayServer
from mcpgw.inbound.serving import GatewayListener, ListenerConfig, make_uvicorn
from mcpgw.inbound.stdio import Pipe, serve_stdio
from tests.inbound.doors import World

MODERN = "2026-07-28"
LEGACY = "legacy"
TRANSPORTS = ("http", "sse", "stdio")


@dataclass
class Live:
    """A gateway that listens on loopback."""

    world: World
    server: GatewayServer
    listener: GatewayListener

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.port}"


@asynccontextmanager
async def listening(world: World, **listener: Any) -> AsyncIterator[Live]:
    server = world.server()
    uvicorn_server = make_uvicorn(server, make_app(server), ListenerConfig(**{"grace_s": 2.0, **listener}))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(uvicorn_server.serve)
        with anyio.fail_after(10):
            await uvicorn_server.listening.wait()
        try:
            yield Live(world, server, uvicorn_server)
        finally:
            uvicorn_server.should_exit = True


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@asynccontextmanager
async def http_transport(url: str, key: str) -> AsyncIterator[Any]:
    async with (
        httpx2.AsyncClient(headers=bearer(key), timeout=30) as http,
        streamable_http_client(url, http_client=http) as streams,
    ):
        yield streams


@asynccontextmanager
async def stdio_transport(server: GatewayServer, world: World, key: str) -> AsyncIterator[Any]:
    """A client's end of a pipe whose other end the gateway serves."""
    async with piped(server, world, key) as (writer, lines):
        to_client, from_gateway = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        to_gateway, from_client = anyio.create_memory_object_stream[SessionMessage](0)

        async def receive() -> None:
            async for line in lines:
                message = mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    await to_client.send(SessionMessage(message))

        async def send() -> None:
            async for message in from_client:
                writer.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                writer.flush()

        async with anyio.create_task_group() as tasks, to_client, from_client:
            tasks.start_soon(receive)
            tasks.start_soon(send)
            async with from_gateway, to_gateway:
                try:
                    yield from_gateway, to_gateway
                finally:
                    writer.close()  # the gateway ends, so its end of the other pipe closes, so `receive` ends


@asynccontextmanager
async def piped(server: GatewayServer, world: World, key: str) -> AsyncIterator[Any]:
    """Serve stdio over two pipes; yield the client's writing file and its lines."""

    async def identify() -> Identity:
        return await world.keys.authenticate(key)

    gateway_in, client_out = os.pipe()
    client_in, gateway_out = os.pipe()
    with (
        os.fdopen(gateway_in, "rb") as reader,
        os.fdopen(gateway_out, "wb") as answers,
        os.fdopen(client_out, "wb") as writer,
        os.fdopen(client_in, "rb") as responses,
    ):
        async with anyio.create_task_group() as tasks:

            async def serve() -> None:
                try:
                    await serve_stdio(server, identify, Pipe(reader, answers), grace_s=0.5)
                finally:
                    with suppress(BrokenPipeError):
                        answers.close()

            tasks.start_soon(serve)
            try:
                yield writer, anyio.wrap_file(responses)
            finally:
                writer.close()


@asynccontextmanager
async def connected(world: World, transport: str, mode: str, key: str = "alice-key", **client: Any) -> AsyncIterator[Client]:
    """An SDK client on a gateway of its own, by that transport and era."""
    async with connections(world, transport, mode) as connect, connect(key, **client) as connection:
        yield connection


@dataclass
class Connect:
    """Opens client connections to one gateway; over stdio one only, as in life."""

    server: GatewayServer
    world: World
    transport: str
    mode: str
    url: str = ""

    def anew(self) -> "Connect":
        """A second connection: over stdio a gateway serves one client only, so it takes another gateway."""
        return self if self.transport != "stdio" else replace(self, server=self.world.server())

    def __call__(self, key: str, **more: Any) -> Client:
        match self.transport:
            case "stdio":
                streams = stdio_transport(self.server, self.world, key)
            case "sse":
                streams = sse_client(f"{self.url}/sse", headers=bearer(key))
            case _:
                streams = http_transport(f"{self.url}/mcp", key)
        return Client(streams, mode=self.mode, cache=None, **more)


@asynccontextmanager
async def connections(world: World, transport: str, mode: str) -> AsyncIterator[Connect]:
    if transport == "stdio":
        yield Connect(world.server(), world, transport, mode)
        return
    async with listening(world) as live:
        yield Connect(live.server, world, transport, mode, live.url)
