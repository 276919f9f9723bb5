"""Subscriptions to resources at the rim: how many there may be, and what ends them. What is told is in tests/flows."""

import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.server.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types import ResourceUpdatedNotification

from mcpgw.core.model import Intent, RawJson, RawReply, RefusalCode, ReplyKind
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.watching import OwnListBus, Watchers
from tests.inbound.doors import World, identity
from tests.inbound.test_kinds import OFFERED
from tests.inbound.wire import LEGACY, MODERN, Connect, connections

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")  # of what older clients do

A, OTHER = "mcpgw+bank+file:///a", "mcpgw+other.bank+file:///a"
QUICK = InboundConfig(version="1", recheck_s=0.02)
PATIENT = InboundConfig(version="1")


def world_of(config: InboundConfig) -> World:
    world = World(config=config)
    world.catalog.others = list(OFFERED)
    return world


class NoLists:
    """`Lists` of somebody who sees nothing."""

    def fingerprint(self, *_: Any) -> str:
        return ""


@asynccontextmanager
async def subscribed(
    world: World, transport: str = "http", *uris: str, key: str = "alice-key"
) -> AsyncIterator[tuple[Connect, Client, list[str]]]:
    """A legacy client with these subscriptions; yields what it is told, too."""
    told: list[str] = []

    async def hear(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            told.append(str(message.params.uri))

    with anyio.fail_after(10):
        async with connections(world, transport, LEGACY) as connect, connect(key, message_handler=hear) as client:
            for uri in uris:
                await client.subscribe_resource(uri)
            yield connect, client, told


async def until(world: World, *unsubscribed: tuple[str, str]) -> None:
    while world.upstreams.unsubscribed != [*unsubscribed]:  # noqa: ASYNC110  by another task, which tells nobody
        await anyio.sleep(0.01)


@pytest.mark.promise("resource-unsubscribe")
@pytest.mark.parametrize("transport", ["http", "sse", "stdio"])
async def test_a_subscription_ends_with_its_session(transport: str) -> None:
    world = world_of(PATIENT)
    async with subscribed(world, transport, A, A, OTHER) as (_, client, _told):
        if transport == "http":
            assert world.upstreams.unsubscribed == []
        assert [intent.shown.call.subscribes for intent in world.journal.of(Intent)] == [True] * 3
        await client.unsubscribe_resource(OTHER)
        await client.unsubscribe_resource(OTHER)
        assert world.upstreams.unsubscribed == [("other_bank", "file:///a")]
    with anyio.fail_after(10):
        await until(world, ("other_bank", "file:///a"), ("bank", "file:///a"))


async def test_one_identity_cannot_take_all_subscriptions() -> None:
    world = world_of(InboundConfig(version="1", max_sessions_per_identity=2))
    async with subscribed(world, "http", A, OTHER) as (_, client, _told):
        with pytest.raises(MCPError, match="2 open subscriptions to resources"):
            await client.subscribe_resource("ui://bank/view")
        assert [entry.refused.code for entry in world.rejections()] == [RefusalCode.DENIED]
        await client.unsubscribe_resource(A)
        await client.subscribe_resource("ui://bank/view")


@pytest.mark.promise("listen-bounded")
async def test_a_stream_that_names_too_many_resources_is_refused_and_leaves_nothing_behind() -> None:
    world = world_of(InboundConfig(version="1", max_sessions_per_identity=2))
    with anyio.fail_after(10):
        async with connections(world, "http", MODERN) as connect, connect("alice-key") as client:
            with pytest.raises(MCPError, match="2 open subscriptions to resources"):
                async with client.listen(resource_subscriptions=[A, OTHER, "ui://bank/view"]):
                    pass
            assert sorted(world.upstreams.unsubscribed) == [("bank", "file:///a"), ("other_bank", "file:///a")]
            async with client.listen(resource_subscriptions=["nowhere:x", A, OTHER, A]) as stream:
                assert list(stream.honored.resource_subscriptions or ()) == [A, OTHER]


@pytest.mark.promise("listen-agreed")
async def test_a_stream_is_told_of_what_it_named() -> None:
    world = world_of(PATIENT)
    with anyio.fail_after(10):
        async with (
            connections(world, "http", MODERN) as connect,
            connect("alice-key") as client,
            client.listen(resource_subscriptions=[A]) as stream,
        ):
            connect.server.resource_updated("bank", "file:///a")
            connect.server.resource_updated("bank", "file:///other")
            assert [event async for event in first(stream)] == [ResourceUpdated(uri=A)]


async def first(stream: Any) -> AsyncIterator[Any]:
    async for event in stream:
        yield event
        return


async def test_an_update_before_the_stream_listens_is_not_lost() -> None:
    bus, heard = OwnListBus(Watchers(NoLists()), identity("alice")), []
    await bus.resource_updated(A)
    forget = bus.subscribe(heard.append)
    await bus.resource_updated(OTHER)
    assert heard == [ResourceUpdated(uri=A), ResourceUpdated(uri=OTHER)]
    forget()


@pytest.mark.parametrize("how", ["revoked", "broken", "delegated", "hidden"])
async def test_what_ends_the_right_to_read_ends_the_subscription_by_itself(how: str) -> None:
    """Nothing has to happen at the resource for that: credential and policy are asked again from time to time."""
    world = world_of(QUICK)
    async with subscribed(world, "http", A):
        match how:
            case "revoked":
                del world.keys.keys["alice-key"]
            case "broken":
                world.keys.failures = [RuntimeError("no disk")] * 5
            case "delegated":
                world.keys.keys["alice-key"] = replace(identity("alice"), actors=("agent-7",))
            case _:
                world.catalog.others = [one for one in OFFERED if one.name != A]
        await until(world, ("bank", "file:///a"))
        world.keys.keys["alice-key"] = identity("alice")  # so that the client can end its session


async def test_a_changed_policy_or_catalog_ends_a_subscription_at_once() -> None:
    world = world_of(PATIENT)
    async with subscribed(world, "http", A, OTHER) as (connect, client, told):
        world.catalog.others = [one for one in OFFERED if one.name != A]
        await connect.server.notify_list_changed()
        assert world.upstreams.unsubscribed == [("bank", "file:///a")]
        connect.server.resource_updated("bank", "file:///a")
        connect.server.resource_updated("other_bank", "file:///a/below")
        while not told:  # noqa: ASYNC110  as above
            await anyio.sleep(0.01)
        assert told == [OTHER]
        await client.unsubscribe_resource(A)  # over already


def moved(world: World) -> None:
    """Another server answers to the name `bank` from now on."""
    world.catalog.others = [replace(one, server_fingerprint="another") if one.server == "bank" else one for one in OFFERED]


async def test_a_server_that_became_another_one_is_asked_in_the_clients_place_and_on_record() -> None:
    world = world_of(PATIENT)
    async with subscribed(world, "http", A, OTHER) as (connect, client, told):
        moved(world)
        await connect.server.notify_list_changed()
        await world.journal.until(Intent, 3)
        while not told:  # noqa: ASYNC110  by another task, which tells nobody
            await anyio.sleep(0.01)
        assert told == [A], "what was missed meanwhile nobody knows"
        again = world.journal.of(Intent)[2].shown.call
        assert (again.target.server_fingerprint, again.subscribes, again.origin.attended) == ("another", True, False)
        first = world.journal.of(Intent)[0].shown.call
        assert (again.identity, replace(again.origin, attended=True)) == (first.identity, first.origin)
        await connect.server.notify_list_changed()
        connect.server.resource_updated("bank", "file:///a")
        while told != [A, A]:  # noqa: ASYNC110  as above
            await anyio.sleep(0.01)
        assert len(world.journal.of(Intent)) == 3 and world.upstreams.unsubscribed == [], "once is enough"
        await client.unsubscribe_resource(A)
        assert world.upstreams.unsubscribed == [("bank", "file:///a")]


@pytest.mark.parametrize("how", ["refused", "revoked", "unrecorded"])
async def test_a_subscription_that_another_server_does_not_take_is_over(how: str) -> None:
    world = world_of(PATIENT)
    async with subscribed(world, "http", A, OTHER) as (connect, _client, told):
        match how:
            case "refused":
                error = RawJson({"code": -32050, "message": "nobody hears of that"})
                world.upstreams.refusal = RawReply(kind=ReplyKind.ERROR, payload=error)
            case "revoked":
                del world.keys.keys["alice-key"]
            case _:
                world.journal.broken = True
        moved(world)
        await connect.server.notify_list_changed()
        await until(world, ("bank", "file:///a"))
        world.keys.keys["alice-key"] = identity("alice")
        connect.server.resource_updated("bank", "file:///a")
        connect.server.resource_updated("other_bank", "file:///a")
        while not told:  # noqa: ASYNC110  as above
            await anyio.sleep(0.01)
        assert told == [OTHER]


async def test_a_client_that_leaves_while_another_server_is_asked_leaves_nothing_behind() -> None:
    world = world_of(PATIENT)
    async with subscribed(world, "http", A) as (connect, client, told):
        world.upstreams.subscribing = anyio.Event()
        moved(world)
        await connect.server.notify_list_changed()
        await world.journal.until(Intent, 2)
        await client.unsubscribe_resource(A)
        assert world.upstreams.unsubscribed == [], "it may still be taken"
        world.upstreams.subscribing.set()
        await until(world, ("bank", "file:///a"))
        assert told == []


async def test_whose_credential_ended_is_not_told_even_once() -> None:
    world = world_of(PATIENT)
    async with subscribed(world, "http", A) as (connect, _client, told):
        del world.keys.keys["alice-key"]
        connect.server.resource_updated("bank", "file:///a")
        await until(world, ("bank", "file:///a"))
        assert told == []


async def test_a_client_that_cannot_be_told_keeps_nobody_else_from_being_told() -> None:
    """The SDK says that telling never raises; should it, one subscription ends and no more."""
    world = world_of(PATIENT)

    async def broken() -> None:
        raise RuntimeError("the stream is broken")

    async with subscribed(world, "http", A, OTHER) as (connect, _client, told):
        (first,) = [one for one in connect.server._subscriptions._all() if one.key == ("bank", "file:///a")]
        first.tell = broken
        connect.server.resource_updated("bank", "file:///a")
        connect.server.resource_updated("other_bank", "file:///a")
        await until(world, ("bank", "file:///a"))
        while not told:  # noqa: ASYNC110  by another task, which tells nobody
            await anyio.sleep(0.01)
        assert told == [OTHER]


async def test_a_server_that_tells_of_a_long_uri_costs_no_more_than_the_longest_that_can_be_subscribed_to() -> None:
    world = world_of(PATIENT)
    async with subscribed(world, "http", OTHER) as (connect, _, told):
        tracemalloc.start()
        connect.server.resource_updated("other_bank", "file:///a" + "/" * 30_000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 20_000_000, "each of its slashes ends a URI that may be subscribed to"
        while not told:
            await anyio.lowlevel.checkpoint()
        assert told == [OTHER]
