"""A witness: what it answers to every kind of submission, that it never goes back, and what others' software sends it."""

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import apsw
import httpx2
import pytest
from ledger_parts import ORIGIN, Open, rejection

from mcpgw.core.errors import ConfigError
from mcpgw.ledger.anchors.anchor import AnchorFailed, Head, Overtaken
from mcpgw.ledger.anchors.http import client_context
from mcpgw.ledger.anchors.witness import WitnessAnchor
from mcpgw.ledger.checkpoint import Checkpoint, Signer, open_checkpoint
from mcpgw.ledger.cosignature import Cosigner
from mcpgw.ledger.kept_elsewhere import checkpoints_from_witness
from mcpgw.ledger.keys import load_verifiers
from mcpgw.ledger.post_quantum import QuantumSigner
from mcpgw.ledger.tree import EMPTY_ROOT, Subtrees, consistency_proof, leaf_hash, root_of
from mcpgw.ledger.trust import parse_policy, single
from mcpgw.ledger.witness.folder import WitnessConfig, create_folder, load_config, load_cosigner
from mcpgw.ledger.witness.judge import MAX_BODY_BYTES, Reply, Submission, Witness
from mcpgw.ledger.witness.memory import Memory, MemoryFailed, create_memory
from mcpgw.ledger.witness.server import serving

LOG = Signer(ORIGIN, b"l" * 32)
COSIGNER = Cosigner("witness.example/w1", b"w" * 32)
NOW = 1_700_000_000
BOUND_S = 30.0


class Tree:
    """A log in memory that signs whatever it is asked to."""

    def __init__(self, salt: bytes = b"") -> None:
        self.leaves = [leaf_hash(salt + bytes([n])) for n in range(64)]

    def subtrees(self) -> Subtrees:
        return lambda start, end: root_of(self.leaves[start:end])

    def head(self, size: int, signer: Signer = LOG) -> Head:
        checkpoint = Checkpoint(signer.verifier.name, size, root_of(self.leaves[:size]))
        return Head(signer.sign(checkpoint.text()), checkpoint)

    def submission(self, old: int, size: int, signer: Signer = LOG) -> bytes:
        proof = consistency_proof(self.subtrees(), old, size) if old <= size else []
        return Submission(old, tuple(proof), self.head(size, signer).note).encode()


HONEST, FORK = Tree(), Tree(b"fork")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    create_memory(tmp_path / "witness.db")
    memory = Memory(tmp_path / "witness.db")
    yield memory
    memory.close()


@pytest.fixture
def witness(memory: Memory) -> Witness:
    return Witness(COSIGNER, [LOG.verifier], memory, clock=lambda: NOW)


def said(reply: Reply) -> tuple[int, str, str]:
    return reply.status, reply.body, reply.content_type


def seen_size(memory: Memory) -> int:
    return max((seen.checkpoint.size for seen in memory.seen(ORIGIN)), default=0)


# --- the statuses of the specification -----------------------------------------------------------------------------------


def test_what_continues_is_cosigned_with_the_time_and_remembered(witness: Witness, memory: Memory) -> None:
    for old, size in ((0, 1), (1, 1), (1, 7), (7, 8), (8, 64)):
        reply = witness.add_checkpoint(HONEST.submission(old, size))
        assert (reply.status, reply.content_type) == (200, "text/plain; charset=utf-8")
        head = HONEST.head(size)
        assert reply.body == COSIGNER.cosign(head.checkpoint.text(), NOW)
        assert open_checkpoint(head.note + reply.body, [COSIGNER.verifier]) == head.checkpoint
        assert seen_size(memory) == size


def test_a_log_may_begin_empty(witness: Witness, memory: Memory) -> None:
    assert witness.add_checkpoint(HONEST.submission(0, 0)).status == 200
    wrong = LOG.sign(Checkpoint(ORIGIN, 0, b"x" * 32).text())
    assert witness.add_checkpoint(Submission(0, (), wrong).encode()).status == 422
    assert memory.seen(ORIGIN)[0].checkpoint.root == EMPTY_ROOT


