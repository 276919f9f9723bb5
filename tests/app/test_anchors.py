"""Anchors in config.toml: what is wrong with one is told by line, and no secret is read from the file itself."""

import datetime
import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mcpgw.app.anchors import anchoring
from mcpgw.core.entries import Event
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import Sealed
from mcpgw.ledger.cosignature import Cosigner
from mcpgw.ledger.keys import create_keys
from mcpgw.ledger.store import StoredRecord
from mcpgw.settings import load

PAGE = (Path(__file__).parents[2] / "docs" / "anchors.md").read_text()
KEY = Cosigner("witness.example/w1", b"w" * 32).verifier.vkey()
VAULT = 'name = "vault"\nkind = "directory"\npath = "vault"\n'


class NoLog:
    """Making anchors asks nothing of the log."""

    async def append(self, entry: Event) -> Sealed[Event]:
        raise AssertionError

    async def records_after(self, seq: int, limit: int) -> list[StoredRecord]:
        raise AssertionError

    async def export_checkpoint(self) -> str:
        raise AssertionError

    async def consistency(self, first: int, second: int) -> list[bytes]:
        raise AssertionError


def root_certificate() -> bytes:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    dated = built.not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
    return dated.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def made(folder: Path, text: str) -> None:
    if not (folder / "keys").exists():
        create_keys(folder / "keys", "mcpgw.local/ledger")
    (folder / "config.toml").write_text(text)
    anchoring(load(folder), NoLog())


@pytest.mark.parametrize(
    ("places", "line", "message"),
    [
        ([VAULT, VAULT], 6, "there is an anchor of that name already"),
        ([VAULT.replace("path", "#path")], 1, "an anchor of kind directory needs `path`"),
        ([VAULT + 'bucket = "b"\n'], 5, "an anchor of kind directory has no `bucket`"),
        (['name = "w"\nkind = "witness"\n'], 1, "either `url` and `key`, or `policy`"),
        ([f'name = "w"\nkind = "witness"\nkey = "{KEY}"\npolicy = "p"\n'], 1, "either `url` and `key`, or `policy`"),
        (['name = "w"\nkind = "witness"\nurl = "https://w.example"\nkey = "x"\n'], 5, "base64"),
        ([f'name = "w"\nkind = "witness"\nurl = "http://w.example"\nkey = "{KEY}"\n'], 4, "is no https:// address"),
        ([f'name = "w"\nkind = "witness"\nurl = "https://w.example"\nkey = "{KEY}"\nca = "x"\n'], 6, "no PEM file"),
        (['name = "w"\nkind = "witness"\npolicy = "none"\n'], 4, "cannot be read"),
        (['name = "t"\nkind = "timestamp"\npath = "v"\nurl = "https://t.example"\ntrust = "x"\n'], 6, "cannot be read"),
        (['name = "s"\nkind = "s3"\nbucket = "b"\naccess_key = "AKIA"\nsecret_key = "hush"\n'], 5, "is written out"),
        (['name = "s"\nkind = "s3"\nbucket = "b"\naccess_key = "${env:NOBODY_SET_THIS}"\n'], 5, "or neither"),
        (['name = "s"\nkind = "s3"\nbucket = "b"\nurl = "http://s3.example"\n'], 5, "is no https:// address"),
    ],
)
def test_what_is_wrong_with_an_anchor_is_told_by_line(tmp_path: Path, places: list[str], line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(tmp_path, "".join(f"[[anchor.to]]\n{place}" for place in places))
    found = re.match(r".*config\.toml:(\d+): `anchor\.to\.", str(caught.value))
    assert found and int(found[1]) == line and message in str(caught.value)
    assert "hush" not in str(caught.value) and "AKIA" not in str(caught.value)


def test_a_wrong_line_of_a_policy_is_told_as_that_files(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("quorum none\nquorum none\n")
    with pytest.raises(ConfigError, match=r"/p:2: there is a quorum already"):
        made(tmp_path, '[[anchor.to]]\nname = "w"\nkind = "witness"\npolicy = "p"\n')


def test_no_more_anchors_can_be_required_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 anchors are required, and there are 0"):
        made(tmp_path, "[anchor]\nrequired = true\n")
    made(tmp_path, f"[anchor]\nrequired = true\n[[anchor.to]]\n{VAULT}")


def test_every_anchor_on_the_page_can_be_configured_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCHOR_S3_KEY", "access")
    monkeypatch.setenv("ANCHOR_S3_SECRET", "secret")
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (policy,) = re.findall(r"```policy\n(.*?)```", PAGE, re.DOTALL)
    keys = {f"<key of w{n}>": Cosigner(f"w{n}.example", bytes([n]) * 32).verifier.vkey() for n in range(1, 4)}
    text = "\n".join(blocks).replace("<key of the witness>", KEY)
    for name, vkey in keys.items():
        policy = policy.replace(name, vkey)
    create_keys(tmp_path / "keys", "mcpgw.local/ledger")
    policy = policy.replace("<first line of keys/ledger.pub>", (tmp_path / "keys" / "ledger.pub").read_text().splitlines()[0])
    (tmp_path / "witnesses.policy").write_text(policy)
    (tmp_path / "tsa.pem").write_bytes(root_certificate())
    made(tmp_path, text)
    assert {place.kind for place in load(tmp_path).anchor.to} == {"directory", "s3", "timestamp", "witness"}
