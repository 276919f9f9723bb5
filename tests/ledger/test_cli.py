"""`mcpgw log`, `mcpgw verify` and `mcpgw checkpoint`, on a real log."""

import io
import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from click.testing import Result
from ledger_parts import ORIGIN, Open, intent, outcome, refusal
from rich.console import Console
from stores import Kept
from typer.testing import CliRunner

from mcpgw.app import convert
from mcpgw.cli.log import Format, parse_time, show
from mcpgw.cli.main import build
from mcpgw.cli.verify import Examination, as_data, as_text, keep_watch, kept_elsewhere, newest_checkpoint, read_note
from mcpgw.core.entries import Event
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.core.question import Place, Question
from mcpgw.ledger.checkpoint import open_checkpoint
from mcpgw.ledger.checks import ProblemKind
from mcpgw.ledger.cosignature import Cosigner
from mcpgw.ledger.kept_elsewhere import file_name
from mcpgw.ledger.keys import load_verifiers
from mcpgw.ledger.schema import VERSION
from mcpgw.ledger.search import follow
from mcpgw.ledger.sqlite import SqliteDatabase
from mcpgw.ledger.store import Database
from mcpgw.ledger.verify import Problem, Report
from mcpgw.settings import from_text

NASTY = "bank__\x1b[2Jtransfer\u202e"


@pytest.fixture
async def database(anyio_backend: str, open_ledger: Open, kept: Kept) -> Database:
    async with open_ledger() as ledger:
        await ledger.append(outcome(await ledger.append(intent("alice", "bank__transfer"))))
        await ledger.append(refusal("mallory", NASTY))
        await ledger.append(Event(kind="policy.activated", actor="admin", facts={"hash": "ab"}))
    return kept.database()


def shown(database: Database, question: Question, form: Format = Format.TABLE) -> str:
    out = io.StringIO()
    assert show(database, Place(question=question), Console(width=200, file=out), limit=100, form=form) == ()
    return out.getvalue()


def test_the_log_is_a_table_with_the_newest_last(database: Database) -> None:
    text = shown(database, Question())
    assert [line.split()[0] for line in text.splitlines()[1:]] == [str(seq) for seq in range(8)]
    assert "alice" in text
    assert "policy.activated" in text


def test_nothing_in_a_record_can_move_the_cursor_or_turn_the_line_around(database: Database, capsys) -> None:
    text = shown(database, Question(who="mallory"))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\u202e" in text
    shown(database, Question(who="mallory"), Format.JSON)
    assert capsys.readouterr().out.isascii()


def test_ages_and_times_are_understood_and_everything_else_is_refused() -> None:
    assert parse_time("15m", 1000.0, "--since") == 100 * 10**9
    assert parse_time("1970-01-02T00:00:00+00:00", 0.0, "--since") == 86_400 * 10**9
    for wrong in ("yesterday", "15", "m", "15y"):
        with pytest.raises(ConfigError, match="--since"):
            parse_time(wrong, time.time(), "--since")


def examination(database: Database, folder: Path, against: str = "") -> Examination:
    verifiers = load_verifiers(folder / "keys")
    kept = [open_checkpoint(against, verifiers)] if against else []
    return Examination(database, verifiers, kept, Console(quiet=True))


def test_a_good_log_verifies_and_says_what_it_believed(database: Database, folder: Path) -> None:
    report = examination(database, folder).of()
    assert as_data(report)["ok"] is True
    text = as_text(report).plain
    assert "8 records of bank.example/mcpgw" in text
    assert "not established: a log that was cut back" in text
    again = examination(database, folder, newest_checkpoint(database)).of()
    assert "continues the checkpoint over 8 records" in as_text(again).plain


def test_a_flipped_byte_is_named(database: Database, kept: Kept, folder: Path) -> None:
    with kept.tampering() as admin:
        (leaf,) = admin.execute("SELECT leaf FROM records WHERE seq = 1").fetchone()
        admin.execute("UPDATE records SET leaf = ? WHERE seq = 1", (leaf.replace(b"alice", b"alicf"),))
    report = examination(database, folder).of()
    assert as_data(report)["problems"][0]["records"] == [1, 1]
    assert "record 1 was altered" in as_text(report).plain


def test_a_checkpoint_of_another_log_is_not_compared(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("no note")
    with pytest.raises(ConfigError, match="--against"):
        kept_elsewhere(str(tmp_path / "note"), load_verifiers(folder / "keys"))
    (tmp_path / "note").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UnicodeDecodeError"):
        read_note(tmp_path / "note")


def test_a_folder_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="there is no ledger at"):
        newest_checkpoint(SqliteDatabase(tmp_path))