def test_extension_lines_are_cosigned_as_they_stand(witness: Witness) -> None:
    text = HONEST.head(3).checkpoint.text() + "an extension\n"
    reply = witness.add_checkpoint(Submission(0, (), LOG.sign(text)).encode())
    assert reply.body == COSIGNER.cosign(text, NOW)


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (b"", 400, "a line `old SIZE`"),
        (b"\xff", 400, "not UTF-8"),
        (b"old 01\n\n" + HONEST.head(9).note.encode(), 400, "a line `old SIZE`"),
        (b"old -1\n\n" + HONEST.head(9).note.encode(), 400, "a line `old SIZE`"),
        (b"old 5\n" + HONEST.head(9).note.encode(), 400, "proof"),
        (b"old 5\nAAAA\n\n" + HONEST.head(9).note.encode(), 400, "no hash"),
        (b"old 5\n!\n\n" + HONEST.head(9).note.encode(), 400, "no hash"),
        (Submission(5, (b"h" * 32,) * 64, HONEST.head(9).note).encode(), 400, "at most 63"),
        (b"old 5\n\n" + HONEST.head(9).note.encode()[:-1], 400, "a note is"),
        (b"old 5\n\n" + LOG.sign("one line\n").encode(), 400, "three or more lines"),
        (HONEST.submission(5, 9, Signer("other.example/log", b"l" * 32)), 404, "not known"),
        (HONEST.submission(5, 9, Signer(ORIGIN, b"o" * 32)), 403, "signed by none"),
        (HONEST.submission(5, 9).replace(b"\n9\n", b"\n8\n"), 403, "is wrong"),
        (HONEST.submission(9, 8), 400, "larger than"),
        (HONEST.submission(4, 9), 409, "5\n"),
        (HONEST.submission(0, 9), 409, "5\n"),
        (HONEST.submission(6, 9), 409, "5\n"),
        (Submission(5, (), HONEST.head(9).note).encode(), 422, "does not hold"),
        (FORK.submission(5, 9), 422, "does not hold"),
        (FORK.submission(5, 5), 422, "forked or rewritten"),
        (Submission(5, (b"h" * 32,), HONEST.head(5).note).encode(), 422, "does not hold"),
    ],
)
def test_what_does_not_continue_is_refused_and_leaves_no_trace_but_evidence(
    witness: Witness, memory: Memory, body: bytes, status: int, why: str
) -> None:
    witness.add_checkpoint(HONEST.submission(0, 5))
    reply = witness.add_checkpoint(body)
    assert reply.status == status and why in reply.body
    assert (reply.content_type == "text/x.tlog.size") is (status == 409)
    assert seen_size(memory) == 5
    assert len(memory.refused(ORIGIN)) == (1 if status == 422 else 0)
    assert witness.add_checkpoint(HONEST.submission(5, 9)).status == 200


def test_the_first_submission_carries_no_proof(witness: Witness) -> None:
    assert witness.add_checkpoint(Submission(0, (b"h" * 32,), HONEST.head(9).note).encode()).status == 422


def test_evidence_of_a_fork_is_kept_with_both_signatures(witness: Witness, memory: Memory) -> None:
    witness.add_checkpoint(HONEST.submission(0, 5))
    for _ in range(2):
        witness.add_checkpoint(FORK.submission(5, 5))
    (refused,) = memory.refused(ORIGIN)
    assert open_checkpoint(refused.note, [LOG.verifier]) == FORK.head(5).checkpoint
    assert open_checkpoint(memory.seen(ORIGIN)[0].note, [LOG.verifier]) == HONEST.head(5).checkpoint


def test_a_rotated_key_of_a_known_log_is_believed_and_strangers_signatures_are_not_shown(memory: Memory) -> None:
    rotated, stranger = Signer(ORIGIN, b"n" * 32), Signer("stranger.example", b"s" * 32)
    witness = Witness(COSIGNER, [LOG.verifier, rotated.verifier], memory, clock=lambda: NOW)
    text = HONEST.head(3).checkpoint.text()
    note = rotated.sign(text) + stranger.sign(text).partition("\n\n")[2]
    assert witness.add_checkpoint(Submission(0, (), note).encode()).status == 200
    shown = witness.checkpoint(hashlib.sha256(ORIGIN.encode()).hexdigest())
    assert shown.body == rotated.sign(text) + COSIGNER.cosign(text, NOW)


