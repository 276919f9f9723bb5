"""The log's key is replaced: gateways follow, what it signed stays good, and a thief of the old one gets nowhere."""

import io
import json
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from ledger_parts import CONTEXT, ORIGIN, Open, intent, outcome
from rich.console import Console
from stores import Kept, KeptInSqlite, verified
from test_faults import Doubtful, Lossy, copy
from test_faults import Kept as ReallyCommitted
from test_processes import acknowledged, start
from typer.testing import CliRunner

from mcpgw.app import convert
from mcpgw.cli.main import build
from mcpgw.cli.verify import Examination, kept_elsewhere, newest_checkpoint
from mcpgw.core.entries import Event
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.ledger import Query, keys, rotation
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, Signer, open_checkpoint, signatures_of
from mcpgw.ledger.checks import ProblemKind
from mcpgw.ledger.describe import draft
from mcpgw.ledger.key_steps import KeySteps
from mcpgw.ledger.keys import PRIVATE, PUBLIC, QUANTUM, PublicKeys, load_signer, load_verifiers, read_verifiers
from mcpgw.ledger.proof import Proof, prove
from mcpgw.ledger.rotation import NEXT, Rotated, is_pending, rotate, settle
from mcpgw.ledger.sessions import Sessions
from mcpgw.ledger.sqlite import SqliteDatabase
from mcpgw.ledger.verify import Report, verify
from mcpgw.ledger.vigil import Vigil
from mcpgw.ledger.writer import Batch
from mcpgw.settings import from_text


def rotated(kept: Kept, *, quantum: bool = True) -> Rotated:
    return rotate(kept.database(), kept.folder / "keys", ORIGIN, actor="os:ops", context=CONTEXT, quantum=quantum)


def notes(kept: Kept) -> dict[int, str]:
    with closing(kept.database().connect_read_only()) as store:
        return {stored.size: stored.note for stored in store.checkpoints()}


def signers(note: str) -> list[bytes]:
    return [signature.key_id for signature in signatures_of(note)[1]]


def exported(kept: Kept) -> str:
    settings = from_text(f'[ledger]\norigin = "{ORIGIN}"\n', kept.folder)
    return convert.countersign(settings, newest_checkpoint(kept.database()))


def kinds(report: Report) -> list[tuple[ProblemKind, range]]:
    return [(problem.kind, problem.records) for problem in report.problems]


def forged(kept: Kept, signer: Signer, count: int = 1, *successors: Signer, event: Event | None = None) -> None:
    """Append as somebody does who has that key and the database, and nobody's leave."""
    for _ in range(count):
        with closing(kept.database().connect()) as store:
            tx = store.begin()

            def describe(entry: object) -> object:
                return draft(entry, node="thief", context=CONTEXT)

            batch = Batch(
                tx, tx.head(), log=ORIGIN, node="thief", sessions=Sessions(tx, ()), describe=describe, clock=lambda: 1
            )
            entry = event or Event(kind="policy.activated", actor="admin", facts={})
            batch.append(entry, describe(entry))
            batch.finish(signer, *successors)
            tx.commit()


@contextmanager
def stolen(kept: Kept, tmp_path: Path) -> Iterator[Signer]:
    shutil.copytree(kept.folder / "keys", tmp_path / "stolen")
    yield load_signer(tmp_path / "stolen", ORIGIN)


