"""Proofs and receipts: that one record is in the log, shown without the log."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from click.testing import Result
from ledger_parts import ORIGIN, Open, intent, outcome, rejection
from stores import Kept
from typer.testing import CliRunner

from mcpgw.cli.main import build
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.core.model import Receipt
from mcpgw.inbound.answers import _receipt as on_the_wire
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, Signer
from mcpgw.ledger.keys import load_verifiers
from mcpgw.ledger.proof import GivenReceipt, InvalidProof, Proof, prove
from mcpgw.ledger.tree import inclusion_proof, leaf_hash, root_of

SIGNER = Signer.generate("log.example/tests")
LEAVES = [leaf_hash(str(number).encode()) for number in range(21)]
PROOF = Proof(
    5,
    tuple(inclusion_proof(lambda start, end: root_of(LEAVES[start:end]), 5, 21)),
    SIGNER.sign(Checkpoint("log.example/tests", 21, root_of(LEAVES)).text()),
)


# --- the format --------------------------------------------------------------------------------------------------------------


def test_a_proof_is_read_back_as_it_was_written() -> None:
    assert Proof.parse(PROOF.text()) == PROOF
    alone = Proof(0, (), SIGNER.sign(Checkpoint("log.example/tests", 1, LEAVES[0]).text()))
    assert Proof.parse(alone.text()) == alone
    assert alone.text().startswith("c2sp.org/tlog-proof@v1\nindex 0\n\nlog.example/tests\n1\n")
    assert alone.check(LEAVES[0], [SIGNER.verifier]).size == 1


def test_extra_data_is_passed_over() -> None:
    head, rest = PROOF.text().split("\n", 1)
    assert Proof.parse(f"{head}\nextra AAAA\n{rest}") == PROOF


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tlog-proof@v1", "tlog-proof@v2"),
        ("index 5", "index 05"),
        ("index 5", "index -1"),
        ("index 5\n", ""),
        ("index 5\n", "index 5\nAAAA\n"),
        ("index 5\n", "index 5\nno base64\n"),
        ("index 5\n", "index 5\n" + "A" * 43 + "=\n" * 64),
        ("\n\n", "\n"),
        ("index 5\n", "index 5\n" + f"{'A' * 43}=\n" * 64),
        ("index 5\n", "x" * 3_000_000),
    ],
)
def test_what_breaks_the_format_is_refused(old: str, new: str) -> None:
    text = PROOF.text()
    assert old in text
    with pytest.raises(InvalidProof):
        Proof.parse(text.replace(old, new) if old != "\n\n" else text.replace("\n\n", "\n"))


@pytest.mark.parametrize(
    "proof",
    [
        replace(PROOF, index=6),
        replace(PROOF, index=21),
        replace(PROOF, hashes=PROOF.hashes[:-1]),
        replace(PROOF, hashes=(PROOF.hashes[0], *PROOF.hashes)),
        replace(PROOF, checkpoint=PROOF.checkpoint.replace("\n21\n", "\n22\n")),
        replace(PROOF, checkpoint=Signer.generate("log.example/tests").sign(PROOF.checkpoint.split("\n\n")[0] + "\n")),
    ],
)
def test_an_altered_proof_proves_nothing(proof: Proof) -> None:
    assert PROOF.check(LEAVES[5], [SIGNER.verifier]).size == 21
    with pytest.raises(InvalidNote):
        proof.check(LEAVES[5], [SIGNER.verifier])
    with pytest.raises(InvalidProof, match="does not lead from this leaf"):
        PROOF.check(LEAVES[6], [SIGNER.verifier])


RECEIPT = on_the_wire(Receipt(index=5, leaf_hash=LEAVES[5].hex(), checkpoint=PROOF.checkpoint))


@pytest.mark.parametrize("shape", [RECEIPT, {"mcpgw/receipt": RECEIPT}, {"content": [], "_meta": {"mcpgw/receipt": RECEIPT}}])
def test_a_receipt_is_read_from_whatever_a_client_kept_of_it(shape: object) -> None:
    receipt = GivenReceipt.parse(json.dumps(shape))
    assert receipt.check([SIGNER.verifier]).size == 21
    assert (receipt.index, receipt.leaf_hash) == (5, LEAVES[5])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "{}", json.dumps({**RECEIPT, "leaf_hash": "ab"}), json.dumps({**RECEIPT, "leaf_hash": "zz"}), "[" * 10**5],
)
def test_what_is_no_receipt_is_refused(text: str) -> None:
    with pytest.raises(InvalidProof):
        GivenReceipt.parse(text)


ALONE = SIGNER.sign(Checkpoint("log.example/tests", 1, LEAVES[0]).text())


@pytest.mark.parametrize(
    "change",
    [
        {"log": "log.example/other"},
        {"index": 21},
        {"index": -1},
        {"checkpoint": PROOF.checkpoint.replace("\n21\n", "\n99\n")},
        {"index": 0, "checkpoint": ALONE},
    ],
)
def test_a_receipt_that_contradicts_its_checkpoint_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidNote):
        GivenReceipt.parse(json.dumps({**RECEIPT, **change})).check([SIGNER.verifier])


# --- on both stores, by the command ------------------------------------------------------------------------------------------


@pytest.fixture
async def call(kept: Kept, open_ledger: Open, folder: Path) -> str:
    """The id of a call among the first of about 300 records; its receipt is in receipt.json."""
    (folder / "config.toml").write_text(
        f'[ledger]\norigin = "{ORIGIN}"\n' + (f'url = "{kept.address}"\n' if kept.address else "")
    )
    async with open_ledger() as ledger:
        made = await ledger.append(intent())
        sealed = await ledger.append(outcome(made))
        (receipt,) = sealed.receipt
        (folder / "receipt.json").write_text(json.dumps(on_the_wire(receipt)))
        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(ledger.append, rejection(f"10.0.{number // 256}.{number % 256}"))
    return made.entry.shown.call.id


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(build(["prove"]), ["prove", *arguments, "-C", str(folder)])


async def test_a_record_is_proved_and_the_proof_checked_without_the_log(call: str, kept: Kept, folder: Path) -> None:
    out, leaf, receipt = folder / "p.tlog-proof", folder / "leaf.json", str(folder / "receipt.json")
    assert run(folder, call, "-o", str(out), "--leaf", str(leaf)).exit_code == 0
    record = json.loads(leaf.read_text())
    for name in (str(record["seq"]), record["id"]):
        assert unsigned(run(folder, name).output) == unsigned(out.read_text())
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    public = str((folder / "keys" / "ledger.pub").rename(elsewhere / "ledger.pub"))
    checked = run(elsewhere, "--check", str(out), "--leaf", str(leaf), "--keys", public)
    assert checked.output.startswith(f"✓ record {record['seq']} is in the log {ORIGIN}, among 30"), checked.exception
    assert run(elsewhere, "--check", str(out), "--receipt", receipt, "--keys", public).output == checked.output
    promised = run(elsewhere, "--check", receipt, "--leaf", str(leaf), "--keys", public)
    assert f"and promised that one of them is record {record['seq']}, {leaf_hash(leaf.read_bytes()).hex()}" in promised.output


def unsigned(proof: str) -> str:
    """A proof without its last signature, which names the second that it was made in."""
    return proof[: proof.rindex("—")]


async def test_what_cannot_be_proved_or_believed_is_an_error_for_people(call: str, kept: Kept, folder: Path) -> None:
    out, leaf, receipt = (str(folder / name) for name in ("p.tlog-proof", "leaf.json", "receipt.json"))
    run(folder, call, "-o", out, "--leaf", leaf)
    run(folder, "7", "--leaf", other := str(folder / "other.json"), "-o", seventh := str(folder / "7.tlog-proof"))
    for arguments, says in {
        (): "name a record to prove",
        (call, "--check", out): "name a record to prove",
        ("no-such-call",): "no record and no call 'no-such-call'",
        ("99999",): "no record and no call '99999'",
        ("--check", out): "none is given",
        ("--check", out, "--leaf", other): "does not lead from this leaf",
        ("--check", receipt, "--leaf", other): "about another record than these bytes",
        ("--check", seventh, "--receipt", receipt): "about record 7, and the receipt about record",
        ("--check", leaf): "neither a `.tlog-proof` nor a receipt",
    }.items():
        error = run(folder, *arguments).exception
        assert isinstance(error, ConfigError) and says in str(error), (arguments, error)
    (folder / "bytes").write_bytes(b"\xff")
    assert "not text" in str(run(folder, "--check", str(folder / "bytes")).exception)


async def test_a_proof_is_not_given_away_before_it_was_checked(call: str, kept: Kept, folder: Path) -> None:
    with kept.tampering() as admin:
        admin.execute(f"UPDATE tiles SET hashes = x'{'00' * 8192}'")
    error = run(folder, call).exception
    assert isinstance(error, LedgerUnavailable) and "cannot be proved" in str(error)
    with kept.tampering() as admin:
        admin.execute("DELETE FROM tiles")
        admin.execute("DELETE FROM records WHERE seq = 9")
    assert "records 0 to 255 are not all there" in str(run(folder, call).exception)
    with kept.tampering() as admin:
        admin.execute("DELETE FROM checkpoints")
    with closing(kept.database().connect_read_only()) as store, pytest.raises(LedgerUnavailable, match="no checkpoint yet"):
        prove(store, store.records(2, 1)[0], load_verifiers(folder / "keys"))
