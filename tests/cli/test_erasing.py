"""`mcpgw shred` and `mcpgw retention`, as people run them."""

import json
import time
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner

from mcpgw.cli.common import open_folder, record_context
from mcpgw.cli.main import build
from mcpgw.core.errors import ConfigError
from mcpgw.ledger.journal import Ledger
from mcpgw.ledger.sqlite import FILE, SqliteStore
from mcpgw.ledger.store import StoredPayload
from tests.flows.gateway import Folder, make_folder
from tests.ledger.ledger_parts import intent, outcome


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder with one call each of alice and bob."""
    made = make_folder(tmp_path / "gateway")
    calls(made, "alice", "bob")
    return made


def calls(folder: Folder, *people: str, ago_s: int = 0) -> None:
    async def record() -> None:
        settings = open_folder(folder.path)
        context = record_context(settings)
        async with Ledger.open(
            settings.data_dir,
            settings.keys_dir,
            origin=settings.ledger.origin,
            context=lambda: context,
            clock=lambda: time.time_ns() - ago_s * 10**9,
        ) as ledger:
            for who in people:
                await ledger.append(outcome(await ledger.append(intent(who))))

    anyio.run(record)


def ran(folder: Folder, *arguments: str, expect: int = 0, answers: str = "") -> str:
    """Run a command in this process, and return what it printed."""
    done = CliRunner().invoke(build(arguments), [*arguments, "-C", str(folder.path)], input=answers)
    if isinstance(done.exception, ConfigError):
        assert expect == 2
        return str(done.exception)
    assert done.exit_code == expect, done.output
    return done.output


def kept(folder: Folder) -> list[StoredPayload]:
    with closing(SqliteStore.connect_read_only(folder.data / FILE)) as store:
        return [*store.payloads(0, 2**62)]


def test_shred_asks_erases_and_verify_names_what_was_erased(folder: Folder) -> None:
    asked = ran(folder, "shred", "--who", "alice", "--reason", "case 7", answers="n\n", expect=1)
    assert "Erase 2 payloads (1 arguments.clean, 1 result.clean) for good?" in asked and len(kept(folder)) == 4
    said = ran(folder, "shred", "--who", "alice", "--reason", "case 7", answers="y\n")
    assert "2 payloads are erased, says record" in said and len(kept(folder)) == 2
    (record,) = folder.records("payload.shredded")
    assert record["actor"].startswith("os:") and record["facts"]["asked"] == {"who": "alice"}
    verified = ran(folder, "verify")
    assert f"erased: 2 payloads, says record {record['seq']} (payload.shredded by {record['actor']}: case 7)" in verified
    told = json.loads(ran(folder, "verify", "--json"))
    assert told["ok"] and [one["payloads"] for one in told["erased"]] == [2]
    assert "Nothing is erased." in ran(folder, "shred", "--who", "alice", "--reason", "again", "--yes")


def test_under_a_legal_hold_shred_is_refused_until_that_is_released(folder: Folder) -> None:
    held = ran(folder, "retention", "hold", "--who", "alice", "--reason", "case 8")
    hold_id = held.split()[1]
    assert f"{hold_id}  who alice: case 8" in ran(folder, "retention", "list")
    refused = ran(folder, "shred", "--who", "alice", "--reason", "x", "--yes", expect=1)
    assert refused == f"Nothing is erased.\n2 payloads are held by {hold_id}.\n"
    assert json.loads(ran(folder, "shred", "--who", "alice", "--reason", "x", "--json", expect=1))["held"] == {hold_id: 2}
    assert len(kept(folder)) == 4
    assert ran(folder, "retention", "release", hold_id, "--reason", "closed") == f"Hold {hold_id} is released.\n"
    assert "no such hold stands" in ran(folder, "retention", "release", hold_id, "--reason", "closed", expect=2)
    assert "2 payloads are erased" in ran(folder, "shred", "--who", "alice", "--reason", "x", "--yes")
    assert "No hold stands." in ran(folder, "retention", "list")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["shred", "--reason", "x"], "--who, --session or --event"),
        (["shred", "--reason", "x", "--who", "a", "--session", "b"], "one of them alone"),
        (["shred", "--reason", " ", "--who", "a"], "say why"),
        (["retention", "hold", "--reason", "x"], "say what is to be held"),
        (["retention", "hold", "--reason", "x", "--from", "1d", "--to", "2d"], "--to is not after --from"),
    ],
)
def test_what_is_not_said_clearly_erases_and_holds_nothing(folder: Folder, arguments: list[str], why: str) -> None:
    assert why in ran(folder, *arguments, expect=2)
    assert len(kept(folder)) == 4 and not folder.records("retention.*")


def test_a_sweep_takes_what_is_older_than_config_toml_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "gateway")
    calls(folder, "carol", ago_s=3 * 3600)
    calls(folder, "alice", "bob")
    before = len(kept(folder))
    assert ran(folder, "retention", "sweep", "--dry-run") == "Nothing would be erased.\n"
    monkeypatch.setenv("MCPGW_RETENTION__CLEAN", "1h")
    assert ran(folder, "retention", "sweep", "--dry-run").startswith("2 payloads would be erased")
    assert len(kept(folder)) == before
    assert ran(folder, "retention", "sweep").startswith("2 payloads are erased, says record")
    assert len(kept(folder)) == before - 2 and folder.records("retention.swept")[0]["facts"]["class"] == "clean"
    assert "✓" in ran(folder, "verify")
