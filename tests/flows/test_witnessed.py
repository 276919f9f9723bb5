"""A gateway and a witness as processes: what is cosigned, what becomes of an outage, and of a log that was rolled back."""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from mcpgw.ledger.checkpoint import Checkpoint, Signer
from mcpgw.ledger.cosignature import CosignatureVerifier
from mcpgw.ledger.kept_elsewhere import checkpoints_from_witness
from mcpgw.ledger.keys import load_verifiers
from tests.flows.gateway import BOUND_S, Folder, make_folder, serving, until
from tests.real_servers import story_server

ANCHOR = """
[anchor]
interval = "200ms"

[[anchor.to]]
name = "audit"
kind = "witness"
url = "{url}"
key = "{key}"
"""


class WitnessProcess:
    """`mcpgw witness serve` in a folder of its own, on the same port at every start."""

    def __init__(self, path: Path, vkey: str) -> None:
        self.folder = Folder(path)
        path.mkdir()
        named = ("witness", "init", "--name", "witness.example/w1", "--log", vkey)
        self.key = self.folder.cli(*named).strip()
        self._set_port(0)

    @contextmanager
    def running(self) -> Iterator[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "mcpgw", "witness", "serve"],
            cwd=self.folder.path,
            env=self.folder.full_environ(),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        draining = threading.Thread(target=process.stderr.read, daemon=True)
        try:
            line = process.stderr.readline()
            found = re.fullmatch(r"mcpgw: witnessing 1 logs at (http://127\.0\.0\.1:(\d+))\n", line)
            assert found, line
            self._set_port(int(found[2]))
            draining.start()
            yield found[1]
        finally:
            process.kill()  # as a power cut would: what it answered is durable
            process.wait()
            if draining.ident is not None:
                draining.join(BOUND_S)
            process.stderr.close()

    def _set_port(self, port: int) -> None:
        config = self.folder.path / "witness.toml"
        config.write_text(re.sub(r"(?m)^port = \d+", f"port = {port}", config.read_text()))


def vkey_of(folder: Folder) -> str:
    return (folder.path / "keys" / "ledger.pub").read_text().splitlines()[0]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = make_folder(tmp_path / "gateway")
    folder.key("alice", "all")
    folder.spawned("story", story_server())
    folder.accept()
    return folder


async def test_a_witness_cosigns_survives_and_refuses_a_log_that_was_rolled_back(folder: Folder, tmp_path: Path) -> None:
    witness = WitnessProcess(tmp_path / "witness", vkey_of(folder))
    verifiers, audit = load_verifiers(folder.path / "keys"), CosignatureVerifier.parse(witness.key)

    def seen(url: str) -> Checkpoint:
        return checkpoints_from_witness(url, audit, verifiers)[0]

    with witness.running() as url:
        folder.config.write_text(folder.config.read_text() + ANCHOR.format(url=url, key=witness.key))
        with serving(folder) as gateway:
            await until(lambda: folder.records("checkpoint.anchored"), "the witness has cosigned")
            (first, *_) = folder.records("checkpoint.anchored")
            assert (first["facts"]["anchor"], first["facts"]["where"]) == ("audit", url)
            assert first["facts"]["cosignatures"][0].startswith("— witness.example/w1 ")
        await anyio.to_thread.run_sync(shutil.copytree, folder.data, tmp_path / "yesterday")
    with serving(folder) as gateway:  # the witness is away, and nothing waits for it
        await until(lambda: folder.records("anchor.failed"), "the outage is on record")
        async with gateway.client("http 2026", folder.keys["alice"]) as client:
            with anyio.fail_after(BOUND_S):
                assert not (await client.call_tool("story__echo", {"text": "hello"})).is_error
        with witness.running():
            size = folder.records("call.outcome")[-1]["seq"] + 1
            await until(lambda: seen(url).size >= size, "the witness has seen the call")
            anchored = lambda: [record["facts"] for record in folder.records("checkpoint.anchored")]  # noqa: E731
            await until(lambda: any("outage_s" in facts for facts in anchored()), "the outage's end is on record")
    assert len(folder.records("anchor.failed")) == 1
    last = witness.folder.cli("witness", "show")
    policy = folder.path / "witnesses.policy"
    policy.write_text(f"log {vkey_of(folder)}\nwitness audit {witness.key} {url}\nquorum audit\n")
    with witness.running():
        assert "continues the checkpoint over" in folder.cli("verify", "--policy", str(policy))
    assert "the quorum audit of the policy's witnesses is not reached" in folder.cli(
        "verify", "--policy", str(policy), expect=2
    )
    policy.write_text(f"log {Signer('another.example/log', b'o' * 32).verifier.vkey()}\nquorum none\n")
    assert "lists other logs than this one" in folder.cli("verify", "--policy", str(policy), expect=2)
    assert "cannot be read" in folder.cli("verify", "--policy", "no-such-file", expect=2)

    shutil.rmtree(folder.data)
    (tmp_path / "yesterday").rename(folder.data)
    folder.verify()  # by itself it is flawless
    policy.write_text(f"log {vkey_of(folder)}\nwitness audit {witness.key} {url}\nquorum audit\n")
    with witness.running():
        assert "a checkpoint kept elsewhere covers" in folder.cli("verify", "--policy", str(policy), expect=1)
    with witness.running(), serving(folder):
        await until(lambda: folder.records("anchor.failed"), "the rollback is on record")
    assert "but the anchor has seen" in folder.records("anchor.failed")[-1]["facts"]["why"]
    assert witness.folder.cli("witness", "show") == last


def test_a_witness_says_what_is_missing(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert "there is no such file" in folder.cli("witness", "serve", expect=2)
    key = folder.cli("witness", "init", "--name", "witness.example/w1").strip()
    assert folder.cli("witness", "key").strip() == key
    assert folder.cli("witness", "show") == ""
    (tmp_path / "witness.db").unlink()
    assert "memory is missing" in folder.cli("witness", "serve", expect=2)
