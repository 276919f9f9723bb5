"""Changes of single resources and of lists: servers of both eras, clients of both, and nobody is told whom it is not for."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types import ResourceUpdatedNotification

from tests.flows.gateway import BOUND_S, Gateway, lines_of, listening, make_folder, serving, until, until_listed

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")  # of what older clients do

UPSTREAMS = ("pipe", "modern", "legacy")
DOWNSTREAMS = ("http 2026", "http 2025", "sse 2025")
RULES = """
resources = ["*"]
prompts = ["*"]

[roles.guests]
members = ["group:guests"]
scopes = ["weather"]

[scopes.weather]
tools = ["*__change"]
resources = ["*+news://weather"]

[[rules]]
id = "closed"
effect = "deny"
resources = ["*+news://*/today"]
when = "tool.kind == 'resource' && args.variables.topic == 'closed'"
reason = "That topic is closed."

[[rules]]
id = "asked-for"
effect = "hold"
resources = ["*+news://*/today"]
when = "tool.kind == 'resource' && args.variables.topic == 'rare'"
"""


def published(server: str, uri: str) -> str:
    return f"mcpgw+{server}+{uri}"


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> Iterator[Gateway]:
    folder = make_folder(tmp_path_factory.mktemp("watched") / "gateway", RULES)
    folder.key("alice", "all")
    folder.key("bob", "guests")
    command = [sys.executable, "-m", "tests.servers.watched_server"]
    with (
        listening([*command, str(logs / "modern"), "http"]) as modern,
        listening([*command, str(logs / "legacy"), "legacy"]) as legacy,
    ):
        root = str(Path(__file__).resolve().parents[2])
        folder.spawned("pipe", [*command, str(logs / "pipe"), "stdio"], f'cwd = "{root}"\n')
        folder.called("modern", "http", f"http://127.0.0.1:{modern}/mcp")
        folder.called("legacy", "http", f"http://127.0.0.1:{legacy}/mcp")
        folder.accept()
        with serving(folder) as gateway:
            yield gateway


@dataclass
class Watcher:
    """A client that subscribed to resources, and what it was told of them."""

    client: Client
    told: list[str] = field(default_factory=list)
    honoured: list[str] = field(default_factory=list)

    async def change(self, server: str, uri: str) -> None:
        with anyio.fail_after(BOUND_S):
            assert not (await self.client.call_tool(f"{server}__change", {"uri": uri})).is_error

    async def until_told(self, uri: str) -> None:
        await until(lambda: uri in self.told, f"{uri} is told of")


@asynccontextmanager
async def watching(gateway: Gateway, downstream: str, key: str, *uris: str) -> AsyncIterator[Watcher]:
    told: list[str] = []

    async def hear(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            told.append(str(message.params.uri))

    async def follow(subscription: Any) -> None:
        async for event in subscription:
            assert isinstance(event, ResourceUpdated)
            told.append(event.uri)

    more = {"message_handler": hear} if downstream.endswith("2025") else {}
    async with gateway.client(downstream, gateway.folder.keys[key], **more) as client:
        await until_listed(client, *(f"{server}__change" for server in UPSTREAMS))
        watcher = Watcher(client, told)
        if more:
            for uri in uris:
                await client.subscribe_resource(uri)
            yield watcher
            return
        async with anyio.create_task_group() as tasks, client.listen(resource_subscriptions=uris) as subscription:
            watcher.honoured = list(subscription.honored.resource_subscriptions or ())
            tasks.start_soon(follow, subscription)
            yield watcher
            tasks.cancel_scope.cancel()


def ends(log: Path, uri: str) -> int:
    """How many subscriptions to this one resource are over."""
    return sum(line.startswith(("over ", "unsubscribe ")) and line.endswith(uri) for line in lines_of(log))


@pytest.mark.promise("resource-subscribe")
@pytest.mark.parametrize("downstream", DOWNSTREAMS)
async def test_a_client_is_told_of_what_it_subscribed_to_and_of_nothing_else(
    gateway: Gateway, logs: Path, downstream: str
) -> None:
    weather = [published(server, "news://weather") for server in UPSTREAMS]
    tea = [published(server, "news://tea/today") for server in UPSTREAMS]
    async with watching(gateway, downstream, "alice", *weather, *tea) as watcher:
        for server in UPSTREAMS:
            await watcher.change(server, "news://secret")
            await watcher.change(server, "news://weather")
            await watcher.until_told(published(server, "news://weather"))
            await watcher.change(server, "news://tea/today/at-five")  # below what was subscribed to, which is what is told
            if server == "legacy":  # the SDK's servers of 2026-07-28 tell of exactly what was asked for
                await watcher.until_told(published(server, "news://tea/today"))
        assert set(watcher.told) == {*weather, published("legacy", "news://tea/today")}
        if downstream.endswith("2025"):
            for uri in weather:
                await watcher.client.unsubscribe_resource(uri)
            await watcher.client.unsubscribe_resource(weather[0])  # which is over already
            watcher.told.clear()
            for server in UPSTREAMS:
                await watcher.change(server, "news://weather")
            assert watcher.told == []
    for server in UPSTREAMS:
        await until(lambda server=server: ends(logs / server, "news://weather"), f"{server} is asked no more")
    (intent, *_) = [one for one in gateway.folder.records("call.intent") if one.get("subscribes")]
    assert (intent["target"]["kind"], intent["target"]["upstream"]) == ("resource", "news://weather")
    told = await gateway.folder.acli("replay", intent["session"]["id"])
    weather_of = intent["target"]["name"]
    assert f"asks to be told when {weather_of} changes, and may" in told
    assert f"will be told when {weather_of} changes" in told and f"answered by {weather_of}" not in told


async def test_a_server_is_asked_once_for_all_who_want_to_hear(gateway: Gateway, logs: Path) -> None:
    log, uri = logs / "legacy", published("legacy", "news://weather")
    begun, ended = lines_of(log).count("subscribe news://weather"), ends(log, "news://weather")
    async with watching(gateway, "http 2025", "alice", uri) as alice:
        async with watching(gateway, "http 2026", "bob", uri) as bob:
            assert bob.honoured == [uri]
            await alice.change("legacy", "news://weather")
            await alice.until_told(uri)
            await bob.until_told(uri)
        alice.told.clear()
        await alice.change("legacy", "news://weather")
        await alice.until_told(uri)
        assert ends(log, "news://weather") == ended
    await until(lambda: ends(log, "news://weather") == ended + 1, "the server is asked no more")
    assert lines_of(log).count("subscribe news://weather") == begun + 1


@pytest.mark.promise("resource-subscribe-refused")
@pytest.mark.parametrize(
    ("key", "uri", "why"),
    [
        ("bob", "news://secret", "Unknown resource"),
        ("alice", "news://nowhere", "Unknown resource"),
        ("alice", "news://closed/today", "That topic is closed"),
        ("alice", "news://rare/today", "Reading it has to be approved each time"),
    ],
)
async def test_who_may_not_read_is_not_told(gateway: Gateway, logs: Path, key: str, uri: str, why: str) -> None:
    for server in ("modern", "legacy"):
        async with watching(gateway, "http 2025", key) as watcher:
            with pytest.raises(MCPError, match=why):
                await watcher.client.subscribe_resource(published(server, uri))
        async with watching(gateway, "http 2026", key, published(server, uri), published(server, "news://weather")) as watcher:
            assert watcher.honoured == [published(server, "news://weather")]
    assert not any(uri in line for server in UPSTREAMS for line in lines_of(logs / server))
    refusals = [one for one in gateway.folder.records("call.refused") if one.get("subscribes")]
    assert len(refusals) >= 4


@pytest.mark.promise("resource-unsubscribe")
async def test_a_subscription_ends_with_the_key_and_with_the_scope(gateway: Gateway, logs: Path) -> None:
    folder, log, uri = gateway.folder, logs / "legacy", published("legacy", "news://weather")
    before = ends(log, "news://weather")
    folder.key("gone", "guests")
    async with watching(gateway, "http 2025", "alice") as alice, watching(gateway, "http 2025", "gone", uri) as gone:
        await alice.change("legacy", "news://weather")
        await gone.until_told(uri)
        gone.told.clear()
        await folder.acli("keys", "revoke", folder.keys["gone"].split("_")[1])
        await alice.change("legacy", "news://weather")
        await until(lambda: ends(log, "news://weather") == before + 1, "nobody wants to hear of it")
        assert gone.told == []
    good, activated = folder.config.read_text(), len(folder.records("policy.activated"))
    try:
        async with watching(gateway, "http 2026", "bob", uri):
            folder.config.write_text(good.replace('resources = ["*+news://weather"]', 'resources = ["*+news://other"]'))
            await until(lambda: ends(log, "news://weather") == before + 2, "bob may hear of it no more")
    finally:
        folder.config.write_text(good)
        await until(lambda: len(folder.records("policy.activated")) == activated + 2, "the scope is back")


class Lists:
    """What a client was told of its lists."""

    def __init__(self) -> None:
        self.told: set[str] = set()

    async def hear(self, message: Any) -> None:
        self.told.add(getattr(message, "method", ""))


KINDS = {f"notifications/{kind}/list_changed" for kind in ("tools", "resources", "prompts")}


@pytest.mark.promise("list-changed-told")
async def test_what_a_server_offers_anew_waits_for_a_person_and_then_who_sees_it_is_told(gateway: Gateway) -> None:
    server = "legacy"  # that of 2026-07-28 tells of its lists in test_conformance.py
    folder, alices, bobs = gateway.folder, Lists(), Lists()
    more = {"tools_list_changed": True, "resources_list_changed": True, "prompts_list_changed": True}
    events: set[str] = set()

    async def follow(subscription: Any) -> None:
        async for event in subscription:
            events.add(type(event).__name__)

    async with (
        gateway.client("http 2025", folder.keys["alice"], message_handler=alices.hear) as alice,
        gateway.client("http 2025", folder.keys["bob"], message_handler=bobs.hear) as bob,
        gateway.client("http 2026", folder.keys["alice"]) as modern,
        anyio.create_task_group() as tasks,
        modern.listen(**more) as subscription,
    ):
        tasks.start_soon(follow, subscription)
        with anyio.fail_after(BOUND_S):
            await alice.call_tool(f"{server}__grow", {"name": "late"})

            def drifted() -> bool:
                found = [one["facts"] for one in folder.records() if one["kind"].startswith("catalog.")]
                return any("tool late" in one.get("added", ()) for one in found)

            await until(drifted, "what is new was found")
            assert f"{server}__late" not in [tool.name for tool in (await alice.list_tools()).tools]
            assert (alices.told, events) == (set(), set())
            await folder.acli("catalog", "accept", server, "--yes")
            await until(lambda: alices.told >= KINDS and len(events) == 3, "those who see it are told that it is there")
            assert f"{server}__late" in [tool.name for tool in (await alice.list_tools()).tools]
            assert f"{server}__late" in [prompt.name for prompt in (await modern.list_prompts()).prompts]
            assert (await modern.read_resource(published(server, "news://late"))).contents
            alices.told.clear(), events.clear()
            await alice.call_tool(f"{server}__shrink", {"name": "late"})
            await until(lambda: alices.told >= KINDS and len(events) == 3, "and that it is gone")
            assert f"{server}__late" not in [tool.name for tool in (await alice.list_tools()).tools]
            await bob.list_tools()
            assert bobs.told == set(), "nothing of bob's changed"
        tasks.cancel_scope.cancel()