def test_what_was_cosigned_is_shown_by_the_origins_hash(witness: Witness) -> None:
    origin = hashlib.sha256(ORIGIN.encode()).hexdigest()
    assert witness.checkpoint(origin).status == 404
    witness.add_checkpoint(HONEST.submission(0, 5))
    note = HONEST.head(5).note + COSIGNER.cosign(HONEST.head(5).checkpoint.text(), NOW)
    assert said(witness.checkpoint(origin)) == (200, note, "text/plain; charset=utf-8")
    assert witness.checkpoint("0" * 64).status == 404


# --- memory --------------------------------------------------------------------------------------------------------------


def test_submissions_at_once_never_bring_the_witness_back(witness: Witness, memory: Memory) -> None:
    """The race of the specification: both are checked against one size, and the larger is stored first."""
    cosigned: list[int] = []
    witness.add_checkpoint(HONEST.submission(0, 1))
    start = threading.Barrier(8)

    def climb(step: int) -> None:
        start.wait(BOUND_S)
        known = 1
        while known + step <= 64:
            reply = witness.add_checkpoint(HONEST.submission(known, known + step))
            if reply.status == 409:
                known = int(reply.body)
            else:
                assert reply.status == 200
                known += step
                cosigned.append(known)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(climb, [1, 2, 3, 1, 2, 3, 5, 7], timeout=BOUND_S))
    assert len(cosigned) == len(set(cosigned)), "one size was cosigned for two submissions from the same old size"
    assert seen_size(memory) == max(cosigned)


def test_nobody_can_bring_the_memory_back_by_mistake(witness: Witness, memory: Memory, tmp_path: Path) -> None:
    witness.add_checkpoint(HONEST.submission(0, 5))
    db = apsw.Connection(str(tmp_path / "witness.db"))
    for sql in ("UPDATE seen SET size = 4", "UPDATE seen SET root = x'00'", "UPDATE seen SET origin = 'x'", "DELETE FROM seen"):
        with pytest.raises(apsw.ConstraintError, match="a witness does not"):
            db.execute(sql)
    db.close()


def test_what_cannot_be_remembered_is_not_cosigned(witness: Witness, memory: Memory, tmp_path: Path) -> None:
    witness.add_checkpoint(HONEST.submission(0, 5))
    db = apsw.Connection(str(tmp_path / "witness.db"))
    db.execute("CREATE TRIGGER full BEFORE UPDATE ON seen BEGIN SELECT raise(ABORT, 'no room'); END")
    with pytest.raises(MemoryFailed, match="no room"):
        witness.add_checkpoint(HONEST.submission(5, 9))
    db.execute("DROP TRIGGER full")
    db.close()
    assert seen_size(memory) == 5
    assert witness.add_checkpoint(HONEST.submission(5, 9)).status == 200


def test_a_lost_memory_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="memory is missing"):
        Memory(tmp_path / "witness.db")
    create_memory(tmp_path / "witness.db")
    with pytest.raises(ConfigError, match="memory already"):
        create_memory(tmp_path / "witness.db")


# --- the folder ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_made_once_and_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    verifier = create_folder(folder, "witness.example/w1", [LOG.verifier.vkey()])
    assert load_cosigner(folder).verifier == verifier
    assert (folder / "witness.pub").read_text() == verifier.vkey() + "\n"
    assert (folder / "witness.key").stat().st_mode & 0o777 == 0o600
    assert load_config(folder) == WitnessConfig(logs=(LOG.verifier,))
    with pytest.raises(ConfigError, match="a witness already"):
        create_folder(folder, "witness.example/w1", [])
    (folder / "witness.key").chmod(0o644)
    with pytest.raises(ConfigError, match="read by everybody"):
        load_cosigner(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prt = 1", r"witness\.toml:1: unknown key `prt`. Did you mean `port`\?"),
        ("\nport = '1'", r"witness\.toml:2: `port` is a number"),
        ("host = 1", "`host` is a text"),
        ("logs = [1]", "`logs` is a list"),
        ("logs = ['x']", "not a log's verifier key"),
        ("logs = [", "not TOML"),
    ],
)
def test_a_wrong_configuration_is_told_by_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "witness.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path)