def run(kept: Kept, verb: str, *arguments: str) -> Result:
    (kept.folder / "config.toml").write_text(f'[ledger]\norigin = "{ORIGIN}"\nurl = "{kept.address}"\n')
    verbs = verb.split()
    return CliRunner().invoke(build(verbs), [*verbs, "-C", str(kept.folder), *arguments])


def test_the_verbs_find_the_log_in_a_gateways_folder(database: Database, kept: Kept, folder: Path) -> None:
    log = run(kept, "log", "--who", "alice", "--since", "1h", "--until", "2099-01-01")
    assert (log.exit_code, log.output.count("alice")) == (0, 3)
    good = run(kept, "verify")
    assert (good.exit_code, "✓ 9 records" in good.output) == (0, True), "with the record that the log was read"
    left = run(kept, "checkpoint").output
    assert left.startswith(newest_checkpoint(database)), "with a post-quantum signature below the log's own"
    assert run(kept, "checkpoint", "--output", str(folder / "kept")).exit_code == 0
    again = run(kept, "verify", "--against", str(folder / "kept"), "--json")
    assert (again.exit_code, json.loads(again.stdout)["anchored"]) == (0, 9)


def test_verify_exits_with_1_and_a_sentence_if_anything_is_wrong(database: Database, kept: Kept) -> None:
    with kept.tampering() as admin:
        admin.execute("UPDATE records SET time_ns = time_ns + 1 WHERE seq = 3")
    bad = run(kept, "verify")
    assert bad.exit_code == 1
    assert "record 3: what the database shows as time_ns is not what the leaf says" in bad.output
    assert "1 problem in 8 records" in bad.output


def test_a_range_is_verified_from_a_checkpoint_on_and_the_rest_is_said(database: Database, kept: Kept) -> None:
    part = run(kept, "verify", "--from", "3", "--to", "5")
    assert (part.exit_code, "✓ 3 records of bank.example/mcpgw from record 3 on" in part.output) == (0, True)
    assert "not established: what stands before record 3" in part.output
    assert "not established: what stands from record 6 on" in part.output
    with kept.tampering() as admin:
        admin.execute("UPDATE records SET time_ns = time_ns + 1 WHERE seq = 1")
    assert run(kept, "verify", "--from", "3").exit_code == 0
    assert run(kept, "verify", "--to", "1").exit_code == 1
    for wrong in (["--from", "3", "--to", "2"], ["--watch", "--from", "2"]):
        assert isinstance(run(kept, "verify", *wrong).exception, ConfigError)


def test_an_anchor_directory_is_compared_in_one_walk(database: Database, kept: Kept, tmp_path: Path) -> None:
    directory = tmp_path / "anchors"
    directory.mkdir()
    with closing(database.connect_read_only()) as store:
        for stored in store.checkpoints():
            (directory / file_name(stored.size, stored.note.encode())).write_text(stored.note)
    good = run(kept, "verify", "--against", str(directory))
    assert (good.exit_code, "continues the checkpoint over 8 records" in good.output, "and 5 more" in good.output) == (
        0,
        True,
        True,
    )
    with kept.tampering() as admin:
        admin.execute("DELETE FROM records WHERE seq >= 4")
        admin.execute("DELETE FROM payloads WHERE seq >= 4")
        admin.execute("DELETE FROM checkpoints WHERE size > 4")
    bad = run(kept, "verify", "--against", str(directory))
    assert (bad.exit_code, "records 4 to 7 are missing" in bad.output) == (1, True)


def test_a_witness_is_believed_by_its_key_alone(database: Database, kept: Kept) -> None:
    for key in ("", "witness.example+00000000+AAAA"):
        refused = run(kept, "verify", "--against", "http://127.0.0.1:9/", "--witness", key).exception
        assert isinstance(refused, ConfigError) and "--witness" in str(refused)
    key = Cosigner("witness.example/w1", b"w" * 32).verifier.vkey()
    nobody = run(kept, "verify", "--against", "http://127.0.0.1:9/", "--witness", key).exception
    assert isinstance(nobody, ConfigError) and "gave no answer" in str(nobody)


def test_a_watch_ends_with_the_first_report_that_is_not_good(database: Database, kept: Kept, folder: Path) -> None:
    good: list[Report] = []

    def tamper(report: Report) -> None:
        good.append(report)
        with kept.tampering() as admin:
            admin.execute("DELETE FROM records WHERE seq >= 4")
            admin.execute("DELETE FROM payloads WHERE seq >= 4")
            admin.execute("DELETE FROM checkpoints WHERE size > 4")

    bad = keep_watch(examination(database, folder), tamper, every_s=0.01)
    assert [report.records for report in good] == [8]
    assert [(problem.kind, problem.records) for problem in bad.problems] == [(ProblemKind.ANCHOR, range(4, 8))]


