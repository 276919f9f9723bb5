"""Every fault of a store: the short version of `scripts/store_faults`. Docs/durability.md has the long one's table."""

from pathlib import Path

import pytest

from tests.faults.store_faults import STORES, tried
from tests.ledger.postgres_server import cannot_run

CALLS = 6
SLOW = ("server does not answer",)
"""Minutes of waiting, which tests/ledger/test_postgres.py does with shorter time-outs."""


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES)
async def test_while_a_store_fails_no_upstream_hears_of_a_call_and_afterwards_all_is_well(store: str, tmp_path: Path) -> None:
    if store == "postgres" and (why := cannot_run()):
        pytest.skip(why)
    with STORES[store](tmp_path / "faults") as (bench, faults):
        results = {name: await tried(bench, fault, CALLS) for name, fault in faults.items() if name not in SLOW}
        assert len(results) >= 8
        assert {name: result for name, result in results.items() if not result.kept} == {}
        assert bench.judged() == []
