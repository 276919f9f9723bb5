"""verify.py by itself: nothing but the standard library, Ed25519 as the RFC has it, Python 3.9."""

import ast
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from evidence_story import alices_day, package, tell
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_parts import ORIGIN, Open
from stores import Kept

from mcpgw.ledger.checkpoint import InvalidNote, Verifier
from mcpgw.ledger.evidence import verify
from mcpgw.ledger.evidence.archive import pack, unpack

SOURCE = Path(verify.__file__)

# RFC 8032 section 7.1: public key, message, signature.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").hexdigest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_the_rfcs_signatures_are_right_and_no_others(key: str, message: str, signature: str) -> None:
    public, said, made = bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature)
    assert verify.signed(public, said, made)
    assert not verify.signed(public, said + b"\0", made)
    assert not verify.signed(public, said, made[:-1])
    assert not verify.signed(public[:-1], said, made)
    for at in (0, 31, 32, 63):
        assert not verify.signed(public, said, made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :])
    malleable = made[:32] + (int.from_bytes(made[32:], "little") + verify.ORDER).to_bytes(32, "little")
    assert not verify.signed(public, said, malleable), "section 5.1.7: S has one form"


@pytest.mark.parametrize("sign", [0, 1 << 255])
@pytest.mark.parametrize("y", sorted(verify.EVERYBODYS))
def test_a_key_that_anybody_can_sign_with_is_no_key(y: int, sign: int) -> None:
    key = (y | sign).to_bytes(32, "little")
    public = b"\x01" + key
    key_id = hashlib.sha256(b"bank.example/x\n" + public).hexdigest()[:8]
    with pytest.raises(verify.Wrong):
        verify.key_of(f"bank.example/x+{key_id}+{verify.base64.b64encode(public).decode()}")
    with pytest.raises(InvalidNote, match="small order"):
        Verifier("bank.example/x", key)
    point = verify.decompressed(key)
    if point is not None:
        assert verify.compressed(verify.times(8, point)) == verify.compressed((0, 1, 1, 0))


def test_a_point_has_one_encoding_and_an_odd_zero_has_none() -> None:
    assert verify.decompressed((verify.P + 1).to_bytes(32, "little")) is None
    assert verify.decompressed((1 | 1 << 255).to_bytes(32, "little")) is None
    assert verify.decompressed((2).to_bytes(32, "little")) is None, "no point has this Y"


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511))
def test_it_agrees_with_openssl(seed: bytes, message: bytes, bit: int) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public, made = private.public_key().public_bytes_raw(), private.sign(message)
    assert verify.signed(public, message, made)
    flipped = bytes(one ^ (1 << bit % 8 if at == bit // 8 else 0) for at, one in enumerate(made))
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(flipped, message)
        openssl = True
    except InvalidSignature:
        openssl = False
    assert verify.signed(public, message, flipped) is openssl is False


def test_it_needs_nothing_but_the_standard_library_of_python_3_9() -> None:
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 9))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    later = {"tomllib", "graphlib"}
    assert names and {name.split(".")[0] for name in names} <= sys.stdlib_module_names - later
    assert not {"socket", "urllib", "http", "ssl", "subprocess"} & {name.split(".")[0] for name in names}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not attributes & {"bit_count", "pairwise", "removeprefix_"}, "these came with 3.10"
    unions = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node).startswith("isinstance") and "|" in ast.unparse(node)
    ]
    assert unions == []


@pytest.fixture
async def day(anyio_backend: str, open_ledger: Open, kept: Kept) -> bytes:
    await tell(open_ledger)
    return package(kept.database(), kept.folder, alices_day()).data


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run it as its reader does: without our environment, isolated from all that is installed."""
    return subprocess.run(
        [sys.executable, "-I", "-S", SOURCE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"LANG": "C.UTF-8"},
    )


@pytest.mark.sqlite
def test_it_stands_in_every_package_and_says_what_it_believed(day: bytes, kept: Kept, tmp_path: Path) -> None:
    assert unpack(day)["verify.py"] == SOURCE.read_bytes()
    file, keys = tmp_path / "day.zip", kept.folder / "keys" / "ledger.pub"
    file.write_bytes(day)
    good = run(file)
    assert (good.returncode, good.stderr) == (0, "")
    assert "✓ SOUND" in good.stdout and ORIGIN in good.stdout and "they came with the package" in good.stdout
    given_ = json.loads(run(file, "--keys", keys, "--json").stdout)
    assert given_["verdict"] == "sound" and given_["believed"][0].endswith(", given")
    (tmp_path / "kept").write_bytes(unpack(day)["checkpoint"])
    assert "given" in run(file, "--against", tmp_path / "kept").stdout.split("believed: checkpoint")[1]


@pytest.mark.sqlite
def test_it_names_what_is_wrong_and_exits_with_1_or_2(day: bytes, tmp_path: Path) -> None:
    file = tmp_path / "day.zip"
    files = unpack(day)
    file.write_bytes(pack({**files, "a\x7f\x1b[2J": b""}))
    bad = run(file)
    assert (bad.returncode, "✗ foreign    a\\x7f\\x1b[2J" in bad.stdout, "UNSOUND: 1 problem." in bad.stdout) == (1, True, True)
    file.write_bytes(day[:-1])
    assert run(file).stdout.splitlines()[0].split() == ["✗", "package"]
    absent = run(tmp_path / "nowhere.zip")
    assert (absent.returncode, "nowhere.zip" in absent.stderr) == (2, True)
