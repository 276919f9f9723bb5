"""What every test shares."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """aiohttp and uvicorn need asyncio, so the gateway does."""
    return "asyncio"