def test_a_witness_believes_each_key_of_a_log_for_its_own_checkpoints(tmp_path: Path, memory: Memory) -> None:
    new, quantum = Signer.generate(ORIGIN), QuantumSigner.generate(ORIGIN)
    config = tmp_path / "witness.toml"

    def configured(*lines: str) -> WitnessConfig:
        config.write_text(f"logs = {json.dumps(lines)}")
        return load_config(tmp_path)

    with pytest.raises(ConfigError, match="it is of ML-DSA-44"):
        configured(quantum.verifier.vkey())
    with pytest.raises(ConfigError, match=r"witness\.toml:1.*for the same checkpoints"):
        configured(LOG.verifier.vkey(), new.verifier.vkey())
    logs = configured(f"{LOG.verifier.vkey()} until=5", f"{new.verifier.vkey()} from=5").logs
    witness = Witness(COSIGNER, logs, memory, clock=lambda: NOW)
    assert witness.add_checkpoint(HONEST.submission(0, 4, new)).status == 403
    assert witness.add_checkpoint(HONEST.submission(0, 4)).status == 200
    assert witness.add_checkpoint(HONEST.submission(4, 6)).status == 403, "the thief of a retired key"
    assert witness.add_checkpoint(HONEST.submission(4, 6, new)).status == 200


def test_a_name_or_a_key_that_is_none_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--name"):
        create_folder(tmp_path / "w", "two words", [])
    with pytest.raises(ConfigError, match="--log"):
        create_folder(tmp_path / "w", "w", [COSIGNER.verifier.vkey()])
    assert not (tmp_path / "w").exists()
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path)


# --- over HTTP, with the gateway's own client ----------------------------------------------------------------------------


async def proofs(first: int, second: int) -> list[bytes]:
    return consistency_proof(HONEST.subtrees(), first, second)


def anchor_for(url: str, cosigner: Cosigner = COSIGNER) -> WitnessAnchor:
    return WitnessAnchor("audit", single("audit", cosigner.verifier, url), [LOG.verifier], client_context("", "ca"))


async def test_an_anchor_learns_what_the_witness_knows_and_brings_the_proof(witness: Witness, memory: Memory) -> None:
    async with serving(witness, WitnessConfig(port=0)) as url:
        for size in (3, 7, 7, 40):
            facts = await anchor_for(url).accept(HONEST.head(size), proofs)
            assert (facts["cosigned"], facts["missing"]) == (["audit"], [])
            line = COSIGNER.cosign(HONEST.head(size).checkpoint.text(), NOW)
            assert facts["cosignatures"] == [line.rstrip("\n")]
        found = await anyio.to_thread.run_sync(checkpoints_from_witness, url, COSIGNER.verifier, [LOG.verifier])
        assert found == [HONEST.head(40).checkpoint]
        with pytest.raises(Overtaken, match="has 7 records, but the anchor has seen 40"):
            await anchor_for(url).accept(HONEST.head(7), proofs)
        with pytest.raises(AnchorFailed, match="does not continue what it has seen"):
            await anchor_for(url).accept(FORK.head(41), proofs)
    assert seen_size(memory) == 40


async def test_a_witness_that_another_key_answers_for_is_not_believed(witness: Witness) -> None:
    async with serving(witness, WitnessConfig(port=0)) as url:
        with pytest.raises(AnchorFailed, match="not signed by the key"):
            await anchor_for(url, Cosigner("witness.example/w1", b"x" * 32)).accept(HONEST.head(3), proofs)
    with pytest.raises(AnchorFailed, match="gave no answer"):
        await anchor_for(url).accept(HONEST.head(3), proofs)


