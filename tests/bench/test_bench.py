"""Each benchmark runs, in its shortest mode, and its tables have their shape. Never a time."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.postgres_server import cannot_run

ROOT = Path(__file__).parents[2]


at_length = pytest.mark.skipif("MCPGW_LONG" not in os.environ, reason="half a minute each: MCPGW_LONG=1 runs them too")
"""CI runs the benchmarks of calls and of lists. The others have the same machinery."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that a database server of another user can get to, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="mcpgw-test-bench-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def bench(what: str, place: Path) -> list[dict[str, Any]]:
    """Run one benchmark as `scripts/bench` does, with whatever peers are installed; return its tables, numbers checked."""
    command = [sys.executable, "-m", "bench", what, "--short", "--json", "--folder", str(place)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["short"] is True and document["machine"]["cores"] >= 1
    assert not list(place.iterdir()), "a benchmark leaves its folder behind"
    for table in document["findings"]:
        for row in table["rows"]:
            assert len(row) == len(table["columns"]), table["title"]
            assert any(isinstance(cell, int | float) and cell > 0 for cell in row[1:]), (table["title"], row)
    return list(document["findings"])


def names(table: dict[str, Any]) -> list[str]:
    return [row[0] for row in table["rows"]]


@pytest.mark.slow
def test_the_cost_of_calls_has_a_table_for_each_era(place: Path) -> None:
    tables = bench("calls", place)
    assert ["2026-07-28" in table["title"] for table in tables] == [True, False]
    for table in tables:
        assert names(table)[:3] == ["the upstream itself", "mcpgw, patterns", "mcpgw, patterns and NER"]


@pytest.mark.slow
def test_lists_are_whole_with_all_upstreams_well_and_with_two_that_fail(place: Path) -> None:
    (table,) = bench("listing", place)
    ours = [row for row in table["rows"] if row[0].startswith("mcpgw: ")]
    assert [row[0] for row in ours] == ["mcpgw: all upstreams well", "mcpgw: one dead, one hanging"]
    assert all(row[table["columns"].index("tools")] >= 160 for row in ours)
    floor = table["rows"][-1]
    assert floor[0].startswith("the same pages from memory") and floor[1:4] == ours[0][1:4], "to the byte"


@at_length
@pytest.mark.slow
def test_startup_is_measured_beside_pythons_own(place: Path) -> None:
    (table,) = bench("startup", place)
    assert names(table)[0] == "python -c pass" and len(table["rows"]) == 5
    assert table["rows"][0][-1] == "1 x"


@at_length
@pytest.mark.slow
def test_the_ledger_is_measured_beside_the_disk(place: Path) -> None:
    appends, verification = bench("ledger", place)
    assert len([name for name in names(appends) if name.startswith("SQLite, ")]) == 2
    assert names(verification)[0] == "mcpgw verify, SQLite"
    if not cannot_run():
        assert (len(names(appends)), len(names(verification))) == (6, 2)


@at_length
@pytest.mark.slow
def test_redaction_is_measured_beside_presidio(place: Path) -> None:
    speed, latency = bench("redaction", place)
    assert [column for column in speed["columns"] if "JSON" in column] == ["JSON 4 KB, MB/s", "JSON 64 KB, MB/s"]
    assert {"mcpgw, patterns", "mcpgw, patterns and NER", "Presidio's defaults on the raw text"} <= set(names(speed))
    assert len(latency["rows"]) == 2
