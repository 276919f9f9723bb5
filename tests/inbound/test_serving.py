"""The end of a listener: calls finish, or are ended with a record; nothing new begins."""

import asyncio
import json
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mcpgw.app import network
from mcpgw.core.model import FailureCode, Intent
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.serving import BoundedHttp
from mcpgw.settings import from_text
from tests.inbound.doors import World
from tests.inbound.raw import ACCEPT, INITIALIZE, call, legacy, post
from tests.inbound.test_sessions import event, open_session, sse
from tests.inbound.wire import MODERN, Live, bearer, connections, listening


async def draining(live: Live) -> None:
    while not live.server.problems():  # noqa: ASYNC110  the listener looks at its flag every 0.1 s and tells nobody
        await anyio.sleep(0.01)


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_shutdown_lets_calls_under_way_finish(era: str) -> None:
    world = World()
    answers = []
    with anyio.fail_after(10):
        async with aiohttp.ClientSession() as outer, listening(world) as live, anyio.create_task_group() as tasks:
            async with aiohttp.ClientSession(live.url) as http:
                session = await open_session(http) if era == "legacy" else {}
                url = f"{live.url}/mcp"

            async def ask() -> None:
                body, routed = (legacy("tools/call", {"name": "bank__wait"}), session) if session else call("bank__wait")
                answers.append(await post(outer, body, routed, path=url))

            tasks.start_soon(ask)
            await world.upstreams.started.wait()
            live.listener.should_exit = True
            await draining(live)
            world.upstreams.release.set()
    [(status, answer, _)] = answers
    assert status == 200 and answer["result"]["content"][0]["text"] == "{}"


async def test_over_sse_as_well() -> None:
    world = World()
    with anyio.fail_after(10):
        async with aiohttp.ClientSession() as outer, listening(world) as live:  # noqa: SIM117  the stream ends first
            async with sse(outer, "alice-key", live.url) as (path, stream):
                for message in (INITIALIZE, legacy("notifications/initialized", request_id=None)):
                    await post(outer, message, path=live.url + path)
                await event(stream)
                await post(outer, legacy("tools/call", {"name": "bank__wait"}), path=live.url + path)
                await world.upstreams.started.wait()
                live.listener.should_exit = True
                await draining(live)
                world.upstreams.release.set()
                assert '"result"' in await event(stream)


async def test_a_call_that_does_not_finish_in_time_is_ended_with_a_record_and_an_answer() -> None:
    world = World()
    answers = []
    with anyio.fail_after(10):
        async with (
            aiohttp.ClientSession() as outer,
            listening(world, grace_s=0.1) as live,
            anyio.create_task_group() as tasks,
        ):
            url = f"{live.url}/mcp"

            async def ask() -> None:
                body, routed = call("bank__wait")
                answers.append(await post(outer, body, routed, path=url))

            tasks.start_soon(ask)
            await world.upstreams.started.wait()
            live.listener.should_exit = True
    [(status, answer, _)] = answers
    assert (status, answer["error"]["code"]) == (200, -32603)
    assert answer["error"]["message"].startswith("The gateway is shutting down, so it was given up. It may have had an effect")
    assert [outcome.result.code for outcome in world.outcomes()] == [FailureCode.CANCELLED]
    assert len(world.journal.of(Intent)) == 1


async def test_while_it_drains_it_is_not_ready_and_takes_no_requests() -> None:
    world = World()
    with anyio.fail_after(10):
        async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
            await live.server.drain(0)
            async with http.get("/readyz") as response:
                assert response.status == 503 and "shutdown" in (await response.json())["problems"]
            body, routed = call("bank__echo")
            status, _, headers = await post(http, body, routed)
            assert (status, headers["Retry-After"]) == (503, "5")
    assert world.upstreams.calls == []


async def test_a_shutdown_closes_standing_streams() -> None:
    world = World()
    with anyio.fail_after(10):
        async with aiohttp.ClientSession() as outer, listening(world) as live:
            response = await outer.get(f"{live.url}/sse", headers={**ACCEPT, **bearer("alice-key")})
            await response.content.readline()
        response.close()


@pytest.mark.promise("listen-ends-in-order")
async def test_a_subscription_ends_in_order_at_a_shutdown() -> None:
    world = World()
    with anyio.fail_after(10):
        async with (
            connections(world, "http", MODERN) as connect,
            connect("alice-key") as client,
            client.listen(tools_list_changed=True) as events,
        ):
            await connect.server.drain(0)
            assert [event async for event in events] == []


