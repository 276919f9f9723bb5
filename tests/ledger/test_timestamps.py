"""RFC 3161 time stamps from a real authority: `openssl ts` behind a small HTTP server."""

import subprocess
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from cryptography.x509 import load_pem_x509_certificates
from ledger_parts import ORIGIN

from mcpgw.core.errors import ConfigError
from mcpgw.ledger.anchors.anchor import AnchorFailed, Head
from mcpgw.ledger.anchors.directory import DirectoryAnchor
from mcpgw.ledger.anchors.http import client_context
from mcpgw.ledger.anchors.timestamp import TimestampAnchor, load_certificates, token_verifier, verified_token
from mcpgw.ledger.checkpoint import Checkpoint, Signer
from mcpgw.ledger.kept_elsewhere import checkpoints_in

LOG = Signer(ORIGIN, b"l" * 32)
CONFIG = """
[tsa]
default_tsa = here
[here]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha512
ess_cert_id_alg = sha256
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
[stamping]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
"""


@dataclass
class Authority:
    """A root, an authority's certificate below it, and what answers queries with them."""

    folder: Path
    url: str = ""
    answer: list[web.Response] = field(default_factory=list)
    """What is answered instead, once each."""

    def openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def make(self) -> None:
        (self.folder / "tsa.cnf").write_text(CONFIG)
        (self.folder / "serial").write_text("01\n")
        new = ("req", "-newkey", "rsa:2048", "-nodes", "-config", "/dev/null")
        self.openssl(*new, "-keyout", "root.key", "-subj", "/CN=root", "-out", "root.csr")
        own = ("-signkey", "root.key", "-days", "30", "-extfile", "tsa.cnf")
        self.openssl("x509", "-req", "-in", "root.csr", *own, "-extensions", "root", "-out", "root.pem")
        self.openssl(*new, "-keyout", "tsa.key", "-subj", "/CN=authority", "-out", "tsa.csr")
        below = ("-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "30", "-extfile", "tsa.cnf")
        self.openssl("x509", "-req", "-in", "tsa.csr", *below, "-extensions", "stamping", "-out", "tsa.pem")

    async def stamp(self, request: web.Request) -> web.Response:
        if self.answer:
            return self.answer.pop()
        query = await request.read()

        def reply() -> bytes:
            (self.folder / "query.tsq").write_bytes(query)
            self.openssl("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-out", "reply.tsr")
            return (self.folder / "reply.tsr").read_bytes()

        return web.Response(body=await anyio.to_thread.run_sync(reply), content_type="application/timestamp-reply")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("tsa"))
    authority.make()
    return authority


@pytest.fixture
async def authority(made: Authority) -> AsyncIterator[Authority]:
    app = web.Application()
    app.router.add_post("/", made.stamp)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()


def head(size: int) -> Head:
    checkpoint = Checkpoint(ORIGIN, size, b"r" * 32)
    return Head(LOG.sign(checkpoint.text()), checkpoint)


def anchor_for(authority: Authority, directory: Path, trust: str = "root.pem") -> TimestampAnchor:
    trusted = load_certificates(authority.folder / trust, "trust")
    kept = DirectoryAnchor("time", directory, [LOG.verifier])
    return TimestampAnchor(kept, authority.url, trusted, client_context("", "ca"))


async def no_proofs(first: int, second: int) -> Sequence[bytes]:
    pytest.fail("a time stamp needs no proof")


async def test_the_token_is_kept_beside_the_checkpoint_and_openssl_believes_it(authority: Authority, tmp_path: Path) -> None:
    facts = await anchor_for(authority, tmp_path).accept(head(7), no_proofs)
    assert facts["token"] == f"{facts['file']}.tsr"
    assert str(facts["stamped"]).endswith("+00:00") and len(str(facts["token_sha256"])) == 64
    found = await anyio.to_thread.run_sync(checkpoints_in, tmp_path, [LOG.verifier])
    assert [one.size for one in found] == [7]
    data, token = str(tmp_path / str(facts["file"])), str(tmp_path / str(facts["token"]))
    authority.openssl("ts", "-verify", "-data", data, "-in", token, "-CAfile", "root.pem")


async def test_a_token_counts_for_its_own_checkpoint_and_under_its_own_root(authority: Authority, tmp_path: Path) -> None:
    facts = await anchor_for(authority, tmp_path).accept(head(7), no_proofs)
    token = (tmp_path / str(facts["token"])).read_bytes()
    root = load_pem_x509_certificates((authority.folder / "root.pem").read_bytes())
    assert verified_token(token, head(7).note.encode(), token_verifier(root)).tst_info
    with pytest.raises(AnchorFailed, match="is no token over this checkpoint"):
        verified_token(token, head(8).note.encode(), token_verifier(root))
    with pytest.raises(AnchorFailed, match="is no token over this checkpoint"):
        verified_token(token[:-1], head(7).note.encode(), token_verifier(root))
    other = Authority(tmp_path)
    await anyio.to_thread.run_sync(other.make)
    with pytest.raises(AnchorFailed, match="by a certificate trusted here"):
        verified_token(token, head(7).note.encode(), token_verifier(load_certificates(tmp_path / "root.pem", "x")))


async def test_an_old_token_given_again_is_refused(authority: Authority, tmp_path: Path) -> None:
    facts = await anchor_for(authority, tmp_path).accept(head(7), no_proofs)
    token = (tmp_path / str(facts["token"])).read_bytes()
    authority.answer.append(web.Response(body=token, content_type="application/timestamp-reply"))
    with pytest.raises(AnchorFailed, match="is no token over this checkpoint"):
        await anchor_for(authority, tmp_path).accept(head(7), no_proofs)


@pytest.mark.parametrize(("status", "kind"), [(500, "application/timestamp-reply"), (200, "text/html")])
async def test_an_answer_that_is_no_token_is_an_outage(authority: Authority, tmp_path: Path, status: int, kind: str) -> None:
    authority.answer.append(web.Response(status=status, body=b"x", content_type=kind))
    with pytest.raises(AnchorFailed, match=f"the authority answered {status}"):
        await anchor_for(authority, tmp_path).accept(head(7), no_proofs)


async def test_certificates_without_a_root_and_files_without_any_are_told(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no root certificate"):
        anchor_for(authority, tmp_path, "tsa.pem")
    with pytest.raises(ConfigError, match="is no PEM file"):
        anchor_for(authority, tmp_path, "serial")
    with pytest.raises(ConfigError, match="cannot be read"):
        anchor_for(authority, tmp_path, "nothing.pem")
