"""Checkpoints that were kept elsewhere: what is read back, what is believed of it, and how a directory keeps them."""

import errno
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from ledger_parts import ORIGIN

from mcpgw.core.errors import ConfigError
from mcpgw.ledger.anchors import directory as directories
from mcpgw.ledger.anchors.anchor import AnchorFailed, Head
from mcpgw.ledger.anchors.directory import DirectoryAnchor
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, Signer, open_note, signatures_of
from mcpgw.ledger.cosignature import CosignatureVerifier, Cosigner, cosigned_at
from mcpgw.ledger.kept_elsewhere import (
    checkpoints_by_policy,
    checkpoints_from_witness,
    checkpoints_in,
    file_name,
    require_https,
)
from mcpgw.ledger.trust import TrustPolicy, parse_policy

LOG = Signer(ORIGIN, b"l" * 32)
OTHER = Signer(ORIGIN, b"o" * 32)
WITNESS = Cosigner("witness.example/w1", b"w" * 32)


def head(size: int, root: bytes = b"r" * 32, signer: Signer = LOG) -> Head:
    checkpoint = Checkpoint(ORIGIN, size, root)
    return Head(signer.sign(checkpoint.text()), checkpoint)


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def no_proofs(first: int, second: int) -> list[bytes]:
    pytest.fail("a directory needs no proof")


def directory(path: Path) -> DirectoryAnchor:
    return DirectoryAnchor("vault", path, [LOG.verifier])


# --- cosignatures --------------------------------------------------------------------------------------------------------


def test_a_cosignature_is_the_time_and_a_signature_over_the_time_and_the_text() -> None:
    text = Checkpoint("example.com/behind-the-sofa", 20852163, b"h" * 32).text()
    note = f"{text}\n{WITNESS.cosign(text, 1679315147)}"
    assert open_note(note, [WITNESS.verifier]) == text
    (signature,) = signatures_of(note)[1]
    assert (signature.name, cosigned_at(signature.value), len(signature.value)) == ("witness.example/w1", 1679315147, 72)


def test_neither_text_nor_time_of_a_cosignature_can_be_changed() -> None:
    text = Checkpoint(ORIGIN, 7, b"h" * 32).text()
    (signature,) = signatures_of(f"{text}\n{WITNESS.cosign(text, 5)}")[1]
    assert WITNESS.verifier.verifies(text, signature.value)
    assert not WITNESS.verifier.verifies(text.replace("7", "8"), signature.value)
    assert not WITNESS.verifier.verifies(text, (6).to_bytes(8, "big") + signature.value[8:])
    assert not WITNESS.verifier.verifies(text, signature.value[8:])


@pytest.mark.parametrize("time_s", [0, 2**63])
def test_a_cosignature_without_a_possible_time_counts_for_nothing(time_s: int) -> None:
    text = Checkpoint(ORIGIN, 7, b"h" * 32).text()
    (signature,) = signatures_of(f"{text}\n{WITNESS.cosign(text, time_s)}")[1]
    assert not WITNESS.verifier.verifies(text, signature.value)


def test_the_keys_of_a_cosigner_survive_their_text_and_are_no_keys_of_a_log() -> None:
    assert CosignatureVerifier.parse(WITNESS.verifier.vkey()) == WITNESS.verifier
    assert Cosigner.parse(WITNESS.skey()).verifier == WITNESS.verifier
    with pytest.raises(InvalidNote, match="0x04"):
        CosignatureVerifier.parse(LOG.verifier.vkey())
    with pytest.raises(InvalidNote, match="0x04"):
        Cosigner.parse(LOG.skey())
    with pytest.raises(InvalidNote, match="PRIVATE"):
        Cosigner.parse(WITNESS.verifier.vkey())
    for broken in (WITNESS.verifier.vkey(), WITNESS.skey()):
        name, _, key = broken.removeprefix("PRIVATE+KEY+").split("+", 2)
        wrong = f"{name}+00000000+{key}"
        with pytest.raises(InvalidNote, match="00000000"):
            Cosigner.parse(f"PRIVATE+KEY+{wrong}") if "PRIVATE" in broken else CosignatureVerifier.parse(wrong)
    assert "w" * 8 not in repr(WITNESS)


