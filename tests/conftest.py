"""What every test shares."""

import os

import pytest
from hypothesis import settings

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and commands would make their tables as narrow as its own terminal
settings.register_profile("mcpgw", deadline=None)  # no example is wrong because the machine was busy
settings.load_profile("mcpgw")
settings.register_profile("mutants", max_examples=25, derandomize=True, deadline=None)
"""For scripts/mutants, which runs the same tests hundreds of times."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """aiohttp and uvicorn need asyncio, so the gateway does."""
    return "asyncio"