async def test_bodies_are_bounded_and_nothing_else_is_answered(witness: Witness) -> None:
    async with serving(witness, WitnessConfig(port=0)) as url, httpx2.AsyncClient(timeout=BOUND_S) as client:
        assert (await client.post(f"{url}/add-checkpoint", content=b"x" * (MAX_BODY_BYTES + 1))).status_code == 413
        assert (await client.get(f"{url}/add-checkpoint")).status_code == 405
        assert (await client.post(f"{url}/sign-subtree", content=b"")).status_code == 404
        assert (await client.get(f"{url}/{'A' * 64}/checkpoint")).status_code == 404
        conflict = await client.post(f"{url}/add-checkpoint", content=HONEST.submission(5, 9))
        assert (conflict.status_code, conflict.text, conflict.headers["content-type"]) == (409, "0\n", "text/x.tlog.size")


async def test_two_of_three_witnesses_make_a_quorum(tmp_path: Path) -> None:
    cosigners = [Cosigner(f"w{n}.example", bytes([n]) * 32) for n in range(1, 4)]
    async with anyio.create_task_group() as tasks:
        stop, urls = anyio.Event(), dict[int, str]()

        async def serve(n: int) -> None:
            create_memory(tmp_path / f"{n}.db")
            memory = Memory(tmp_path / f"{n}.db")
            async with serving(Witness(cosigners[n], [LOG.verifier], memory), WitnessConfig(port=0)) as url:
                urls[n] = url
                await stop.wait()
            memory.close()

        for n in range(2):
            tasks.start_soon(serve, n)
        with anyio.fail_after(BOUND_S):
            while True:
                if len(urls) == 2:
                    break
                await anyio.sleep(0.01)
        urls[2] = "http://127.0.0.1:9"  # nobody is there
        for threshold, enough in ((2, True), (3, False)):
            lines = [f"witness w{n} {cosigners[n].verifier.vkey()} {urls[n]}" for n in range(3)]
            text = "\n".join([f"log {LOG.verifier.vkey()}", *lines, f"group all {threshold} w0 w1 w2", "quorum all"])
            policy = parse_policy(text.encode(), "p")
            anchor = WitnessAnchor("audit", policy, [LOG.verifier], client_context("", "ca"))
            if enough:
                facts = await anchor.accept(HONEST.head(5), proofs)
                assert (facts["cosigned"], facts["missing"]) == (["w0", "w1"], ["w2"])
                lines = facts["cosignatures"]
                assert isinstance(lines, list)
                note = HONEST.head(5).note + "".join(f"{line}\n" for line in lines)
                assert policy.open(note) == (HONEST.head(5).checkpoint, {"w0", "w1"})
            else:
                with pytest.raises(AnchorFailed, match=r"the quorum all did not cosign \(w2: it gave no answer"):
                    await anchor.accept(HONEST.head(5), proofs)
        stop.set()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["quorum none"], "never make its quorum, or nobody must"),
        (["witness w KEY", "quorum w"], "never make its quorum"),
        (["witness w KEY http://bank.example", "quorum w"], "no https"),
        ([f"log {Signer('other', b'o' * 32).verifier.vkey()}", "witness w KEY https://w.example", "quorum w"], "other logs"),
    ],
)
def test_a_policy_that_cannot_work_is_told_at_the_start(lines: list[str], message: str) -> None:
    policy = parse_policy("\n".join(lines).replace("KEY", COSIGNER.verifier.vkey()).encode(), "p")
    with pytest.raises(ConfigError, match=message):
        WitnessAnchor("audit", policy, [LOG.verifier], client_context("", "ca"))


async def test_a_real_log_is_witnessed_with_its_own_proofs(open_ledger: Open, folder: Path, tmp_path: Path) -> None:
    verifiers = load_verifiers(folder / "keys")
    create_memory(tmp_path / "witness.db")
    memory = Memory(tmp_path / "witness.db")
    witness = Witness(COSIGNER, verifiers, memory)
    async with serving(witness, WitnessConfig(port=0)) as url, open_ledger() as ledger:
        for _ in range(4):
            for _ in range(70):
                await ledger.append(rejection())
            note = await ledger.export_checkpoint()
            head = Head(note, open_checkpoint(note, verifiers))
            await anchor_for(url).accept(head, ledger.consistency)
            assert seen_size(memory) == head.checkpoint.size
    memory.close()