def test_a_watch_gives_up_where_nothing_can_be_read(folder: Path) -> None:
    nothing = SqliteDatabase(folder / "nowhere")
    with pytest.raises(LedgerUnavailable, match="there is no ledger at"):
        keep_watch(examination(nothing, folder), pytest.fail, every_s=0.01, patience_s=0.05)


def test_problems_beyond_what_is_described_are_counted(database: Database, folder: Path) -> None:
    report = examination(database, folder).of()
    text = as_text(replace(report, found=5, problems=(Problem(ProblemKind.MISSING, range(0), "x\x1b"),))).plain
    assert "… and 4 more" in text
    assert "\x1b" not in text


def test_a_leaf_that_cannot_be_read_is_shown_as_damaged(database: Database, kept: Kept, capsys) -> None:
    with kept.tampering() as admin:
        admin.execute("UPDATE records SET leaf = x'ff' WHERE seq = 3")
    shown(database, Question(), Format.JSON)
    assert "not readable" in capsys.readouterr().out


async def test_following_shows_what_stands_and_then_what_comes(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        with closing(kept.database().connect_read_only()) as store:
            seen = follow(store, Question(kind="call.*"), limit=100)
            one = await ledger.append(intent())
            assert next(seen).seq == one.seq

            two = await ledger.append(intent())
            assert next(seen).seq == two.seq

            later: list[int] = []

            async def wait() -> None:
                later.append((await anyio.to_thread.run_sync(next, seen)).seq)

            with anyio.fail_after(5):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(wait)
                    await anyio.sleep(0.05)
                    three = await ledger.append(outcome(two))
            assert later == [three.seq]


@pytest.mark.parametrize("as_json", [False, True])
def test_following_prints_until_it_is_interrupted(as_json: bool, database: Database, kept: Kept) -> None:
    command = f"""
import sys
from pathlib import Path
from rich.console import Console
from mcpgw.cli.log import Format, follow_on
from mcpgw.core.question import Question
from mcpgw.ledger.checkpoint import open_checkpoint
from mcpgw.ledger.postgres_database import PostgresDatabase
from mcpgw.ledger.sqlite import SqliteDatabase
database = PostgresDatabase({kept.address!r}) if {kept.address!r} else SqliteDatabase(Path({str(kept.folder / "data")!r}))
form = Format.JSON if {as_json} else Format.TABLE
follow_on(database, Question(kind="call.*"), Console(width=200), limit=100, form=form)
"""
    process = subprocess.Popen([sys.executable, "-u", "-c", command], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert ["call.intent" in line or "call.outcome" in line or "call.refused" in line for line in lines] == [True] * 3


def test_the_schema_is_migrated_and_its_state_is_told(database: Database, kept: Kept) -> None:
    (key,) = load_verifiers(kept.folder / "keys")
    told = run(kept, "ledger status")
    assert (told.exit_code, told.output) == (
        0,
        f"The schema is {VERSION}; this mcpgw knows {VERSION}.\n8 records; the newest checkpoint covers 8.\n"
        f"The log is signed with {ORIGIN}+{key.key_id.hex()}.\n",
    )
    address = kept.address.replace("mcpgw_gateway", "mcpgw_owner")
    assert (
        run(kept, "ledger migrate", *(["--url", address] if address else [])).output
        == f"The schema is {VERSION}; this mcpgw knows {VERSION}.\n"
    )


@pytest.mark.parametrize("url", ["postgresql://u:secret@h/d", "postgresql://u@h/d?password=secret", "mysql://u@h/d", "u@h"])
def test_a_password_that_is_written_out_is_refused_and_not_repeated(url: str, folder: Path) -> None:
    with pytest.raises(ConfigError) as error:
        from_text(f'[ledger]\nurl = "{url}"\n', folder)
    assert "config.toml:2: `ledger.url`" in str(error.value)
    assert "secret" not in str(error.value)


def test_a_password_is_read_from_where_its_reference_leads(folder: Path) -> None:
    settings = from_text('[ledger]\nurl = "postgresql://u:${file:keys/db}@h/d?sslmode=require"\n', folder)
    assert settings.ledger.address == "postgresql://u@h/d?sslmode=require"
    with pytest.raises(ConfigError, match="the file keys/db cannot be read"):
        convert.database(settings)
    (folder / "keys" / "db").write_text("s3cret\n")
    assert "s3cret" not in repr(convert.database(settings))