async def test_a_call_longer_than_the_limit_is_given_up_with_a_record() -> None:
    world = World(config=InboundConfig(version="1", call_timeout_s=0.1))
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        body, routed = call("bank__wait")
        _, answer, _ = await post(http, body, routed)
    assert answer["error"]["message"].startswith("The call took too long")
    assert [outcome.result.code for outcome in world.outcomes()] == [FailureCode.CANCELLED]


async def test_a_connection_that_never_sends_a_head_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    assert BoundedHttp.head_timeout_s == 20.0
    monkeypatch.setattr(BoundedHttp, "head_timeout_s", 0.1)  # a setting of the class, not the code under test
    async with listening(world) as live:
        for opening in (b"", b"GET /healthz HTTP/1.1\r\nHost:"):
            reader, writer = await asyncio.open_connection("127.0.0.1", live.listener.port)
            writer.write(opening)
            with anyio.fail_after(5):
                assert await reader.read() == b""
            writer.close()


async def test_a_client_that_does_not_read_its_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.upstreams.replies["echo"] = {"content": [{"type": "text", "text": "x" * 90_000}]}
    monkeypatch.setattr(BoundedHttp, "stall_timeout_s", 0.2)  # a setting of the class, not the code under test
    async with listening(world) as live:
        reader, writer = await asyncio.open_connection("127.0.0.1", live.listener.port, limit=1_000)
        body, routed = call("bank__echo")
        data = json.dumps(body).encode()
        headers = {**ACCEPT, **routed, **bearer("alice-key"), "Host": "127.0.0.1", "Content-Length": str(len(data))}
        lines = ["POST /mcp HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        request = "\r\n".join(lines).encode() + data
        with anyio.fail_after(30), pytest.raises(ConnectionError):
            while True:
                writer.write(request * 20)
                await writer.drain()
                await anyio.sleep(0.05)
        writer.close()
        with pytest.raises(OSError):
            while await reader.read(1_000_000):
                pass
        async with aiohttp.ClientSession(live.url) as http:
            assert (await post(http, body, routed))[0] == 200


@pytest.mark.parametrize(
    ("trusted", "address"), [((), "127.0.0.1"), (("127.0.0.1",), "10.1.2.3"), (("10.0.0.0/8",), "127.0.0.1")]
)
async def test_a_forwarded_address_is_believed_from_trusted_proxies_alone(trusted: tuple[str, ...], address: str) -> None:
    world = World()
    async with listening(world, trusted_proxies=trusted) as live, aiohttp.ClientSession(live.url) as http:
        body, routed = call("bank__echo")
        await post(http, body, {**routed, "X-Forwarded-For": "10.1.2.3"})
    assert [received.origin.address for received in world.upstreams.calls] == [address]


async def test_it_serves_tls(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    trust = ssl.create_default_context(cafile=str(certificate))
    async with (
        listening(World(), tls_certificate=str(certificate), tls_key=str(key)) as live,
        aiohttp.ClientSession() as http,
        http.get(f"https://localhost:{live.listener.port}/healthz", ssl=trust) as response,
    ):
        assert response.status == 200


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = serialization.PrivateFormat.PKCS8
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, private, serialization.NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


RAISING = """
import logging, resource, sys
from mcpgw.inbound.serving import allow_connections
logging.basicConfig(format="%(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, (256, int(sys.argv[1])))
print(allow_connections(2_000), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("hard", "told", "warning"),
    [
        ("4096", "2000 2500 4096", ""),
        ("1500", "1000 1500 1500", "only 1000 of 2000 connections are taken, because this process may open 1500 files"),
        ("600", "300 600 600", "allow it 2500 (LimitNOFILE= of systemd"),
    ],
)
def test_a_gateway_takes_no_more_connections_than_the_files_that_it_may_open(hard: str, told: str, warning: str) -> None:
    done = subprocess.run([sys.executable, "-c", RAISING, hard], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == told
    assert warning in done.stderr and bool(done.stderr) is bool(warning)


def test_there_are_connections_for_every_stream_that_is_allowed_and_for_requests_beside() -> None:
    for written in ("", "[listen]\nmax_sessions = 20000"):
        settings = from_text(written, Path())
        assert network.listener(settings).max_connections >= 3 * settings.listen.max_sessions + 500
