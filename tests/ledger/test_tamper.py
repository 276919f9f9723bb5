"""Tampering by the dozen, on both stores: `scripts/tamper` is the long version, and test_tampering.py tells of single cases."""

import pytest
import tamper
from postgres_server import cannot_run


@pytest.mark.slow
@pytest.mark.parametrize("store", tamper.STORES)
def test_random_tampering_of_every_class_is_found_and_located(store: str) -> None:
    if store == "postgres" and (why := cannot_run()):
        pytest.skip(why)
    tallies = list(tamper.tampered(store, 20, seed=7, large=120, small=60))
    assert [miss for tally in tallies for miss in tally.misses] == []
    assert [tally.name for tally in tallies if not tally.whole] == []
