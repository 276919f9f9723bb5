"""What we write, read by implementations that we did not write: checkpoints, tiles and proofs by `metamorphic-log` (Rust),
ML-DSA-44 signatures by `dilithium-py`. And vectors that others publish, read by us.
"""

import struct
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from dilithium_py.ml_dsa import ML_DSA_44
from ledger_parts import ORIGIN, Open, rejection
from stores import Kept
from typer.testing import CliRunner

from mcpgw.cli.main import build
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, Signer, Verifier, open_note, signatures_of
from mcpgw.ledger.keys import load_signer, load_verifiers
from mcpgw.ledger.post_quantum import QuantumSigner
from mcpgw.ledger.proof import Proof, prove
from mcpgw.ledger.stored_tree import subtrees_of
from mcpgw.ledger.tiles import split
from mcpgw.ledger.tree import consistency_proof, inclusion_proof, leaf_hash, root_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="NOTICE: metamorphic-log comes as a wheel for Linux alone")
foreign = pytest.importorskip("metamorphic_log", reason="NOTICE: metamorphic-log has no wheel for this machine")

EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
"""The example of C2SP signed-note."""


def test_the_example_of_the_specification_is_a_note_to_us() -> None:
    verifier = Verifier.parse(EXAMPLE_KEY)
    assert verifier.vkey() == EXAMPLE_KEY
    assert open_note(EXAMPLE, [verifier]) == "This is an example message.\n"
    with pytest.raises(InvalidNote):
        open_note(EXAMPLE.replace("an example", "no example"), [verifier])


@pytest.fixture
async def note(kept: Kept, open_ledger: Open, folder: Path) -> str:
    """An older checkpoint of a log that has about 700 records by now."""
    url = f'url = "{kept.address}"\n' if kept.address else ""
    (folder / "config.toml").write_text(f'[ledger]\norigin = "{ORIGIN}"\n{url}')
    async with open_ledger(announce=False) as ledger:
        (older,) = (await ledger.append(rejection())).receipt
        async with anyio.create_task_group() as tasks:
            for number in range(700):
                tasks.start_soon(ledger.append, rejection(f"10.0.{number // 256}.{number % 256}"))
    return older.checkpoint


async def test_a_stranger_accepts_our_checkpoints_proofs_and_consistency(note: str, kept: Kept, folder: Path) -> None:
    verifiers = load_verifiers(folder / "keys")
    vkeys = [verifier.vkey() for verifier in verifiers]
    with closing(kept.database().connect_read_only()) as store, store.snapshot():
        (newest,) = store.newest_checkpoint()
        head, older = foreign.checkpoint_verify(newest.note, vkeys), foreign.checkpoint_verify(note, vkeys)
        assert (head.origin, head.size, older.size) == (ORIGIN, newest.size, 1)
        for seq in (0, 255, 256, newest.size - 1):
            record = store.records(seq, 1)[0]
            proof = Proof.parse(prove(store, record, verifiers).text())
            foreign.checkpoint_verify_inclusion(proof.checkpoint, vkeys, proof.index, record.hash, list(proof.hashes))
            with pytest.raises(foreign.VerifyError):
                foreign.checkpoint_verify_inclusion(proof.checkpoint, vkeys, proof.index, b"x" * 32, list(proof.hashes))
        grown = consistency_proof(subtrees_of(store, newest.size), older.size, newest.size)
        foreign.checkpoint_verify_consistency(note, newest.note, vkeys, grown)
        with pytest.raises(foreign.VerifyError):
            foreign.checkpoint_verify_consistency(note, newest.note, vkeys, [b"x" * 32, *grown[1:]])
    with pytest.raises(foreign.VerifyError):
        foreign.checkpoint_verify(newest.note, [Signer.generate(ORIGIN).verifier.vkey()])


async def test_a_stranger_finds_each_published_record_under_the_published_checkpoint(note: str, folder: Path) -> None:
    public = folder / "public"
    assert CliRunner().invoke(build(["publish"]), ["publish", str(public), "-C", str(folder)]).exit_code == 0
    vkeys = [verifier.vkey() for verifier in load_verifiers(folder / "keys")]
    head = foreign.checkpoint_verify((public / "checkpoint").read_text(), vkeys)
    bundle, hashes = ((public / "tile" / kind / "001").read_bytes() for kind in ("entries", "0"))
    (length,) = struct.unpack_from(">H", bundle)
    record = bundle[2 : 2 + length]
    assert split(hashes)[0] == leaf_hash(record)
    tiles = [split((public / "tile" / "0" / name).read_bytes()) for name in ("000", "001", f"002.p/{head.size - 512}")]
    leaves = [one for tile in tiles for one in tile]
    for index in (0, 300, head.size - 1):  # the stranger proves from the public files alone
        path = inclusion_proof(lambda start, end: root_of(leaves[start:end]), index, head.size)
        foreign.verify_inclusion(index, head.size, leaves[index], path, head.root)


def test_a_stranger_accepts_our_ml_dsa_signatures_and_ignores_their_line_where_it_knows_no_such_key(folder: Path) -> None:
    signer, checkpoint = QuantumSigner.generate(ORIGIN), Checkpoint(ORIGIN, 7, b"r" * 32)
    classical = load_signer(folder / "keys", ORIGIN)
    note = classical.sign(checkpoint.text()) + signer.sign(checkpoint, 1_700_000_000)
    name = bytes([len(ORIGIN)]) + ORIGIN.encode()
    message = b"subtree/v1\n\0" + name + struct.pack(">Q", 1_700_000_000) + name + struct.pack(">QQ", 0, 7) + b"r" * 32
    _, (_, ours) = signatures_of(note)
    assert ML_DSA_44.verify(signer.verifier.key, message, ours.value[8:])
    assert not ML_DSA_44.verify(signer.verifier.key, message + b"x", ours.value[8:])
    assert foreign.verify_signed_note(note, [classical.verifier.vkey()]) == 1
