"""Backups go from either store to either store; projections are made again from the records, and compared with them."""

import base64
import gzip
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from ledger_parts import (
    ORIGIN,
    Open,
    allowance,
    failed,
    intent,
    opened,
    outcome,
    person,
    proposed,
    refusal,
    settled,
    spend,
    use,
    vote,
)
from postgres_server import Server
from stores import Kept, KeptInPostgres, KeptInSqlite, verified
from typer.testing import CliRunner

from mcpgw.cli.main import build
from mcpgw.core.entries import (
    Escalated,
    Happened,
    Resolved,
    Reviewed,
    Settled,
    SettledAs,
    Stopped,
    StoppedAs,
    VoteWithdrawn,
)
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.core.terms import BreakGlass, Level, Seats, Terms
from mcpgw.ledger.backup import back_up, restore
from mcpgw.ledger.describe import Indeterminate
from mcpgw.ledger.keys import create_keys
from mcpgw.ledger.projections import compare, rebuild
from mcpgw.ledger.sqlite import SqliteDatabase
from mcpgw.ledger.store import Database, Reading


@pytest.fixture
async def written(anyio_backend: str, open_ledger: Open, kept: Kept) -> Kept:
    """A log with approvals in every state, and one call whose process died and left it open."""
    async with open_ledger() as ledger:
        for name in "abcdef":
            await ledger.append(opened(name, key=name))
        await ledger.append(vote("b", comment="yes, by phone"))
        for name, state in zip("bcdef", [SettledAs.APPROVED, SettledAs.DENIED, *[SettledAs.APPROVED] * 3], strict=True):
            await ledger.append(settled(name, state, ballots=int(name == "b")))
        await ledger.append(outcome(await ledger.append(spend("d"))))
        await ledger.append(outcome(await ledger.append(spend("e")), failed()))
        await ledger.append(spend("f"))
        await ledger.append(opened("g", key="g", allowances=(allowance(),)))
        await ledger.append(settled("g"))
        await ledger.append(outcome(await ledger.append(use("g", "0.1"))))
        await ledger.append(outcome(await ledger.append(use("g", "7")), failed()))
        await ledger.append(use("g", "3"))
        await ledger.append(refusal())
        for _ in range(150):
            await ledger.append(outcome(await ledger.append(intent())))
    return kept


def beside(database: Database) -> tuple[Any, ...]:
    """Return what stands beside the records."""
    with closing(database.connect_read_only()) as store:
        return (
            {row.id: row for row in store.approvals((), (), 1000)},
            store.open_calls(),
            store.tiles(0, 0, 10),
            [*store.checkpoints()],
            [record.index for record in store.records(0, 1000)],
        )


def backed_up(database: Database, path: Path) -> Path:
    with closing(database.connect_read_only()) as store:
        back_up(store, path)
    return path


def restored(database: Database, path: Path) -> int:
    with closing(database.connect()) as store:
        return restore(store, path)


def differences(kept: Kept) -> list[str]:
    with closing(kept.database().connect_read_only()) as store:
        return [*compare(store)]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def with_lines(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_bytes(gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines)))
    return path


# --- backup and restore --------------------------------------------------------------------------------------------------


def test_a_backup_goes_to_sqlite_whole(written: Kept, tmp_path: Path) -> None:
    file = backed_up(written.database(), tmp_path / "log.gz")
    assert file.stat().st_mode & 0o777 == 0o600
    there = KeptInSqlite(tmp_path / "there")
    (there.folder / "data").mkdir(parents=True)
    (there.folder / "keys").symlink_to(written.folder / "keys")
    count = restored(there.database(), file)
    assert verified(there).ok and verified(there).records == count
    assert beside(there.database()) == beside(written.database())
    again = backed_up(there.database(), tmp_path / "again.gz")
    assert again.read_bytes() == file.read_bytes(), "the same log is the same file, wherever it is kept"


@pytest.mark.sqlite
async def test_a_backup_of_sqlite_goes_to_postgresql_whole_and_is_written_on(
    written: Kept, tmp_path: Path, postgres: Server, open_ledger: Open
) -> None:
    file = backed_up(written.database(), tmp_path / "log.gz")
    postgres.empty()
    there = KeptInPostgres(written.folder, postgres)
    restored(there.database(), file)
    assert verified(there).ok
    assert beside(there.database()) == beside(written.database())
    async with open_ledger(database=there.database()) as ledger:
        await ledger.append(outcome(await ledger.append(intent())))
    assert verified(there).ok


