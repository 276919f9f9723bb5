"""A gateway on loopback over in-memory doors, and a raw HTTP client on it."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.inbound.doors import World
from tests.inbound.wire import Live, listening


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def live(world: World) -> AsyncIterator[Live]:
    async with listening(world) as gateway:
        yield gateway


@pytest.fixture
async def http(live: Live) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(live.url, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session
