"""What goes on beside the answers of an HTTP server: questions, notifications, sessions, and connections that fail."""

import asyncio
import datetime
import json
import ssl
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import TargetKind
from mcpgw.ports import ServerState
from mcpgw.upstream import Limits
from tests.upstream.raw_http import RawHttp, Request, begin_stream, event, reply, serving, write
from tests.upstream.world import QUICK, http, pool_of, texts


async def fine(request: Request, writer: asyncio.StreamWriter) -> None:
    reply(request, writer, {"content": [{"type": "text", "text": "fine"}]})


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110  the server under test has no event to wait for
            await anyio.sleep(0.02)


def notification(method: str, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


async def test_a_legacy_server_that_asks_on_the_answer_stream_gets_its_answer_posted() -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        writer.write(event({"jsonrpc": "2.0", "id": "q1", "method": "ping"}))
        writer.write(event({"jsonrpc": "2.0", "id": "q2", "method": "elicitation/create", "params": {}}))
        await writer.drain()
        await until(lambda: len([asked for asked in server.requests if "method" not in asked.body and asked.body]) == 2)
        writer.write(event({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": []}}))
        writer.close()

    async with serving(RawHttp(handler)) as server, pool_of(http(server.url)) as world:
        await world.call("t")
        answers = {asked.body["id"]: asked.body for asked in server.requests if "method" not in asked.body and asked.body}
    assert answers["q1"]["result"] == {}
    assert answers["q2"]["error"]["code"] == -32601


async def test_what_comes_before_the_answer_belongs_to_its_call() -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        token = request.body["params"]["_meta"]["progressToken"]
        writer.write(event(notification("notifications/progress", progressToken=token, progress=1, message="m", extra=0)))
        writer.write(event(notification("notifications/progress", progressToken="another", progress=2)))
        writer.write(event(notification("notifications/message", level="info", data={"n": None})))
        writer.write(event(notification("notifications/resources/updated", uri="x")))
        writer.write(event(notification("nonsense"), name="custom"))
        writer.write(event({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": []}}))
        writer.close()

    for modern in (True, False):
        async with serving(RawHttp(handler, modern=modern)) as server, pool_of(http(server.url)) as world:
            await world.call("t")
            assert [(notice.method, notice.params) for notice in world.notices] == [
                ("notifications/progress", {"progress": 1, "message": "m"}),
                ("notifications/message", {"level": "info", "data": {"n": None}}),
            ]


async def test_a_session_that_ends_is_noticed_on_the_notification_stream_while_nobody_calls() -> None:
    streams: list[asyncio.StreamWriter] = []

    async def stream(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.headers["mcp-session-id"] != server.session:
            write(writer, "404 Not Found", b"")
            return
        streams.append(writer)
        begin_stream(writer)

    async with serving(RawHttp(fine, session="one", stream=stream)) as server, pool_of(http(server.url)) as world:
        await until(lambda: len(streams) == 1)
        server.session = "two"
        streams[0].close()
        await until(lambda: len(streams) == 2)
        assert len(server.asked("initialize")) == 2
        await until(lambda: len(server.asked("tools/list")) == 2)  # another server process may offer other tools
        assert texts(await world.call("t")) == ["fine"]


@pytest.mark.parametrize("answer", ["200 OK", "404 Not Found", "405 Method Not Allowed", "500 Oops"])
async def test_a_server_without_a_notification_stream_is_not_asked_for_it_again(answer: str) -> None:
    async def stream(_: Request, writer: asyncio.StreamWriter) -> None:
        write(writer, answer, b"<html>", "text/html")

    async with serving(RawHttp(fine, session="one", stream=stream)) as server, pool_of(http(server.url)) as world:
        await anyio.sleep(1.5)
        assert len([request for request in server.requests if request.method == "GET"]) == 1
        assert len(server.asked("initialize")) == 1
        assert world.status().state is ServerState.READY


async def test_a_change_that_is_told_on_the_notification_stream_is_read() -> None:
    async def stream(_: Request, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        writer.write(event(notification("notifications/tools/list_changed")))

    async with serving(RawHttp(fine, stream=stream)) as server, pool_of(http(server.url)):
        await until(lambda: len(server.asked("tools/list")) == 2)


async def test_a_modern_subscription_is_opened_again_and_the_lists_are_read_each_time() -> None:
    listens: list[Request] = []

    async def handler(request: Request, writer: asyncio.StreamWriter) -> None:
        listens.append(request)
        begin_stream(writer)
        writer.write(event(notification("notifications/subscriptions/acknowledged", notifications={})))
        await writer.drain()
        if len(listens) == 1:
            writer.close()

    class Announcing(RawHttp):
        async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
            if request.asks == "server/discover":
                capabilities = {"tools": {"listChanged": True}}
                reply(request, writer, {"supportedVersions": ["2026-07-28"], "capabilities": capabilities})
            else:
                await super().answer(request, writer)

    async with serving(Announcing(handler, modern=True)) as server, pool_of(http(server.url)):
        await until(lambda: len(listens) == 2)
        await until(lambda: len(server.asked("tools/list")) >= 3)
        assert listens[0].body["params"]["notifications"]["toolsListChanged"] is True


async def test_why_no_connection_came_about_is_said_and_nothing_was_sent(tmp_path: Path) -> None:
    context = certificate(tmp_path)
    plain = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    secure = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    ports = [server.sockets[0].getsockname()[1] for server in (plain, secure)]
    servers = {
        "refused": (http("http://127.0.0.1:1/mcp"), "cannot be reached (ECONNREFUSED)"),
        "name": (http("http://no-such-host.invalid/mcp"), "host name that does not resolve"),
        "certificate": (http(f"https://localhost:{ports[1]}/mcp"), "TLS certificate that is not trusted"),
    }
    limits = Limits(backoff_first_s=5, connect_s=5, probe_s=5)
    async with pool_of({name: config for name, (config, _) in servers.items()}, limits=limits, ready=False) as world:
        for name, (_, words) in servers.items():
            assert words in (await world.until(ServerState.DOWN, name)).problem
            with pytest.raises(UpstreamError) as caught:
                await world.call("t", server=name)
            assert caught.value.sent is False
    plain.close()
    secure.close()


async def test_a_server_whose_lists_cannot_be_had_is_not_offered_halfway() -> None:
    class Refusing(RawHttp):
        async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
            if request.asks == "tools/list":
                error = {"code": -32603, "message": "the database is gone, ask Ann"}
                write(writer, "200 OK", json.dumps({"jsonrpc": "2.0", "id": request.body["id"], "error": error}).encode())
            else:
                await super().answer(request, writer)

    async with serving(Refusing(fine)) as server, pool_of(http(server.url), ready=False, limits=QUICK) as world:
        status = await world.until(ServerState.DOWN)
        assert "was refused with JSON-RPC error -32603" in status.problem
        assert "Ann" not in status.problem
        assert world.pool.definitions("s").get(TargetKind.TOOL) is None


def certificate(folder: Path) -> ssl.SSLContext:
    """Make a certificate that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(signed.public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