async def test_a_running_gateway_goes_on_with_the_new_key_and_everything_verifies(kept: Kept, open_ledger: Open) -> None:
    folder, before = kept.folder / "keys", load_signer(kept.folder / "keys", ORIGIN)
    old_quantum = (folder / QUANTUM).read_text()
    async with open_ledger() as ledger:
        one = await ledger.append(intent())
        kept_before = exported(kept)
        first = rotated(kept)
        two = await ledger.append(outcome(one))
        second = rotated(kept)
        three = await ledger.append(intent())
        await ledger.append(outcome(three))
        (record,) = await ledger.search(Query(kind="key.rotated", limit=1))
    old, middle, new = load_verifiers(folder)
    assert (first.retired.key, first.current.key, second.retired.key, second.current.key) == (
        before.verifier.key,
        middle.key,
        middle.key,
        new.key,
    )
    assert load_signer(folder, ORIGIN).verifier.key == new.key
    for size, note in notes(kept).items():
        due = [key.key_id for key in (old, middle, new) if size in key.sizes]
        assert signers(note) == due, size
        assert len(due) == (2 if size in (first.seq + 1, second.seq + 1) else 1)
    members = json.loads(record.leaf)
    assert members["actor"] == "os:ops"
    assert middle.vkey() in members["facts"]["retired"] and new.vkey() in members["facts"]["current"]
    assert [len(members["facts"][name]) for name in ("retired", "current")] == [2, 2]  # the ML-DSA keys too
    report = verified(kept)
    assert report.ok and report.records > two.seq
    assert [key.partition(" ")[2] for key in report.keys] == [
        f"until={first.seq + 1}",
        f"from={first.seq + 1} until={second.seq + 1}",
        f"from={second.seq + 1}",
    ]
    assert verified(kept, against=kept_before).anchors == 1
    for note in (kept_before, exported(kept)):
        assert len(signers(note)) == 2
        assert open_checkpoint(note, read_verifiers(folder / PUBLIC)).size in notes(kept)
    assert not is_pending(folder)
    secrets = (folder / PRIVATE).read_text() + (folder / QUANTUM).read_text()
    assert before.skey() not in secrets and old_quantum.strip() not in secrets
    assert [(folder / name).stat().st_mode & 0o777 for name in (PRIVATE, QUANTUM)] == [0o600, 0o600]


async def test_an_idle_gateway_meets_a_checkpoint_that_the_new_key_alone_signed(kept: Kept, open_ledger: Open) -> None:
    async with open_ledger() as idle:
        await idle.probe()
        rotated(kept)
        async with open_ledger() as other:
            await other.append(intent())
        await idle.append(intent())
    assert verified(kept).ok


def test_the_first_record_of_a_log_may_be_a_rotation(kept: Kept) -> None:
    assert (rotated(kept).seq, rotated(kept).seq) == (0, 1)
    assert verified(kept).ok


async def numbers(process: Process) -> list[int]:
    """Return the next numbers that it printed, in lines that were not cut by the reading before."""
    return [int(line[1]) for line in await acknowledged(process, 1) if len(line) == 3]


async def test_processes_go_on_appending_while_the_key_is_rotated(kept: Kept) -> None:
    with anyio.fail_after(90):
        async with await start(kept) as one, await start(kept) as two:
            for _ in range(3):
                step = await anyio.to_thread.run_sync(rotated, kept)
                for process in (one, two):
                    while not any(seq > step.seq for seq in await numbers(process)):
                        pass  # what it printed before
            for process in (one, two):
                assert process.returncode is None
                process.send_signal(signal.SIGKILL)
                await process.wait()
    report = verified(kept)
    assert report.ok, report.problems[:3]
    assert len(report.keys) == 4


# --- a thief of the old key ----------------------------------------------------------------------------------------------


async def test_an_extension_signed_with_a_retired_key_is_found_and_located(
    kept: Kept, open_ledger: Open, tmp_path: Path
) -> None:
    with stolen(kept, tmp_path) as thief:
        async with open_ledger() as ledger:
            await ledger.append(intent())
        step = rotated(kept)
        forged(kept, thief, 2)
    end = step.seq + 3
    report = verified(kept)
    assert kinds(report) == [
        (ProblemKind.CHECKPOINT, range(0)),
        (ProblemKind.CHECKPOINT, range(0)),
        (ProblemKind.UNSEALED, range(step.seq + 1, end)),
    ]
    what = f"was retired: it is believed for checkpoints over 0 to {step.seq + 1} records"
    assert f"over {end} records" in report.problems[1].what and what in report.problems[1].what
    with pytest.raises(LedgerUnavailable, match="cannot be believed"):
        async with open_ledger():
            pass
    forgery = tmp_path / "kept"
    forgery.write_text(newest_checkpoint(kept.database()))
    with pytest.raises(ConfigError, match="was retired"):
        kept_elsewhere(str(forgery), read_verifiers(kept.folder / "keys" / PUBLIC))


