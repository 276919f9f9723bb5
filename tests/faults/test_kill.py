"""`kill -9` under load, the short version: `scripts/soak` is the long one, and docs/durability.md says what both prove."""

from pathlib import Path

import anyio
import pytest

from tests.faults.folder import fault_folder
from tests.faults.history import Said
from tests.faults.storm import Storm

ROUNDS, CLIENTS = 4, 16


@pytest.mark.slow
async def test_killed_under_load_a_gateway_keeps_every_promise(tmp_path: Path) -> None:
    with fault_folder(tmp_path) as faults, anyio.fail_after(300):
        storm = Storm(faults, CLIENTS, seed=7)
        assert await storm.run(ROUNDS) == []
    # And it was put to the test: calls were made, held, approved, refused, and caught in the middle.
    for said in (Said.COMPLETED, Said.HELD, Said.REFUSED, Said.NOTHING):
        assert any(done.heard[said] for done in storm.rounds), said
    for what in ("effects", "spent", "left_open", "indeterminate"):
        assert any(getattr(done, what) for done in storm.rounds), what