async def test_a_backup_is_one_moment_while_others_write(open_ledger: Open, kept: Kept, tmp_path: Path) -> None:
    files: list[Path] = []
    async with open_ledger() as ledger:
        writing = True

        async def write() -> None:
            while writing:
                await ledger.append(outcome(await ledger.append(intent())))

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(write)
                for number in range(3):
                    path = tmp_path / f"{number}.gz"
                    files.append(await anyio.to_thread.run_sync(backed_up, kept.database(), path))
                writing = False
    for file in files:
        there = KeptInSqlite(tmp_path / f"from-{file.stem}")
        (there.folder / "data").mkdir(parents=True)
        (there.folder / "keys").symlink_to(kept.folder / "keys")
        restored(there.database(), file)
        assert verified(there).ok and differences(there) == []


def test_nothing_is_overwritten(written: Kept, tmp_path: Path) -> None:
    file = backed_up(written.database(), tmp_path / "log.gz")
    with pytest.raises(ConfigError, match="File exists"):
        backed_up(written.database(), file)
    with pytest.raises(ConfigError, match="there is a log of"):
        restored(written.database(), file)
    with pytest.raises(ConfigError, match="cannot be written"):
        backed_up(written.database(), tmp_path / "nowhere" / "log.gz")


Change = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines[:-1], "cut off"),
        (lambda lines: [lines[0], *lines[2:]], "record 0 is missing"),
        (lambda lines: [*lines[:-3], lines[-1]], "as many lines"),
        (lambda lines: [{"mcpgw-backup": 2}, *lines[1:]], "does not begin"),
        (lambda lines: [lines[0], lines[1] | {"leaf": base64.b64encode(b"{}").decode()}, *lines[2:]], "'id'"),
        (lambda lines: [lines[0], {"something": 1}], "'end'"),
        (lambda lines: [], "does not begin"),
    ],
)
@pytest.mark.sqlite
def test_what_is_no_whole_backup_leaves_nothing(change: Change, says: str, written: Kept, tmp_path: Path) -> None:
    file = backed_up(written.database(), tmp_path / "log.gz")
    with_lines(file, change(lines_of(file)))
    empty = SqliteDatabase(tmp_path)
    with pytest.raises(ConfigError, match=says):
        restored(empty, file)
    with closing(empty.connect_read_only()) as store:
        assert (store.size(), store.newest_checkpoint(), store.approvals((), (), 9)) == (0, [], [])


@pytest.mark.sqlite
def test_a_file_that_is_half_there_is_no_backup(written: Kept, tmp_path: Path) -> None:
    file = backed_up(written.database(), tmp_path / "log.gz")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="EOFError"):
        restored(SqliteDatabase(tmp_path), file)
    with pytest.raises(ConfigError, match="FileNotFoundError"):
        restored(SqliteDatabase(tmp_path), tmp_path / "nothing")


def test_no_half_a_backup_is_left_where_the_log_cannot_be_read(written: Kept, tmp_path: Path) -> None:
    class Failing:
        def __init__(self, store: Reading) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            if name == "payloads":
                raise LedgerUnavailable("the disk failed")
            return getattr(self._store, name)

    with closing(written.database().connect_read_only()) as store, pytest.raises(LedgerUnavailable):
        back_up(Failing(store), tmp_path / "log.gz")
    assert not (tmp_path / "log.gz").exists()


# --- projections ---------------------------------------------------------------------------------------------------------


def test_what_the_gateway_keeps_is_what_its_records_say(written: Kept) -> None:
    assert differences(written) == []
    with closing(written.database().connect()) as store:
        assert rebuild(store) == []