# --- a directory ---------------------------------------------------------------------------------------------------------


async def test_one_file_for_each_checkpoint_is_created_once_and_holds_the_note(tmp_path: Path) -> None:
    anchor = directory(tmp_path)
    for size in (3, 5, 5):
        await anchor.accept(head(size), no_proofs)
    files = files_in(tmp_path)
    assert [file.read_text() for file in files] == [head(3).note, head(5).note]
    assert [file.name for file in files] == [file_name(3, head(3).note.encode()), file_name(5, head(5).note.encode())]
    assert all(file.stat().st_mode & 0o777 == 0o444 for file in files)
    assert [found.size for found in checkpoints_in(tmp_path, [LOG.verifier])] == [3, 5]


async def test_what_is_there_is_never_overwritten_and_half_a_file_is_passed_over(tmp_path: Path) -> None:
    torn = tmp_path / file_name(4, head(4).note.encode())
    torn.write_text(head(4).note[:40])
    facts = await directory(tmp_path).accept(head(4), no_proofs)
    assert torn.read_text() == head(4).note[:40]
    assert facts == {"file": torn.name.replace(".checkpoint", ".2.checkpoint")}
    assert [found.size for found in checkpoints_in(tmp_path, [LOG.verifier])] == [4]


async def test_a_directory_that_was_given_a_token_keeps_it_beside_its_checkpoint(tmp_path: Path) -> None:
    anchor = directory(tmp_path)
    file = await anchor.keep(head(4))
    assert (await anchor.keep_beside(file, ".tsr", b"one")).name == f"{file.name}.tsr"
    assert (await anchor.keep_beside(file, ".tsr", b"two")).name == f"{file.name}.2.tsr"
    assert [found.size for found in checkpoints_in(tmp_path, [LOG.verifier])] == [4]


@pytest.mark.parametrize("seen", [head(9), head(4, b"x" * 32)], ids=["a longer log", "another log of that length"])
async def test_a_gateway_that_starts_on_an_older_or_another_log_is_told(tmp_path: Path, seen: Head) -> None:
    await directory(tmp_path).accept(seen, no_proofs)
    with pytest.raises(AnchorFailed, match="does not continue"):
        await directory(tmp_path).accept(head(4), no_proofs)


async def test_a_planted_checkpoint_that_the_log_never_signed_is_no_rollback(tmp_path: Path) -> None:
    planted = head(9, signer=OTHER)
    (tmp_path / file_name(9, planted.note.encode())).write_text(planted.note)
    await directory(tmp_path).accept(head(4), no_proofs)
    assert [found.size for found in checkpoints_in(tmp_path, [LOG.verifier])] == [4]


async def test_what_is_not_known_to_be_durable_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(AnchorFailed, match="No such file"):
        await directory(tmp_path / "not there").accept(head(4), no_proofs)
    monkeypatch.setattr(directories.os, "fsync", refused)
    with pytest.raises(AnchorFailed, match="cannot be written: No space"):
        await directory(tmp_path).accept(head(4), no_proofs)


async def test_no_link_is_followed_to_what_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / file_name(4, head(4).note.encode())).symlink_to("/dev/zero")
    assert str((await directory(tmp_path).accept(head(4), no_proofs))["file"]).endswith(".2.checkpoint")


