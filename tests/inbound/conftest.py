"""A gateway on loopback over in-memory doors, and a raw HTTP client on it.

One listener serves a whole module: starting and stopping one takes longer than most tests. Its world is new for each test.
"""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.inbound.doors import World
from tests.inbound.wire import Live, listening


@pytest.fixture(scope="module")
async def standing() -> AsyncIterator[Live]:
    async with listening(World()) as gateway:
        yield gateway


@pytest.fixture
def live(standing: Live) -> Live:
    standing.world.reset()
    return standing


@pytest.fixture
def world(live: Live) -> World:
    """The doors behind `live` and `http`."""
    return live.world


@pytest.fixture
async def http(live: Live) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(live.url, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session
