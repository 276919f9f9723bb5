"""`kill -9` under load, the short version: `scripts/soak` is the long one, and docs/durability.md says what both prove."""

from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from tests.faults.folder import fault_folder
from tests.faults.history import Said
from tests.faults.stores import SQLITE, in_postgres
from tests.faults.storm import Storm
from tests.ledger.postgres_server import cannot_run

CLIENTS = 16


@pytest.mark.slow
@pytest.mark.parametrize(("store", "gateways", "rounds"), [("sqlite", 2, 4), ("postgres", 2, 1)])
async def test_killed_under_load_gateways_on_one_store_keep_every_promise(
    store: str, gateways: int, rounds: int, tmp_path: Path
) -> None:
    if store == "postgres" and (why := cannot_run()):
        pytest.skip(why)
    with ExitStack() as stack:
        place = stack.enter_context(in_postgres()) if store == "postgres" else SQLITE
        faults = stack.enter_context(fault_folder(tmp_path, place.url))
        storm = Storm(faults, CLIENTS, seed=7, gateways=gateways, place=place)
        with anyio.fail_after(300):
            assert await storm.run(rounds) == []
        assert storm.seen().distinct > rounds
    # And it was put to the test: calls were made, held, approved, and caught in the middle.
    for said in (Said.COMPLETED, Said.HELD, Said.NOTHING):
        assert any(done.heard[said] for done in storm.rounds), said
    for what in ("effects", "spent", "left_open", "indeterminate") if rounds > 1 else ("effects", "kills"):
        assert any(getattr(done, what) for done in storm.rounds), what