@pytest.mark.sqlite
@pytest.mark.parametrize("story", ["shorter", "longer", "own key", "new key's name"])
async def test_a_log_that_was_cut_back_and_written_anew_with_the_old_key_is_found(
    story: str, kept: KeptInSqlite, open_ledger: Open, tmp_path: Path
) -> None:
    path = kept.folder / "data" / "ledger.db"
    async with open_ledger() as ledger:
        await ledger.append(intent())
    copy(path, tmp_path / "before.db")
    with stolen(kept, tmp_path) as thief:
        step = rotated(kept)
        async with open_ledger() as ledger:
            await ledger.append(intent())
        copy(tmp_path / "before.db", path)
        own = Signer.generate(ORIGIN)
        facts = {"retired": [step.retired.vkey()], "current": [own.verifier.vkey()]}
        if story == "longer":
            forged(kept, thief)
            forged(kept, thief)
        elif story == "own key":
            forged(kept, thief, 1, own, event=Event(kind="key.rotated", actor="admin", facts=facts))
        elif story == "new key's name":
            facts["current"] = [step.current.vkey()]
            forged(kept, thief, 1, event=Event(kind="key.rotated", actor="admin", facts=facts))
    one, two = range(step.seq, step.seq + 1), range(step.seq, step.seq + 2)
    unsigned = (ProblemKind.CHECKPOINT, range(0))  # the new key did not sign where it begins
    expected = {
        "shorter": [(ProblemKind.KEY, one)],
        "longer": [unsigned, unsigned, (ProblemKind.UNSEALED, two), (ProblemKind.KEY, one)],
        "own key": [(ProblemKind.KEY, one), unsigned, (ProblemKind.UNSEALED, one)],
        "new key's name": [unsigned, (ProblemKind.UNSEALED, one)],
    }
    assert kinds(verified(kept)) == expected[story]


