"""A crowd at the door: as many idle sessions and open streams as there may be, while others are served, and what it costs.

`CROWD=2000` asks for so many of each, of twenty identities; the figures are in docs/durability.md.
"""

import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from tests.flows.gateway import BOUND_S, CONFIG, Gateway, bearer, make_folder, names, serving
from tests.inbound.raw import ACCEPT, INITIALIZE, legacy, post

MOST = int(os.environ.get("CROWD", "200"))
"""Sessions, and streams of HTTP+SSE."""
EACH = MOST // 20
"""Of one identity."""
PEOPLE = [f"p{number}" for number in range(MOST // EACH)]
AT_ONCE = 16
"""Requests under way."""
SESSION_KB, STREAM_KB = 64.0, 128.0
"""Memory that one idle session and one open stream may take in the gateway; a stream has a connection."""
LIMITS = f"""\
[listen]
max_sessions = {MOST}
max_sessions_per_identity = {EACH}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = make_folder(tmp_path_factory.mktemp("crowd") / "gateway", config=CONFIG.replace("[listen]\n", LIMITS))
    for who in (*PEOPLE, "late"):
        folder.key(who, "all")
    with serving(folder) as gateway:
        yield gateway


@asynccontextmanager
async def connected(gateway: Gateway) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=None, sock_read=BOUND_S)
    async with aiohttp.ClientSession(gateway.url, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        yield http


def memory_kb(gateway: Gateway) -> int:
    """Return what the gateway's own process holds in memory, without its children."""
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1])


def costs(what: str, before: int, after: int) -> float:
    """Return and tell the memory that one of them takes, in KB."""
    each = (after - before) / MOST
    print(f"{MOST} {what}: {before} to {after} KB, {each:.1f} KB each")
    return each


async def opened(http: aiohttp.ClientSession, key: str) -> dict[str, str]:
    """Open a session of 2025-11-25, and leave it alone."""
    status, answer, headers = await post(http, INITIALIZE, key=key)
    assert status == 200, answer
    session = {"Mcp-Session-Id": headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-11-25"}
    assert (await post(http, legacy("notifications/initialized", request_id=None), session, key=key))[0] == 202
    return session


async def all_of(count: int, one: Any) -> list[Any]:
    """Await `one(number)` for each number, some at a time, and return the results in order."""
    results: list[Any] = [None] * count
    some = anyio.CapacityLimiter(AT_ONCE)

    async def do(number: int) -> None:
        async with some:
            results[number] = await one(number)

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(do, number)
    return results


async def crowd(http: aiohttp.ClientSession, gateway: Gateway) -> list[dict[str, str]]:
    """Open as many sessions as there may be."""
    return await all_of(MOST, lambda number: opened(http, gateway.folder.keys[PEOPLE[number // EACH]]))


async def gone(http: aiohttp.ClientSession, gateway: Gateway, sessions: list[dict[str, str]]) -> None:
    """End them all."""

    async def end(number: int) -> int:
        headers = {**ACCEPT, **bearer(gateway.folder.keys[PEOPLE[number // EACH]]), **sessions[number]}
        async with http.delete("/mcp", headers=headers) as response:
            return response.status

    assert set(await all_of(MOST, end)) == {200}


def refused(gateway: Gateway) -> list[tuple[str, str, str]]:
    """Return who was refused for what, as the record has it, oldest first."""
    records = gateway.folder.records("call.refused")
    return [(record.get("actor", ""), record["outcome"]["code"], record["outcome"]["reason"]) for record in records]


async def test_as_many_idle_sessions_as_there_may_be_hinder_nobody_who_has_one_and_make_room_when_they_end(
    gateway: Gateway,
) -> None:
    keys = gateway.folder.keys
    async with connected(gateway) as http:
        await all_of(AT_ONCE, lambda number: post(http, INITIALIZE, key="nobody's"))  # what the first requests load
        before, known = memory_kb(gateway), len(refused(gateway))
        sessions = await crowd(http, gateway)
        assert costs("idle sessions", before, memory_kb(gateway)) < SESSION_KB

        status, answer, headers = await post(http, INITIALIZE, key=keys["late"])
        assert (status, answer["error"]["message"], headers["retry-after"]) == (
            503,
            "Too many open sessions. Try again in a minute.",
            "60",
        )
        status, answer, headers = await post(http, INITIALIZE, key=keys["p0"])
        assert (status, headers["retry-after"]) == (429, "60") and f"You have {EACH} open sessions" in answer["error"][
            "message"
        ]
        assert [(code, reason.split(",")[0]) for _, code, reason in refused(gateway)[known:]] == [
            ("unavailable", "Too many open sessions. Try again in a minute."), ("denied", f"You have {EACH} open sessions"),
        ]  # fmt: skip

        async with gateway.client("http 2026", keys["late"]) as late:
            assert await names(late) == []  # whoever needs no session is served
        assert (await post(http, legacy("tools/list"), sessions[-1], key=keys[PEOPLE[-1]]))[0] == 200

        await gone(http, gateway, sessions)
        assert (await post(http, legacy("tools/list"), sessions[0], key=keys["p0"]))[0] == 404
        again = await opened(http, keys["late"])
        assert (await post(http, legacy("tools/list"), again, key=keys["late"]))[0] == 200
        async with http.delete("/mcp", headers={**ACCEPT, **bearer(keys["late"]), **again}) as response:
            assert response.status == 200


async def test_as_many_streams_beside_as_many_sessions_hinder_nobody_and_the_next_is_refused(gateway: Gateway) -> None:
    keys = gateway.folder.keys
    async with connected(gateway) as http, AsyncExitStack() as streams:
        sessions = await crowd(http, gateway)
        before, known = memory_kb(gateway), len(refused(gateway))

        async def stream(number: int) -> bytes:
            headers = {**bearer(keys[PEOPLE[number // EACH]]), "Accept": "text/event-stream"}
            response = await streams.enter_async_context(http.get("/sse", headers=headers))
            assert response.status == 200
            return await response.content.readline()

        assert set(await all_of(MOST, stream)) == {b"event: endpoint\r\n"}
        assert costs("open streams beside them", before, memory_kb(gateway)) < STREAM_KB

        for who, status in (("late", 503), ("p0", 429)):
            async with http.get("/sse", headers=bearer(keys[who])) as response:
                assert response.status == status and response.headers["retry-after"] == "60"
        assert [code for _, code, _ in refused(gateway)[known:]] == ["unavailable", "denied"]
        async with gateway.client("http 2026", keys["late"]) as late:
            assert await names(late) == []
        assert (await post(http, legacy("tools/list"), sessions[0], key=keys["p0"]))[0] == 200
        await gone(http, gateway, sessions)

    async def has_room() -> bool:
        async with connected(gateway) as http, http.get("/sse", headers=bearer(keys["p0"])) as response:
            return response.status == 200

    with anyio.fail_after(BOUND_S):
        while not await has_room():  # noqa: ASYNC110  the gateway sees by itself that its clients have left
            await anyio.sleep(0.05)
