"""An upstream's address leads where its catalog file says and nowhere else, whoever answers for its name at the moment."""

import asyncio
import socket
from typing import Any

import aiohttp
import anyio
import pytest

from mcpgw.core.addresses import Reach
from mcpgw.identity.documents import DocumentError, fetch
from mcpgw.ledger.anchors.anchor import AnchorFailed
from mcpgw.ledger.anchors.http import client_context, post
from mcpgw.outgoing import AddressRefused, sockets
from mcpgw.ports import ServerState
from mcpgw.sinks import http as receiver
from mcpgw.sinks.config import Tls
from mcpgw.sinks.receiver import SinkUnavailable
from mcpgw.upstream import HttpServer, SseServer
from tests.upstream.raw_http import RawHttp, Request, serving, write
from tests.upstream.world import FINGERPRINT, pool_of


async def page(_: Request, writer: asyncio.StreamWriter) -> None:
    write(writer, "200 OK", b"{}")


class Names:
    """Answers for every name, each time with the next address; the last one stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked = 0
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.getaddrinfo)

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        await anyio.lowlevel.checkpoint()
        address = self.addresses[min(self.asked, len(self.addresses) - 1)]
        self.asked += 1
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, *((0, 0) if ":" in address else ())))]


@pytest.mark.parametrize("kind", [HttpServer, SseServer])
@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "127.1", "0x7f000001"])
async def test_an_address_in_disguise_does_not_count_as_written_out(
    kind: type[HttpServer] | type[SseServer], private: bool, host: str
) -> None:
    async with serving(RawHttp(page)) as server:
        config = kind(fingerprint=FINGERPRINT, url=f"http://{host}:{server.port}/mcp", private=private)
        async with pool_of(config, ready=False) as world:
            if host.startswith("0x") and private:  # a name to HTTP clients, which the system's resolver takes for an address
                await world.until(ServerState.READY if kind is HttpServer else ServerState.DOWN)
                assert server.requests
                return
            problem = (await world.until(ServerState.DOWN)).problem
        words = 'takes addresses = "private" in its catalog file' if host.startswith("0x") else "no http or https URL"
        assert words in problem
        assert not server.requests


@pytest.mark.parametrize(
    ("address", "private", "words"),
    [
        ("127.0.0.1", False, 'takes addresses = "private"'),
        ("10.0.0.1", False, 'takes addresses = "private"'),
        ("::ffff:127.0.0.1", False, 'takes addresses = "private"'),
        ("64:ff9b::7f00:1", False, 'takes addresses = "private"'),
        ("2002:7f00:1::", False, 'takes addresses = "private"'),
        ("169.254.169.254", True, "to which the gateway never connects"),
        ("::ffff:169.254.169.254", True, "to which the gateway never connects"),
        ("64:ff9b::a9fe:a9fe", True, "to which the gateway never connects"),
        ("fd00:ec2::254", True, "to which the gateway never connects"),
        ("0.0.0.0", True, "to which the gateway never connects"),
    ],
)
async def test_what_a_name_resolves_to_is_judged_where_it_is_connected_to(
    monkeypatch: pytest.MonkeyPatch, address: str, private: bool, words: str
) -> None:
    names = Names(monkeypatch, address)
    config = HttpServer(fingerprint=FINGERPRINT, url="http://metadata.google.internal:1/mcp", private=private)
    async with pool_of(config, ready=False) as world:
        problem = (await world.until(ServerState.DOWN)).problem
    assert words in problem and address not in problem
    assert names.asked


async def test_a_name_that_leads_elsewhere_after_it_was_judged_is_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: each new connection is to an address that was judged itself; there is no second look at the name."""
    connector = aiohttp.TCPConnector(socket_factory=sockets(Reach.PRIVATE), use_dns_cache=False, force_close=True)
    async with serving(RawHttp(page)) as server, aiohttp.ClientSession(connector=connector) as client:
        names = Names(monkeypatch, "127.0.0.1", "169.254.169.254")
        async with client.get(f"http://mcp.bank.example:{server.port}/") as response:
            assert response.status == 405
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await client.get(f"http://mcp.bank.example:{server.port}/")
        assert isinstance(caught.value.os_error, AddressRefused)
        assert (names.asked, len(server.requests)) == (2, 1)


async def test_an_address_that_is_link_local_is_not_connected_to_though_it_is_written_out() -> None:
    async with pool_of(
        HttpServer(fingerprint=FINGERPRINT, url="http://169.254.169.254/latest", private=True), ready=False
    ) as world:
        assert "never connects" in (await world.until(ServerState.DOWN)).problem


async def test_no_other_client_of_the_gateway_connects_to_metadata_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, "169.254.169.254")
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    with anyio.fail_after(5):
        with pytest.raises(DocumentError, match="cannot be reached"):
            await fetch("https://issuer.example/jwks")
        with pytest.raises(AnchorFailed, match="no answer"):
            await post("https://tsa.example/", b"", {}, client_context("", "here"))
        async with receiver.open_client("siem", Tls()) as client:
            with pytest.raises(SinkUnavailable, match="no answer"):
                await receiver.post(client, "https://siem.example/", b"", {})