async def test_the_new_key_cannot_rewrite_what_the_old_one_sealed(kept: Kept, open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
    step = rotated(kept)
    signer = load_signer(kept.folder / "keys", ORIGIN)
    with kept.tampering() as admin:
        size = step.seq
        text, _ = signatures_of(notes(kept)[size])
        admin.execute("UPDATE checkpoints SET note = ? WHERE size = ?", (signer.sign(text), size))
    (problem,) = verified(kept).problems
    assert problem.kind is ProblemKind.CHECKPOINT and "was not in use yet" in problem.what


async def test_public_keys_from_before_the_rotation_say_where_they_end(kept: Kept, open_ledger: Open, tmp_path: Path) -> None:
    with stolen(kept, tmp_path):
        step = rotated(kept)
        async with open_ledger() as ledger:
            await ledger.append(intent())
        old = load_verifiers(tmp_path / "stolen")
    with closing(kept.database().connect_read_only()) as store:
        report = verify(store, old)
        assert (ProblemKind.KEY, range(step.seq, step.seq + 1)) in kinds(report)
        assert verify(store, old, within=range(step.seq)).found == 2  # its commit has the record that ends the key
        beyond = verify(store, load_verifiers(kept.folder / "keys"), within=range(step.seq + 1, step.seq + 2))
    assert beyond.ok
    assert any(f"record {step.seq} made the key" in sentence for sentence in beyond.unestablished)


def test_steps_that_are_not_those_of_the_public_keys_are_objected_to() -> None:
    old, new = (Signer.generate(ORIGIN).verifier for _ in range(2))
    check = KeySteps([old], 0)
    assert len(list(check.objections((4, [old.vkey()], [new.vkey()])))) == 2
    check.unknown()
    assert list(check.unmet(9, of_log=True)) == []


# --- proofs, anchors, vigils ---------------------------------------------------------------------------------------------


async def test_proofs_and_receipts_of_a_retired_key_hold_and_forged_ones_do_not(
    kept: Kept, open_ledger: Open, tmp_path: Path
) -> None:
    public = kept.folder / "keys" / PUBLIC
    with stolen(kept, tmp_path) as thief:
        async with open_ledger() as ledger:
            sealed = await ledger.append(intent())
            (receipt,) = sealed.receipt
        with closing(kept.database().connect_read_only()) as store:
            (record,) = store.records(sealed.seq, 1)
            proof = prove(store, record, load_verifiers(kept.folder / "keys"))
        step = rotated(kept)
        proof.check(record.hash, read_verifiers(public))
        assert open_checkpoint(receipt.checkpoint, read_verifiers(public)).size == step.seq - 1
        text = Checkpoint(ORIGIN, step.seq + 2, record.hash).text()
        with pytest.raises(InvalidNote, match="was retired"):
            Proof(0, (), thief.sign(text)).check(record.hash, read_verifiers(public))
        quantum = keys.read_quantum_signer(tmp_path / "stolen" / QUANTUM)
        with pytest.raises(InvalidNote, match="was retired"):
            open_checkpoint(f"{text}\n{quantum.sign(Checkpoint.parse(text), 1)}", read_verifiers(public))


async def test_a_vigil_and_those_who_hold_public_keys_for_long_follow(kept: Kept, open_ledger: Open) -> None:
    followed = PublicKeys(kept.folder / "keys")
    vigil = Vigil(followed)
    examination = Examination(kept.database(), followed, (), Console(file=io.StringIO()))
    async with open_ledger() as ledger:
        await ledger.append(intent())
        with closing(kept.database().connect_read_only()) as store:
            assert vigil.look(store).ok
        assert examination.of_what_is_new().ok
        rotated(kept)
        await ledger.append(intent())
    with closing(kept.database().connect_read_only()) as store:
        assert vigil.look(store).ok
    assert examination.of().ok and examination.of_what_is_new().ok


async def test_a_look_that_met_the_commit_before_the_new_public_keys_is_taken_again(kept: Kept, open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
    followed = PublicKeys(kept.folder / "keys")

    class Early(list):
        """Public keys that are a moment behind."""

        def __init__(self) -> None:
            super().__init__(followed)
            self.looks = 0

        def __iter__(self) -> Iterator[object]:
            self.looks += 1
            return super().__iter__() if self.looks < 4 else iter(followed)

    early = Early()
    rotated(kept)
    assert Examination(kept.database(), early, (), Console(file=io.StringIO())).of().ok
    assert early.looks > 3


def test_a_checkpoint_that_was_on_its_way_when_the_key_changed_is_not_signed_by_the_wrong_one(kept: Kept) -> None:
    rotated(kept)
    rotated(kept)
    note, folder = notes(kept)[1], kept.folder / "keys"
    assert keys.countersigned(note, folder, load_verifiers(folder)) == note


def test_without_post_quantum_the_old_key_is_retired_and_removed(kept: Kept) -> None:
    folder = kept.folder / "keys"
    rotated(kept, quantum=False)
    assert not (folder / QUANTUM).exists()
    sizes = [one.sizes.stop for one in read_verifiers(folder / PUBLIC)]
    assert sorted(sizes) == [2, 2, 2**63]
    rotated(kept, quantum=True)
    assert (folder / QUANTUM).exists() and len(signers(exported(kept))) == 3  # the two that meet, and ML-DSA
    assert verified(kept).ok


# --- crashes, faults, and what is on the disk ----------------------------------------------------------------------------


class Crash(BaseException):
    """The process dies here: nothing that comes after in it is done."""


STEPS = (("os", "open"), ("os", "fsync"), ("os", "fchmod"), ("os", "pwrite"), ("Path", "replace"), ("Path", "unlink"))


@contextmanager
def dying_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Let every step on the key files count, and the process die before the one of that number."""
    seen = [0]

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def one(*args: object, **options: object) -> object:
            seen[0] += 1
            if seen[0] == step:
                raise Crash
            return real(*args, **options)

        return one

    with monkeypatch.context() as patch:
        for where, name in STEPS:
            home = rotation.os if where == "os" else Path
            patch.setattr(home, name, counted(getattr(home, name)))
        real_begin, real_finish = SqliteDatabase.connect, Batch.finish
        patch.setattr(SqliteDatabase, "connect", counted(real_begin))
        patch.setattr(Batch, "finish", counted(real_finish))
        yield seen


@pytest.mark.sqlite
@pytest.mark.parametrize("then", ["rotate", "start"])
async def test_wherever_it_dies_the_next_rotation_or_start_settles_it(
    then: str, kept: KeptInSqlite, open_ledger: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = kept.folder / "keys"
    async with open_ledger() as ledger:
        await ledger.append(intent())
    undone = finished = step = 0
    while True:
        step += 1
        before = load_signer(folder, ORIGIN).verifier.key
        quantum = step % 2 == 0
        with dying_at(step, monkeypatch):
            try:
                rotated(kept, quantum=quantum)
                break
            except Crash:
                pass
        if then == "rotate":
            assert rotated(kept).current.key == load_signer(folder, ORIGIN).verifier.key
        else:
            async with open_ledger() as ledger:
                await ledger.append(intent())
            went = load_signer(folder, ORIGIN).verifier.key != before
            finished, undone = finished + went, undone + (not went)
        assert not is_pending(folder), step
        report = verified(kept)
        assert report.ok, (step, report.problems[:3])
        if (folder / QUANTUM).exists():
            key = keys.read_quantum_signer(folder / QUANTUM).verifier.key
            assert [one.sizes.stop for one in read_verifiers(folder / PUBLIC) if one.key == key] == [2**63]
    assert step > 20
    if then == "start":
        assert undone > 5 and finished > 5


@pytest.mark.sqlite
async def test_a_running_gateway_finishes_a_rotation_that_died_behind_its_commit(
    kept: KeptInSqlite, open_ledger: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = kept.folder / "keys"
    async with open_ledger() as ledger:
        await ledger.append(intent())
        with monkeypatch.context() as patch:
            patch.setattr(rotation, "settle", _dies_second(rotation.settle))
            with pytest.raises(Crash):
                rotated(kept)
        assert is_pending(folder) and not verified(kept).ok
        await ledger.append(intent())
        assert not is_pending(folder) and verified(kept).ok


def _dies_second(real: Callable[..., None]) -> Callable[..., None]:
    calls: list[Sequence[object]] = []

    def settles(*args: object) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise Crash
        real(*args)

    return settles


@pytest.mark.sqlite
@pytest.mark.parametrize("transaction", [ReallyCommitted, Lossy])
async def test_a_commit_of_which_nobody_heard_is_settled_by_what_the_log_says(
    transaction: type, kept: KeptInSqlite, open_ledger: Open
) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
    folder, path = kept.folder / "keys", kept.folder / "data" / "ledger.db"
    before = load_signer(folder, ORIGIN).verifier.key
    database = SqliteDatabase(kept.folder / "data", lambda: Doubtful.connect(path))
    Doubtful.next = transaction
    if transaction is Lossy:
        with pytest.raises(LedgerUnavailable, match="the commit failed"):
            rotate(database, folder, ORIGIN, actor="os:ops", context=CONTEXT, quantum=True)
    else:
        rotate(database, folder, ORIGIN, actor="os:ops", context=CONTEXT, quantum=True)
    assert (load_signer(folder, ORIGIN).verifier.key == before) is (transaction is Lossy)
    assert not is_pending(folder) and verified(kept).ok


async def test_a_gateway_whose_disk_does_not_vouch_for_the_new_key_refuses_until_it_does(
    kept: Kept, open_ledger: Open, tmp_path: Path
) -> None:
    """As on another host, to which nobody has brought the new files yet."""
    folder = kept.folder / "keys"
    shutil.copytree(folder, tmp_path / "here")
    async with open_ledger() as ledger:
        await ledger.append(intent())
        rotated(kept)
        shutil.copytree(folder, tmp_path / "there")
        for name in (PRIVATE, QUANTUM, PUBLIC):
            shutil.copy(tmp_path / "here" / name, folder / name)
        with pytest.raises(LedgerUnavailable, match=r": a key that is not in keys/ signed it; .* copy its files here$"):
            await ledger.append(intent())
        shutil.copy(tmp_path / "there" / PUBLIC, folder / PUBLIC)
        with pytest.raises(LedgerUnavailable, match="was retired with the commit"):
            await ledger.append(intent())
        (folder / PRIVATE).write_text((tmp_path / "there" / PRIVATE).read_text())
        (folder / PRIVATE).chmod(0o604)
        with pytest.raises(LedgerUnavailable, match="can be read by everybody"):
            await ledger.append(intent())
        (folder / PRIVATE).chmod(0o600)
        await ledger.append(intent())
    assert verified(kept).ok


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.chmod(0o604), "can be read by everybody"),
        (lambda path: path.write_text("half of"), "not a signing key"),
        (lambda path: path.write_text(Signer.generate(ORIGIN).skey()), "a key that is not in keys/ signed it"),
    ],
)
async def test_a_new_key_that_cannot_be_believed_is_neither_put_in_place_nor_thrown_away(
    spoil: Callable[[Path], object], says: str, kept: KeptInSqlite, open_ledger: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = kept.folder / "keys"
    async with open_ledger() as ledger:
        await ledger.append(intent())
    with monkeypatch.context() as patch:
        patch.setattr(rotation, "settle", _dies_second(rotation.settle))
        with pytest.raises(Crash):
            rotated(kept)
    following = folder / f"{PRIVATE}{NEXT}"
    good = following.read_text()
    spoil(following)
    spoilt = following.read_text()
    for attempt in (lambda: rotated(kept), lambda: settle(folder, ORIGIN, max(notes(kept).items())[1])):
        with pytest.raises(ConfigError, match=says):
            attempt()
    assert following.read_text() == spoilt
    following.write_text(good)
    following.chmod(0o600)
    rotated(kept)
    assert verified(kept).ok


@pytest.mark.sqlite
def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_recorded(
    kept: KeptInSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(rotation.os, "fchmod", full)
        with pytest.raises(ConfigError, match="No space left") as caught:
            rotated(kept)
    assert NEXT in str(caught.value)
    with closing(kept.database().connect_read_only()) as store:
        assert store.size() == 0
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(ConfigError, match="cannot be put in place: No space left"):
            rotated(kept)
    settle(kept.folder / "keys", ORIGIN, notes(kept)[1])
    assert verified(kept).ok and not is_pending(kept.folder / "keys")


@pytest.mark.sqlite
async def test_the_command_rotates_and_status_tells_of_it(
    kept: KeptInSqlite, open_ledger: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_ledger() as ledger:
        await ledger.append(intent())
    (kept.folder / "config.toml").write_text(f'[ledger]\norigin = "{ORIGIN}"\n')
    (kept.folder / "catalog").mkdir()
    at = ["--dir", str(kept.folder)]
    old = load_verifiers(kept.folder / "keys")[0]
    run = CliRunner().invoke

    def said(*command: str) -> str:
        result = run(build(["ledger"]), [*command, *at])
        assert result.exit_code == 0, result.output
        return result.output

    assert said("ledger", "status").splitlines()[-1] == f"The log is signed with {ORIGIN}+{old.key_id.hex()}."
    told = said("ledger", "rotate")
    _, new = load_verifiers(kept.folder / "keys")
    seq = new.sizes.start - 1
    assert f"Record {seq} retires key {old.key_id.hex()}; from now on the log is signed with {new.key_id.hex()}." in told
    assert said("ledger", "status").splitlines()[-2:] == [
        f"The log is signed with {ORIGIN}+{new.key_id.hex()}.",
        f"Key {old.key_id.hex()} was retired by record {seq}.",
    ]
    assert verified(kept).ok
    with closing(kept.database().connect_read_only()) as store:
        (record,) = store.records(seq, 1)
    assert str(json.loads(record.leaf)["actor"]).startswith("os:")
    (kept.folder / "keys" / f"{PUBLIC}{NEXT}").write_text("")
    assert "A rotation was begun and cut off." in said("ledger", "status")
    (kept.folder / "keys" / PUBLIC).unlink()
    assert "signed with" not in said("ledger", "status")
