"""A short one of the SIEM's hard hours; `scripts/siem_hour` is the long one."""

from pathlib import Path

from hour import hour


async def test_an_hour_without_the_collector_and_its_disorder_afterwards_lose_nothing(tmp_path: Path) -> None:
    found = await hour(tmp_path, rate=0.5, minutes=60, seed=3)
    assert (found.lost, found.in_order) == (0, True)
    assert found.lag >= 1_800 and found.records >= found.lag
    assert found.received > found.records and found.disordered > 0, "there were duplicates, and disorder"