CHANGES = {
    "an approval approved by hand": ("UPDATE approvals SET state = 'approved' WHERE id = 'a'", "approval a is not what its"),
    "one made spendable again": ("UPDATE approvals SET state = 'approved', spent_call = '' WHERE id = 'd'", "spent_call"),
    "a vote forged": ("UPDATE approvals SET votes = '[]' WHERE id = 'b'", "approval b is not what its records say: votes"),
    "a target changed": ("UPDATE approvals SET target = 'bank__lookup' WHERE id = 'a'", "target"),
    "an approval deleted": ("DELETE FROM approvals WHERE id = 'c'", "approval c is missing"),
    "a deadline moved": ("UPDATE approvals SET deadline_ns = deadline_ns + 1 WHERE id = 'a'", "deadline_ns"),
    "an open call forgotten": ("DELETE FROM open_calls", "is not among the open calls"),
    "an open call invented": ("INSERT INTO open_calls VALUES ('x', 1, 'n', '')", "call x is among the open calls"),
    "encrypted arguments put back": ("UPDATE approvals SET exact = x'aa' WHERE id = 'd'", "exact"),
}


@pytest.mark.parametrize("case", CHANGES)
async def test_a_changed_projection_is_told_and_made_again(case: str, open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        for name in "abcd":
            await ledger.append(opened(name, key=name))
        await ledger.append(vote("b"))
        await ledger.append(settled("c", SettledAs.DENIED))
        await ledger.append(settled("d"))
        await ledger.append(spend("d"))
    good = beside(kept.database())
    statement, says = CHANGES[case]
    with kept.tampering() as admin:
        assert admin.execute(statement).rowcount > 0
    assert any(says in sentence for sentence in differences(kept)), differences(kept)
    with closing(kept.database().connect()) as store:
        assert any(says in sentence for sentence in rebuild(store))
    assert differences(kept) == []
    assert beside(kept.database())[:2] == good[:2]
    assert verified(kept).ok


def test_an_approval_that_stands_in_no_record_is_void_and_lost_arguments_are_said_to_be_lost(written: Kept) -> None:
    with written.tampering() as admin:
        admin.execute("UPDATE approvals SET id = 'stranger' WHERE id = 'a'")
    said = differences(written)
    assert "approval a is missing, and its exact arguments with it" in said
    assert "approval stranger stands in no record, and is pending" in said
    with closing(written.database().connect()) as store:
        rebuild(store)
    assert differences(written) == []
    rows = beside(written.database())[0]
    assert (rows["stranger"].state.value, rows["a"].exact, rows["a"].state.value) == ("expired", b"", "pending")


def test_texts_that_a_leaf_holds_cut_are_compared_as_far_as_it_goes(written: Kept) -> None:
    with closing(written.database().connect()) as store:
        (row,) = store.approvals(["a"], (), 1)
        tx = store.begin()
        tx.save_approval(replace(row, actors=("someone",)))
        tx.commit()
    assert differences(written) == ["approval a is not what its records say: actors"]


# --- the commands --------------------------------------------------------------------------------------------------------


def run(kept: Kept, *words: str) -> tuple[int, str]:
    (kept.folder / "config.toml").write_text(f'[ledger]\norigin = "{ORIGIN}"\nurl = "{kept.address}"\n')
    done = CliRunner().invoke(build(["ledger"]), ["ledger", *words, "-C", str(kept.folder)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_the_commands_back_up_restore_and_rebuild(written: Kept, tmp_path: Path) -> None:
    file = tmp_path / "log.gz"
    code, said = run(written, "backup", str(file))
    assert (code, "records are in" in said, "keep a copy of keys/" in said) == (0, True, True)
    there = KeptInSqlite(tmp_path / "there")
    there.folder.mkdir()
    (there.folder / "keys").symlink_to(written.folder / "keys")
    code, said = run(there, "restore", str(file))
    assert (code, "this is a rollback" in said, "--against" in said) == (0, True, True)
    assert run(there, "rebuild", "--check") == (0, "Approvals, open calls and marks are what the records say.\n")
    with there.tampering() as admin:
        admin.execute("UPDATE approvals SET state = 'approved' WHERE id = 'a'")
    code, said = run(there, "rebuild", "--check")
    assert (code, "approval a is not what its records say: state" in said) == (1, True)
    code, said = run(there, "rebuild")
    assert (code, "Put right" in said) == (0, True)
    assert run(there, "rebuild", "--check")[0] == 0
    with there.tampering() as admin:
        admin.execute("UPDATE records SET leaf = x'00' WHERE seq = 3")
    with pytest.raises(LedgerUnavailable, match="a record cannot be read"):
        run(there, "rebuild", "--check")


@pytest.mark.sqlite
def test_a_restored_log_that_does_not_verify_is_refused(written: Kept, tmp_path: Path) -> None:
    file = backed_up(written.database(), tmp_path / "log.gz")
    there = KeptInSqlite(tmp_path / "there")
    there.folder.mkdir()
    create_keys(there.folder / "keys", ORIGIN)
    code, said = run(there, "restore", str(file))
    assert (code, "Do not start a gateway on it" in said) == (1, True)


async def test_what_is_proposed_is_kept_by_a_backup_and_by_a_rebuild(open_ledger: Open, kept: Kept, tmp_path: Path) -> None:
    async with open_ledger() as ledger:
        for name in "ab":
            await ledger.append(opened(name, key=name))
            await ledger.append(proposed(name, key=f"instead of {name}"))
        await ledger.append(replace(opened("c", key="instead of b"), accepts="b"))
    before = beside(kept.database())[0]
    assert (before["a"].offered, before["b"].offered) == (proposed("a").exact, b"")
    with kept.tampering() as admin:
        admin.execute("UPDATE approvals SET offered_key = 'another call', state = 'approved' WHERE id = 'a'")
        admin.execute("UPDATE approvals SET votes = '[]' WHERE id = 'c'")
    assert differences(kept) == [
        "approval a is not what its records say: state, offered_key",
        "approval c is not what its records say: votes",
    ]
    with closing(kept.database().connect()) as store:
        rebuild(store)
    assert beside(kept.database())[0] == before
    file = backed_up(kept.database(), tmp_path / "log.gz")
    there = SqliteDatabase(tmp_path / "there")
    (tmp_path / "there").mkdir()
    restored(there, file)
    assert beside(there)[0] == before
    with kept.tampering() as admin:
        admin.execute("UPDATE approvals SET offered = (SELECT hash FROM records WHERE seq = 0) WHERE id = 'b'")
    assert differences(kept) == ["approval b is not what its records say: offered"]


async def test_everything_that_people_add_to_an_approval_is_made_again_from_the_records(open_ledger: Open, kept: Kept) -> None:
    async with open_ledger() as ledger:
        plain = opened("a", key="a", deadline_ns=time.time_ns() + 1_500_000_000)
        levels = tuple(Level(seats=(Seats(1, (f"group:{name}",)),), lasts_ns=750_000_000) for name in ("leads", "heads"))
        glass = BreakGlass(openers=("group:duty",), lasts_ns=60_000_000_000)
        await ledger.append(replace(plain, hold=replace(plain.hold, terms=Terms(levels=levels, break_glass=glass))))
        await ledger.append(vote("a"))
        await ledger.append(VoteWithdrawn(approval_id="a", voter=person("bob"), comment="wait"))
        fits = replace(vote("a", "carol"), fits=("group:duty",), break_glass=True)
        await ledger.append(fits)
        await anyio.sleep(0.8)
        await ledger.append(Escalated(approval_id="a", level=1, asked=("group:heads",)))
        broken = Settled(approval_id="a", state=SettledAs.APPROVED, reason="two openers", ballots=3, break_glass=True)
        await ledger.append(broken)
        await ledger.append(Stopped(approval_id="a", state=StoppedAs.REVOKED, person=person("dave"), comment="a false alarm"))
        await ledger.append(Reviewed(approval_id="a", person=person("eve"), comment="nothing ran"))
        await ledger.append(opened("b", key="b"))
        await ledger.append(settled("b"))
        spent = await ledger.append(spend("b"))
        lost = Indeterminate(
            call_id=spent.entry.shown.call.id, intent_seq=spent.seq, intent_node="n", approval_id="b", reason="it died"
        )
        await ledger.append(lost)  # type: ignore[type-var]  # what recovery writes
        await ledger.append(Resolved(approval_id="b", person=person("bob"), happened=Happened.NO, comment="looked"))
        for name in ("c", "d"):
            await ledger.append(opened(name, key=name))
            await ledger.append(proposed(name, key=f"instead of {name}"))
        await ledger.append(replace(opened("e", key="instead of c"), accepts="c"))
    with closing(kept.database().connect()) as store:
        assert compare(store) == []
