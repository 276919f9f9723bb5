"""The short form of scripts/fuzz_redaction, which CI runs; the long one is run by hand and nightly."""

from tests.redaction import fuzz


def test_no_result_makes_redaction_crash_hang_or_change_structure() -> None:
    tally = fuzz.run(600)
    assert tally.cases == 600 and tally.refused < 120


def test_a_seed_makes_its_case_again() -> None:
    assert repr(fuzz.made(7)) == repr(fuzz.made(7)) != repr(fuzz.made(8))


def test_batches_cover_every_case_once() -> None:
    assert list(fuzz.batches(12, 5)) == [(0, 5), (5, 5), (10, 2)]
