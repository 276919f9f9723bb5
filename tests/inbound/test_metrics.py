"""The door of the metrics: shut to everybody whom the configuration does not name, and to every credential of another kind."""

from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import anyio
import pytest

from mcpgw.core.model import (
    UNAUTHENTICATED,
    Identity,
    IdentityKind,
    RefusalCode,
)
from mcpgw.inbound.http import ROUTES, Access, make_app
from mcpgw.inbound.metrics import METRICS, metrics_route
from mcpgw.inbound.serving import ListenerConfig, make_uvicorn
from tests.inbound.doors import World
from tests.inbound.raw import ACCEPT
from tests.inbound.wire import bearer

NUMBERS = "# TYPE up gauge\nup 1.0\n"
READERS = ("user:prometheus", "group:monitors")


async def collect() -> str:
    return NUMBERS


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[tuple[World, str]]:
    world = World()
    server = world.server()
    app = make_app(server, [metrics_route(server, READERS, collect)])
    assert {(route.path, frozenset(route.methods)) for route in app.routes} == {  # type: ignore[attr-defined]
        (door.path, door.methods) for door in (*ROUTES, METRICS)
    }
    assert METRICS.access is Access.IDENTITY
    listener = make_uvicorn(server, app, ListenerConfig(grace_s=2.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve)
        with anyio.fail_after(10):
            await listener.listening.wait()
        yield world, f"http://127.0.0.1:{listener.port}"
        listener.should_exit = True


@pytest.fixture
async def world(served: tuple[World, str]) -> World:
    served[0].reset()
    return served[0]


@pytest.fixture
async def http(served: tuple[World, str]) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(served[1], timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


def monitor(**changed: object) -> Identity:
    named = Identity(subject="prometheus", issuer="test", kind=IdentityKind.SERVICE, method="api_key")
    return replace(named, **changed)  # type: ignore[arg-type]


async def ask(world: World, http: aiohttp.ClientSession, who: Identity) -> tuple[int, str, str]:
    world.keys.keys["its-key"] = who
    async with http.get("/metrics", headers=bearer("its-key")) as response:
        return response.status, response.headers["content-type"], await response.text()


@pytest.mark.parametrize("who", [monitor(), monitor(subject="other", groups=frozenset({"monitors"}))])
async def test_a_service_that_is_named_reads_them(world: World, http: aiohttp.ClientSession, who: Identity) -> None:
    assert await ask(world, http, who) == (200, "text/plain; version=0.0.4; charset=utf-8", NUMBERS)
    assert world.rejections() == []


@pytest.mark.parametrize(
    "who",
    [
        monitor(subject="grafana"),
        monitor(kind=IdentityKind.HUMAN),
        monitor(kind=IdentityKind.AGENT),
        monitor(actors=("test#an-agent",)),
        monitor(method=UNAUTHENTICATED),
    ],
    ids=["not named", "a person", "an agent", "on behalf of it", "nobody in particular"],
)
async def test_nobody_else_does_and_it_is_recorded(world: World, http: aiohttp.ClientSession, who: Identity) -> None:
    status, _, text = await ask(world, http, who)
    assert (status, "[metrics] readers" in text, "up" in text.split()) == (403, True, False)
    (rejection,) = world.rejections()
    assert (rejection.refused.code, rejection.principal) == (RefusalCode.DENIED, who.principal)


async def test_without_a_credential_it_is_a_challenge(world: World, http: aiohttp.ClientSession) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        async with http.request(method, "/metrics", headers=ACCEPT) as response:
            assert response.status == (401 if method == "GET" else 405), method
    async with http.get("/metrics", headers=bearer("wrong")) as response:
        assert response.status == 401
        assert NUMBERS not in await response.text()
    async with http.get("/metrics", params={"access_token": "its-key"}) as response:
        assert response.status == 400
    async with http.get("/metrics", headers={**bearer("its-key"), "Host": "evil.example"}) as response:
        assert response.status == 421
