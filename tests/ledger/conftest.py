"""A ledger in a temporary folder, and small real calls to record in it."""

import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from mcpgw.ledger.journal import Ledger
from mcpgw.ledger.keys import create_keys

sys.path.insert(0, str(Path(__file__).parent))  # for `ledger_parts`, which the processes that tests start import as well
from ledger_parts import CONTEXT, ORIGIN, Open


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A gateway's folder: `keys/` with a fresh key, `data/` empty."""
    create_keys(tmp_path / "keys", ORIGIN)
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
def open_ledger(folder: Path) -> Open:
    def opened(**options: object) -> AbstractAsyncContextManager[Ledger]:
        return Ledger.open(folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT, **options)

    return opened


@pytest.fixture
async def ledger(open_ledger: Open) -> AsyncIterator[Ledger]:
    async with open_ledger() as ledger:
        yield ledger
