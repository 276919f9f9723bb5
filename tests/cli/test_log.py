"""`mcpgw log`: what is asked for is looked for and recorded, and what is printed is harmless and can be read back."""

import csv
import io
import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mcpgw.cli.init import make_keys
from mcpgw.cli.main import build
from mcpgw.cli.records import COLUMNS, cell
from mcpgw.core.errors import ConfigError
from mcpgw.ledger.record import parse, unpack
from mcpgw.ledger.sqlite import FILE, SqliteStore
from mcpgw.ledger.store import Query

CURSOR = re.compile(r"mcpgw log --after (\S+)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose log has nothing but readings of it."""
    path = tmp_path_factory.mktemp("log")
    (path / "catalog").mkdir()
    (path / "config.toml").write_text('[ledger]\norigin = "log.example/ledger"\n')
    make_keys(path)
    run(path, "--who", "=cmd|' /C calc'!A0")
    return path


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(build(["log"]), ["log", "-C", str(folder), *arguments])


def refused(folder: Path, *arguments: str) -> str:
    before = newest(folder)
    result = run(folder, *arguments)
    assert isinstance(result.exception, ConfigError), (result.output, result.exception)
    assert newest(folder) == before, "what is refused is no reading"
    return f"{result.exception} {result.exception.hint}"


def newest(folder: Path) -> dict[str, object]:
    store = SqliteStore.connect_read_only(folder / "data" / FILE)
    try:
        (record,) = store.search(Query(limit=1))
        return parse(record.leaf)
    finally:
        store.close()


def facts(folder: Path) -> object:
    return newest(folder)["facts"]


def test_a_day_is_one_word(folder: Path) -> None:
    assert run(folder, "--on", "2026-03-15", "--tool", "bank__*").exit_code == 0
    first = datetime(2026, 3, 15).astimezone()
    last_ns = int((first + timedelta(days=1)).timestamp()) * 10**9 - 1
    told = {"what": "log", "tool": "bank__*", "since_ns": str(int(first.timestamp()) * 10**9), "until_ns": str(last_ns)}
    assert facts(folder) == told
    assert run(folder, "--since", "2026-03-15", "--until", "2026-03-15", "--tool", "bank__*").exit_code == 0
    assert facts(folder) == told, "a day counts to its end"
    assert run(folder, "--on", "2026-03-15Z").exit_code == 0
    assert facts(folder) == {"what": "log", "since_ns": "1773532800000000000", "until_ns": "1773619199999999999"}


def test_every_filter_is_asked_and_recorded_and_the_words_are_beside_the_record(folder: Path) -> None:
    asked = {
        "who": "alice", "group": "tellers", "tool": "bank__*", "server": "bank", "decision": "deny", "rule": "r1",
        "masked": "US_SSN", "kind": "call.*", "call": "c1", "approval": "a1", "session": "s1",
    }  # fmt: skip
    options = [word for name, value in {**asked, "text": "Jane Doe"}.items() for word in (f"--{name}", value)]
    assert run(folder, *options).exit_code == 0
    assert facts(folder) == {"what": "log", **asked, "text": True}
    assert newest(folder)["actor"].startswith("os:")  # type: ignore[attr-defined]
    store = SqliteStore.connect_read_only(folder / "data" / FILE)
    (record,) = store.search(Query(limit=1))
    assert b"Jane" not in record.leaf
    assert [json.loads(unpack(one.packed)) for one in store.payload(record.seq, "document")] == [{"text": "Jane Doe"}]
    store.close()


def test_the_cursor_that_is_printed_goes_on_with_the_same_question(folder: Path) -> None:
    for _ in range(4):
        run(folder, "--who", "nobody")
    whole = [json.loads(line) for line in run(folder, "--kind", "evidence.*", "--json").stdout.splitlines()]
    seen: list[dict[str, object]] = []
    result = run(folder, "--kind", "evidence.*", "--json", "--limit", "3", "--until", "2099-01-01")
    while True:
        seen = [*map(json.loads, result.stdout.splitlines()), *seen]
        more = CURSOR.search(result.stderr)
        if more is None:
            break
        result = run(folder, "--after", more[1], "--json", "--limit", "3")
        assert result.exit_code == 0, result.exception
        read = facts(folder)
        assert isinstance(read, dict) and read["kind"] == "evidence.*" and read["before"] > 0
    reading = [one for one in seen if one["seq"] > whole[-1]["seq"]]  # type: ignore[operator]
    assert [one for one in seen if one not in reading] == whole
    assert len(reading) == 1, "the first page tells of the search before it, and no page of those after it"


def test_a_reading_can_be_left_unrecorded_where_nothing_can_be_written(folder: Path) -> None:
    before = newest(folder)
    assert run(folder, "--unrecorded").exit_code == 0
    assert newest(folder) == before


def test_a_log_whose_catalog_is_broken_can_be_read(folder: Path) -> None:
    broken = folder / "catalog" / "bank.toml"
    broken.write_text("= no toml")
    try:
        assert run(folder, "--who", "whoever broke it").exit_code == 0
        gateway = newest(folder)["gateway"]
        assert isinstance(gateway, dict) and gateway["catalog"] == "unreadable"
    finally:
        broken.unlink()


def test_what_cannot_be_asked_is_refused_in_words(folder: Path) -> None:
    run(folder, "--json", "--limit", "1")
    cursor = CURSOR.search(run(folder, "--limit", "1").stderr)
    assert cursor
    assert "Leave away what is asked: who, tool." in refused(folder, "--after", cursor[1], "--who", "x", "--tool", "y")
    assert "--since: 'yesterday' is no time Write an age" in refused(folder, "--since", "yesterday")
    assert "--on is a whole day by itself" in refused(folder, "--on", "2026-03-15", "--until", "1h")
    assert "damaged" in refused(folder, "--after", cursor[1][:-3])
    assert "--follow forward" in refused(folder, "--after", cursor[1], "--follow")
    assert "500 characters are the most" in refused(folder, "--text", "x" * 501)


# --- CSV -----------------------------------------------------------------------------------------------------------------


def original(text: str) -> str:
    """Read a cell back, as the documentation says."""
    text = text.removeprefix("'")
    return str(json.loads('"' + text.replace('"', '\\"') + '"'))


@given(st.text())
def test_a_cell_is_no_formula_hides_nothing_and_can_be_read_back(text: str) -> None:
    made = cell(text)
    assert original(made) == text
    assert not made.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert made.isprintable()
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL).writerow([made, "next"])
    assert next(csv.reader([line.getvalue()])) == [made, "next"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "'=1", "'"])
def test_what_a_spreadsheet_would_calculate_begins_with_an_apostrophe(text: str) -> None:
    assert cell(text).startswith("'")
    assert original(cell(text)) == text


def test_csv_has_a_line_for_each_record_and_says_the_same_as_json(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run(folder, "--kind", "evidence.*", "--format", "csv").stdout)))
    lines = [json.loads(line) for line in run(folder, "--kind", "evidence.*", "--json").stdout.splitlines()][:-1]
    assert rows and list(rows[0]) == list(COLUMNS)
    assert [(row["seq"], row["leaf_hash"], original(row["who"])) for row in rows] == [
        (str(line["seq"]), line["leaf_hash"], line["actor"]) for line in lines
    ]
