"""A gateway erases by itself what is older than config.toml says, and goes on after a fault."""

import logging
import time
from pathlib import Path

import anyio
import pytest

from mcpgw.app import retention
from mcpgw.app.retention import retention_of, sweep_daily
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.describe import RecordContext
from mcpgw.ledger.journal import Ledger
from mcpgw.ledger.keys import create_keys
from mcpgw.ledger.shredding import Retention, Tally
from mcpgw.ledger.store import Query
from mcpgw.settings import from_text
from tests.ledger.ledger_parts import intent, outcome

ORIGIN = "retention.example/ledger"
CONTEXT = RecordContext(version="1", config_hash="c", catalog_hash="d")
DAY_NS = 86_400 * 10**9


def test_the_times_are_those_of_config_toml() -> None:
    assert retention_of(from_text("", Path())) == Retention(clean_ns=396 * DAY_NS, raw_ns=90 * DAY_NS)
    assert retention_of(from_text('[retention]\nclean = "2d"\nraw = "36h"', Path())).raw_ns == 3 * DAY_NS // 2


async def test_a_gateway_sweeps_by_itself_and_tries_again_after_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    create_keys(tmp_path / "keys", ORIGIN)
    now = [time.time_ns() - 400 * DAY_NS]
    caplog.set_level(logging.INFO, "mcpgw.app.retention")
    monkeypatch.setattr(retention, "_LOOK_S", 0.01)
    async with Ledger.open(
        tmp_path / "data", tmp_path / "keys", origin=ORIGIN, context=lambda: CONTEXT, clock=lambda: now[0]
    ) as ledger:
        await ledger.append(outcome(await ledger.append(intent("alice"))))
        now[0] += 399 * DAY_NS
        faults = [LedgerUnavailable("the disk is full")]
        original, swept = ledger.eraser.sweep, anyio.Event()

        async def sweep(kept: Retention, every_ns: int = 0, *, dry_run: bool = False) -> Tally:
            if faults:
                raise faults.pop()
            if await ledger.search(Query(kind="retention.swept")):
                swept.set()
            return await original(kept, every_ns, dry_run=dry_run)

        monkeypatch.setattr(ledger.eraser, "sweep", sweep)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sweep_daily, from_text("", Path()), ledger)
                await swept.wait()
                tasks.cancel_scope.cancel()
        (record,) = await ledger.search(Query(kind="retention.swept"))
        assert record.index["principal"] == "gateway"
    assert [one.message for one in caplog.records if one.name == "mcpgw.app.retention"][:2] == [
        "payloads whose time is over could not be erased: the disk is full",
        "2 payloads whose time was over are erased, and recorded",
    ]
