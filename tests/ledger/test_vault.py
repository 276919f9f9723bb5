"""What the vault's files are: only a private key opens them, a stock age opens them too, and they prove what they can."""

import json
import subprocess
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.core.canonical import commitment
from mcpgw.ledger.unseal import Identities
from mcpgw.ledger.vault import LeftOut, NotSealed, Recipients, Sheet, seal

ROOT = Path(__file__).parents[2]
AGE = ROOT / ".age" / "usr" / "bin" / "age"
RAW = b'{"ssn":"078-05-1120"}'
SALT = bytes(range(32))
SHEET = Sheet(slot="arguments", call_id="c1", body=RAW, size=len(RAW), salt=SALT)


def key() -> tuple[str, str]:
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


@given(
    st.builds(
        Sheet,
        slot=st.sampled_from(["arguments", "result"]),
        call_id=st.text(max_size=8),
        body=st.binary(max_size=300),
        size=st.integers(0, 2**40),
        cut=st.integers(0, 9),
        salt=st.sampled_from([b"", SALT]),
        left_out=st.lists(st.builds(LeftOut, st.text(max_size=5), st.text(max_size=5), st.integers(1, 9)), max_size=3).map(
            tuple
        ),
    )
)
def test_whoever_has_the_key_gets_back_what_was_sealed(sheet: Sheet) -> None:
    private, public = key()
    sealed = seal(sheet, [public])
    assert Identities(f"# made today\n{private}\n").open(sealed) == sheet
    assert len(sheet.body) < 8 or sheet.body not in sealed


def test_each_recipient_opens_it_alone_and_nobody_else() -> None:
    (one, first), (other, second), (stranger, _) = key(), key(), key()
    sealed = seal(SHEET, Recipients([first, second]))
    assert Identities(one).open(sealed) == Identities(other).open(sealed) == SHEET
    with pytest.raises(NotSealed, match="none of these keys opens it"):
        Identities(stranger).open(sealed)


def test_a_changed_byte_is_found() -> None:
    private, public = key()
    sealed = bytearray(seal(SHEET, [public]))
    sealed[-1] ^= 1
    with pytest.raises(NotSealed):
        Identities(private).open(bytes(sealed))


def test_a_sheet_proves_the_raw_payload_only_if_it_has_all_of_it() -> None:
    sha256 = commitment(SALT, RAW)
    assert SHEET.proves(sha256)
    assert not SHEET.proves(commitment(bytes(32), RAW))
    cut = Sheet(slot="result", call_id="c1", body=RAW[:5], size=len(RAW), salt=SALT, cut=len(RAW) - 5)
    assert not cut.proves(sha256)
    bare = Sheet(slot="result", call_id="c1", body=b"{}", size=len(RAW), left_out=(LeftOut("SECRET", "password", 1),))
    assert not bare.proves(sha256)


@pytest.mark.parametrize(
    "text", ["", "age1nobody", "AGE-SECRET-KEY-1" + "Q" * 58, "ssh-ed25519 AAAA", "age1yubikey1" + "q" * 58]
)
def test_what_is_no_recipient_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="no X25519 recipient") as refused:
        Recipients([text])
    assert not text or text not in str(refused.value)


def test_sealed_to_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody"):
        seal(SHEET, [])


@pytest.mark.parametrize("text", ["", "# nothing but a comment", "age1q"])
def test_what_is_no_private_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"key|identity"):
        Identities(text)


@pytest.mark.parametrize("plaintext", [b"", b"{}\n", b'{"v":2}\nx', b"[]\nx", b'{"v":1,"slot":"result"}\n', RAW])
def test_what_is_no_sheet_is_refused(plaintext: bytes) -> None:
    private, public = key()
    with pytest.raises(NotSealed, match="no sheet"):
        Identities(private).open(Recipients([public]).encrypt(plaintext))


def test_a_sheet_may_learn_members_later() -> None:
    line, _, body = SHEET.to_bytes().partition(b"\n")
    assert Sheet.from_bytes(json.dumps({**json.loads(line), "later": 1}).encode() + b"\n" + body) == SHEET


@pytest.mark.skipif(not AGE.exists(), reason="run scripts/age first")
def test_a_stock_age_opens_it_and_a_stock_key_is_a_recipient(tmp_path: Path) -> None:
    subprocess.run([AGE.with_name("age-keygen"), "-o", tmp_path / "key.txt"], check=True, capture_output=True, timeout=30)
    shown = subprocess.run(
        [AGE.with_name("age-keygen"), "-y", tmp_path / "key.txt"], check=True, capture_output=True, text=True, timeout=30
    )
    sealed = seal(SHEET, [shown.stdout.strip()])
    opened = subprocess.run(
        [AGE, "--decrypt", "-i", tmp_path / "key.txt"], input=sealed, check=True, capture_output=True, timeout=30
    )
    assert opened.stdout == SHEET.to_bytes() and opened.stdout.split(b"\n", 1)[1] == RAW
    assert Identities((tmp_path / "key.txt").read_text()).open(sealed) == SHEET


def test_a_gateway_has_no_code_to_open_the_vault() -> None:
    """Only commands of somebody who has a private key may know how to read one, and what serves is none of them."""
    house = ROOT / "mcpgw"
    knowing = {str(path.relative_to(house)) for path in house.rglob("*.py") if "ledger.unseal" in path.read_text()}
    opening = {str(path.relative_to(house)) for path in house.rglob("*.py") if "pyrage.decrypt" in path.read_text()}
    assert opening == {"ledger/unseal.py"}
    assert all(name.startswith("cli/") and name != "cli/serve.py" for name in knowing), knowing
