"""ML-DSA-44 beside Ed25519: C2SP tlog-cosignature to the byte, and on what leaves alone."""

import struct
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from ledger_parts import CONTEXT, ORIGIN, intent
from stores import KeptInSqlite

from mcpgw.app import convert
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.ledger import post_quantum
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, Signer, open_checkpoint, signatures_of
from mcpgw.ledger.journal import Ledger
from mcpgw.ledger.keys import PUBLIC, QUANTUM, countersigned, create_keys, load_signer, load_verifiers, read_verifiers
from mcpgw.ledger.post_quantum import QuantumSigner, QuantumVerifier
from mcpgw.settings import from_text

CHECKPOINT = Checkpoint(ORIGIN, 7, b"r" * 32)
SIGNER = QuantumSigner.generate(ORIGIN)
NOW = 1_700_000_000


def test_the_signed_message_is_that_of_the_specification() -> None:
    """Put together here from tlog-cosignature's `struct`s, and checked with the bare library."""
    text, (signature,) = signatures_of(f"{CHECKPOINT.text()}\n{SIGNER.sign(CHECKPOINT, NOW)}")
    name = ORIGIN.encode()
    message = b"subtree/v1\n\x00" + bytes([len(name)]) + name + struct.pack(">Q", NOW)
    message += bytes([len(name)]) + name + struct.pack(">QQ", 0, 7) + b"r" * 32
    assert (text, signature.name, signature.value[:8]) == (CHECKPOINT.text(), ORIGIN, struct.pack(">Q", NOW))
    assert len(signature.value) == 8 + 2420
    MLDSA44PublicKey.from_public_bytes(SIGNER.verifier.key).verify(signature.value[8:], message)


def test_keys_are_read_back_as_they_were_written() -> None:
    assert QuantumVerifier.parse(SIGNER.verifier.vkey()) == SIGNER.verifier
    assert QuantumSigner.parse(SIGNER.skey()).verifier == SIGNER.verifier
    assert SIGNER.verifier.vkey().split("+")[2].startswith("B")  # base64 of 0x06
    assert SIGNER.skey() not in repr(SIGNER)
    other = Signer.generate(ORIGIN)
    for parse, text in (
        (QuantumVerifier.parse, other.verifier.vkey()),
        (QuantumVerifier.parse, SIGNER.verifier.vkey().replace(ORIGIN, "other.example/log")),
        (QuantumSigner.parse, other.skey()),
        (QuantumSigner.parse, SIGNER.skey().replace(ORIGIN, "other.example/log")),
        (lambda _: QuantumVerifier(ORIGIN, b"short"), ""),
        (lambda _: QuantumSigner.generate("x" * 256).sign(CHECKPOINT, NOW), ""),
    ):
        with pytest.raises(InvalidNote):
            parse(text)


@pytest.mark.parametrize(
    "text",
    [
        Checkpoint(ORIGIN, 8, b"r" * 32).text(),
        Checkpoint(ORIGIN, 7, b"s" * 32).text(),
        Checkpoint("other.example/log", 7, b"r" * 32).text(),
        "no checkpoint\n",
    ],
)
def test_a_signature_is_for_its_checkpoint_alone(text: str) -> None:
    _, (signature,) = signatures_of(f"{CHECKPOINT.text()}\n{SIGNER.sign(CHECKPOINT, NOW)}")
    assert SIGNER.verifier.verifies(CHECKPOINT.text(), signature.value)
    assert not SIGNER.verifier.verifies(text, signature.value)
    assert not SIGNER.verifier.verifies(CHECKPOINT.text(), struct.pack(">Q", NOW + 1) + signature.value[8:])
    assert not SIGNER.verifier.verifies(CHECKPOINT.text(), signature.value[:-1])


