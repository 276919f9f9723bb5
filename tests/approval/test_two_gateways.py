"""Twenty people race over five held calls at two real gateways; `scripts/approvals_soak` lets them race over a hundred."""

from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from tests.approval.two_gateways import raced
from tests.faults.stores import SQLITE, in_postgres
from tests.ledger.postgres_server import cannot_run

HOLDS, PEOPLE = 5, 20


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_each_call_is_settled_once_and_runs_once(store: str, tmp_path: Path) -> None:
    if store == "postgres" and (why := cannot_run()):
        pytest.skip(why)
    with ExitStack() as stack:
        place = stack.enter_context(in_postgres()) if store == "postgres" else SQLITE
        race = stack.enter_context(raced(tmp_path, url=place.url, holds=HOLDS, people=PEOPLE))
        with anyio.fail_after(120):
            await race.run()
        counts = race.judge()
    assert (counts.holds, counts.people) == (HOLDS, PEOPLE)
    assert counts.votes >= 2 * HOLDS