@pytest.mark.parametrize(("files", "message"), [({}, "it is empty"), ({file_name(1, b""): b"x"}, "none of its 1 files")])
def test_a_directory_without_anything_to_believe_is_refused(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        checkpoints_in(tmp_path, [LOG.verifier])
    with pytest.raises(ConfigError, match="cannot be read"):
        checkpoints_in(tmp_path / "not there", [LOG.verifier])


def test_two_checkpoints_of_one_size_are_both_shown(tmp_path: Path) -> None:
    for note in (head(4).note, head(4, b"x" * 32).note):
        (tmp_path / file_name(4, note.encode())).write_text(note)
    assert {found.root for found in checkpoints_in(tmp_path, [LOG.verifier])} == {b"r" * 32, b"x" * 32}


# --- a witness -----------------------------------------------------------------------------------------------------------


@contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/w", asked
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def cosigned(made: Head, by: Cosigner = WITNESS) -> bytes:
    return (made.note + by.cosign(made.checkpoint.text(), 1)).encode()


def test_a_witness_is_asked_at_the_place_of_the_specification() -> None:
    with answering(cosigned(head(7))) as (url, asked):
        assert checkpoints_from_witness(url, WITNESS.verifier, [LOG.verifier]) == [head(7).checkpoint]
    assert asked == [f"/w/{hashlib.sha256(ORIGIN.encode()).hexdigest()}/checkpoint"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (cosigned(head(7), Cosigner("witness.example/w1", b"x" * 32)), 200, "signed by none"),
        (head(7).note.encode(), 200, "signed by none"),
        (cosigned(head(7, signer=OTHER)), 200, "signed by none"),
        (b"\xff", 200, "cannot be believed"),
        (b"", 404, "has no checkpoint of this log"),
        (b"", 500, "answered 500"),
    ],
    ids=["another witness", "no witness", "another log", "no text", "unknown", "broken"],
)
def test_what_log_and_witness_did_not_both_sign_is_refused(body: bytes, status: int, message: str) -> None:
    with answering(body, status) as (url, _), pytest.raises(ConfigError, match=message):
        checkpoints_from_witness(url, WITNESS.verifier, [LOG.verifier])


def test_a_witness_that_does_not_answer_is_told_and_nobody_believed_is_a_mistake() -> None:
    with answering(b"") as (url, _):
        pass
    with pytest.raises(ConfigError, match="gave no answer"):
        checkpoints_from_witness(url, WITNESS.verifier, [LOG.verifier])
    with pytest.raises(ValueError, match="at least one"):
        checkpoints_from_witness(url, WITNESS.verifier, [])


def policy_of(*urls: str) -> TrustPolicy:
    """Two of the witnesses have to cosign."""
    keys = [Cosigner(f"w{number}.example", bytes([number]) * 32).verifier.vkey() for number in range(len(urls))]
    witnesses = [f"witness w{number} {key} {url}" for number, (key, url) in enumerate(zip(keys, urls, strict=True))]
    names = " ".join(f"w{number}" for number in range(len(urls)))
    return parse_policy("\n".join([*witnesses, f"group two 2 {names}", "quorum two"]).encode(), "p")


def cosigned_by(number: int, made: Head) -> bytes:
    return cosigned(made, Cosigner(f"w{number}.example", bytes([number]) * 32))


def test_a_policys_quorum_of_witnesses_is_believed_and_the_others_are_named() -> None:
    with answering(cosigned_by(0, head(9))) as (first, _), answering(cosigned_by(1, head(7))) as (second, _):
        found, failed = checkpoints_by_policy(policy_of(first, second, ""), [LOG.verifier])
    assert found == [head(7).checkpoint, head(9).checkpoint]
    assert failed == {"w2": "it has no URL"}


def test_witnesses_that_make_no_quorum_are_not_believed() -> None:
    with (
        answering(cosigned_by(0, head(9))) as (first, _),
        answering(b"", 500) as (second, _),
        pytest.raises(ConfigError, match=r"quorum two .* not reached \(w1: http\S+: the witness answered 500\)"),
    ):
        checkpoints_by_policy(policy_of(first, second), [LOG.verifier])


def test_a_policy_that_asks_for_nobody_is_none_to_verify_with() -> None:
    with pytest.raises(ConfigError, match="it asks for nobody"):
        checkpoints_by_policy(parse_policy(b"quorum none", "p"), [LOG.verifier])


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://witness.example", True),
        ("http://127.0.0.1:8/x", True),
        ("http://[::1]:8", True),
        ("http://localhost", True),
        ("http://witness.example", False),
        ("https://me:pw@witness.example", False),
        ("https://witness.example/?key=1", False),
        ("ftp://127.0.0.1", False),
        ("https://", False),
        ("https://[", False),
    ],
)
def test_addresses_are_https_or_loopback_without_a_login(url: str, fine: bool) -> None:
    if fine:
        require_https(url, "here")
        return
    with pytest.raises(ConfigError, match="here: is no https") as caught:
        require_https(url, "here")
    assert "pw" not in str(caught.value)