def test_where_both_keys_are_known_both_signatures_must_be_right(tmp_path: Path) -> None:
    create_keys(tmp_path, ORIGIN)
    note = load_signer(tmp_path, ORIGIN).sign(CHECKPOINT.text())
    both = countersigned(note, tmp_path, load_verifiers(tmp_path))
    assert (len(signatures_of(note)[1]), len(signatures_of(both)[1])) == (1, 2)
    every = read_verifiers(tmp_path / PUBLIC)
    assert open_checkpoint(both, every) == open_checkpoint(note, every) == open_checkpoint(both, every[1:]) == CHECKPOINT
    classical, quantum = (line for line in both.splitlines(keepends=True) if line.startswith("—"))
    for line in (classical, quantum):
        spoilt = both.replace(line, line[:-20] + ("B" if line[-20] == "A" else "A") + line[-19:])
        with pytest.raises(InvalidNote, match="is wrong"):
            open_checkpoint(spoilt, every)
    with pytest.raises(InvalidNote):
        countersigned(note.replace("\n7\n", "\n8\n"), tmp_path, load_verifiers(tmp_path))


def test_an_unusable_key_is_named(tmp_path: Path) -> None:
    create_keys(tmp_path, ORIGIN)
    note = load_signer(tmp_path, ORIGIN).sign(CHECKPOINT.text())
    assert (tmp_path / QUANTUM).stat().st_mode & 0o777 == 0o600
    (tmp_path / QUANTUM).write_text("nonsense")
    with pytest.raises(ConfigError, match="not a signing key"):
        countersigned(note, tmp_path, load_verifiers(tmp_path))
    (tmp_path / QUANTUM).chmod(0o604)
    with pytest.raises(ConfigError, match="read by everybody"):
        countersigned(note, tmp_path, load_verifiers(tmp_path))
    (tmp_path / PUBLIC).write_text(SIGNER.verifier.vkey())
    with pytest.raises(ConfigError, match="no Ed25519 key"):
        load_verifiers(tmp_path)


def test_where_the_library_has_no_ml_dsa_ed25519_signs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing(MLDSA44PrivateKey):  # as `cryptography` behaves over a libcrypto without it
        @classmethod
        def generate(cls) -> MLDSA44PrivateKey:
            raise UnsupportedAlgorithm("ML-DSA is not supported")

    monkeypatch.setattr(post_quantum, "MLDSA44PrivateKey", Missing)
    create_keys(tmp_path, ORIGIN)
    note = load_signer(tmp_path, ORIGIN).sign(CHECKPOINT.text())
    assert countersigned(note, tmp_path, load_verifiers(tmp_path)) == note
    assert read_verifiers(tmp_path / PUBLIC) == load_verifiers(tmp_path)


@pytest.mark.sqlite
async def test_commits_are_signed_with_ed25519_and_exports_with_both_unless_switched_off(kept: KeptInSqlite) -> None:
    for setting, signatures in (("true", 2), ("false", 1)):
        settings = from_text(f'[ledger]\norigin = "{ORIGIN}"\npost_quantum = {setting}\n', kept.folder)
        async with Ledger.open(
            kept.folder / "data",
            kept.folder / "keys",
            origin=ORIGIN,
            context=lambda: CONTEXT,
            countersign=lambda note, settings=settings: convert.countersign(settings, note),
        ) as ledger:
            (receipt,) = (await ledger.append(intent())).receipt
            assert len(signatures_of(receipt.checkpoint)[1]) == 1
            assert len(signatures_of(await ledger.export_checkpoint())[1]) == signatures
    with kept.tampering() as admin:
        admin.execute("UPDATE checkpoints SET note = replace(note, 'bank', 'bonk')")
    with closing(kept.database().connect_read_only()) as store:
        (newest,) = store.newest_checkpoint()
    settings = from_text(f'[ledger]\norigin = "{ORIGIN}"\n', kept.folder)
    with pytest.raises(LedgerUnavailable, match="cannot be believed"):
        convert.countersign(settings, newest.note)
