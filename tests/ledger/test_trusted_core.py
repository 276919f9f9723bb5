"""The part of the ledger that everything rests on stays small enough to be read."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MOST_LINES = 1_500


def test_the_trusted_core_is_there_and_short() -> None:
    core = runpy.run_path(str(ROOT / "scripts/coverage_gate.py"))["TRUSTED"]
    assert {Path(name).stem for name in core} == {"canonical", "checkpoint", "record", "tree", "writer"}
    assert sum(len((ROOT / name).read_text().splitlines()) for name in core) < MOST_LINES


def test_what_is_mutated_is_what_is_trusted() -> None:
    core = runpy.run_path(str(ROOT / "scripts/coverage_gate.py"))["TRUSTED"]
    mutated = runpy.run_path(str(ROOT / "scripts/mutants.py"))["CORE"]
    assert {file for file, _ in mutated.values()} == set(core)
    assert all((ROOT / test).exists() for _, tests in mutated.values() for test in tests)
