"""Go's transparency log packages as the other side: a witness answers what they sign, and they believe what we prove.

`scripts/golang` brings them; `go/main.go` is the program.
"""

import base64
import json
import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from ledger_parts import Open, rejection
from stores import Kept

from mcpgw.ledger.checkpoint import Verifier, open_checkpoint
from mcpgw.ledger.cosignature import Cosigner
from mcpgw.ledger.keys import load_verifiers
from mcpgw.ledger.stored_tree import subtrees_of
from mcpgw.ledger.tree import consistency_proof, inclusion_proof
from mcpgw.ledger.witness.folder import WitnessConfig
from mcpgw.ledger.witness.judge import Witness
from mcpgw.ledger.witness.memory import Memory, create_memory
from mcpgw.ledger.witness.server import serving

ROOT = Path(__file__).parents[2]
GO = ROOT / ".golang/usr/lib/go-1.19"
NAME = "go.example/log"

pytestmark = pytest.mark.skipif(not GO.exists(), reason="NOTICE: run scripts/golang first")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("go")
    environ = {
        "PATH": os.environ["PATH"],
        "GOROOT": str(GO),
        "GOPATH": str(ROOT / ".golang/usr/share/gocode"),
        "GOCACHE": str(folder / "cache"),
        "GO111MODULE": "off",
        "CGO_ENABLED": "0",
    }
    command = [str(GO / "bin/go"), "build", "-o", str(folder / "program"), str(ROOT / "tests/ledger/go/main.go")]
    subprocess.run(command, env=environ, check=True, timeout=240)
    return folder / "program"


async def test_a_witness_cosigns_what_gos_log_submits_and_nothing_else(program: Path, tmp_path: Path) -> None:
    done = await anyio.run_process([str(program), "submit", NAME])
    made: dict[str, Any] = json.loads(done.stdout)
    cosigner = Cosigner("witness.example/w1", b"w" * 32)
    create_memory(tmp_path / "witness.db")
    memory = Memory(tmp_path / "witness.db")
    log = Verifier.parse(made["Key"])
    witness = Witness(cosigner, [log], memory, clock=lambda: 1_700_000_000)
    async with serving(witness, WitnessConfig(port=0, logs=(log,))) as url, httpx2.AsyncClient() as http:
        submit = f"{url}/add-checkpoint"
        for request in made["Requests"]:
            answer = await http.post(submit, content=request["Body"])
            assert answer.status_code == 200, answer.text
            note = request["Body"].partition("\n\n")[2]
            assert open_checkpoint(note + answer.text, [cosigner.verifier]).size == request["Size"]
        stale = await http.post(submit, content=made["Requests"][1]["Body"])
        assert (stale.status_code, stale.text.strip()) == (409, "300")
        last = made["Requests"][-1]
        assert (await http.post(submit, content=last["Body"].replace(NAME, "go.example/other"))).status_code == 404
        forged = last["Body"].replace("\n300\n", "\n301\n").replace("old 256", "old 300")
        assert (await http.post(submit, content=forged)).status_code == 403
    memory.close()


async def test_go_believes_our_checkpoints_and_proofs_and_no_others(
    program: Path, kept: Kept, open_ledger: Open, folder: Path
) -> None:
    async with open_ledger(announce=False) as ledger:
        (older,) = (await ledger.append(rejection())).receipt
        for number in range(40):
            await ledger.append(rejection(f"10.0.0.{number}"))
    keys = [verifier.vkey() for verifier in load_verifiers(folder / "keys")]
    with closing(kept.database().connect_read_only()) as store, store.snapshot():
        (newest,) = store.newest_checkpoint()
        subtrees = subtrees_of(store, newest.size)
        claims = [
            {
                "Keys": keys,
                "Note": newest.note,
                "Older": older.checkpoint,
                "Consistency": texts(consistency_proof(subtrees, older.index + 1, newest.size)),
                "Index": index,
                "Leaf": base64.b64encode(store.records(index, 1)[0].leaf).decode(),
                "Inclusion": texts(inclusion_proof(subtrees, index, newest.size)),
            }
            for index in (0, 7, newest.size - 1)
        ]
    for claim in claims:
        assert await code_of(program, claim) == 0
        assert await code_of(program, {**claim, "Index": 3}) == 1
        assert await code_of(program, {**claim, "Note": claim["Note"].replace("\n41\n", "\n42\n")}) == 1
        assert await code_of(program, {**claim, "Consistency": texts([b"x" * 32])}) == 1


def texts(hashes: list[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in hashes]


async def code_of(program: Path, claim: dict[str, Any]) -> int:
    done = await anyio.run_process([str(program), "check"], input=json.dumps(claim).encode(), check=False)
    return done.returncode
