"""A ledger in a temporary folder, an HTTP collector, and throw-away certificates."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `sink_parts`, which the processes that tests start import as well
sys.path.insert(0, str(Path(__file__).parent.parent / "ledger"))  # for `ledger_parts`: small real entries
from ledger_parts import CONTEXT, ORIGIN
from sink_parts import Certificates, Collector, MemoryLog, make_certificates

from mcpgw.ledger import Ledger, create_keys


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector().serving() as collector:
        yield collector


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_keys(tmp_path / "keys", ORIGIN)
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
async def ledger(folder: Path) -> AsyncIterator[Ledger]:
    async with Ledger.open(folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT) as ledger:
        yield ledger


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))
