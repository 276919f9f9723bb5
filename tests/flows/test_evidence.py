"""The whole story: calls at a bank, denied, held and approved; the auditor exports, the examiner checks, a byte is flipped."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp.shared.exceptions import MCPError

from mcpgw.ledger.evidence import RECORDS, verify
from mcpgw.ledger.evidence.archive import pack, unpack
from mcpgw.ledger.record import parse
from tests.console.bank import TOKEN, Bank, open_bank


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    with open_bank(tmp_path) as bank:
        yield bank


def examined(package: Path, *arguments: str) -> tuple[int, dict[str, list[object]]]:
    """What the examiner's own copy of verify.py says, run without anything of ours."""
    command = [sys.executable, "-I", "-S", str(Path(verify.__file__)), str(package), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout)


async def test_what_people_did_is_taken_away_and_believed_and_a_flipped_byte_is_located(bank: Bank, tmp_path: Path) -> None:
    async with bank.client("alice") as alice:
        looked = await alice.call_tool("bank__lookup_customer", {"who": "C-1001"})
        assert not looked.is_error
    async with bank.client("audrey") as audrey:
        with pytest.raises(MCPError):  # she is no teller
            await audrey.call_tool("bank__lookup_customer", {"who": "C-1001"})
    approval_id = await bank.hold(7_100_00, memo="Invoice 2214")
    async with bank.person("carol") as carol:
        await carol.decide(approval_id, comment="matches the invoice")
    assert not (await bank.transfer(7_100_00, memo="Invoice 2214")).is_error

    package, public = tmp_path / "alice.zip", bank.folder.path / "keys/ledger.pub"
    await bank.folder.acli("checkpoint", "-o", str(tmp_path / "kept"))
    await bank.folder.acli(
        "export", "--who", "alice", "--reason", "exam", "--anchor", str(tmp_path / "kept"), "--out", str(package)
    )
    code, said = examined(package, "--keys", str(public), "--against", str(tmp_path / "kept"))
    assert (code, said["verdict"], said["problems"]) == (0, "sound", [])
    assert not any("policies" in str(one) or "written anew" in str(one) for one in said["unestablished"])
    assert "✓ SOUND" in await bank.folder.acli("verify", str(package))

    files = unpack(package.read_bytes())
    records = [parse(line) for line in files[RECORDS].splitlines()]
    by_kind = {one["kind"]: one for one in records}
    assert {one["who"]["sub"] for one in records if one["kind"].startswith("call.")} == {"alice"}
    assert by_kind["approval.voted"]["who"]["sub"] == "carol"
    ran = next(one for one in records if one["kind"] == "call.intent" and "approval" in one)
    held = next(one for one in records if one["kind"] == "call.held")
    facts = json.loads(files["manifest.json"])["facts"]
    policy = json.loads(files[facts["texts"][held["decision"]["policy"]]])
    assert policy["rule large-transfers"]["when"] == "args.amount > 5000", "the policy that it was judged by, in full"
    assert ran["approval"]["id"] == approval_id
    everything = b"".join(files.values())
    assert b"matches the invoice" in everything and TOKEN.encode() not in everything
    assert {name.split("/")[0] for name in files if name.endswith(".json")} >= {"policies", "config", "catalog"}

    altered = files[RECORDS].replace(b'"carol"', b'"clara"', 1)
    package.write_bytes(pack({**files, RECORDS: altered}))
    code, said = examined(package, "--keys", str(public))
    line = altered[: altered.index(b'"clara"')].count(b"\n")
    assert code == 1 and ["altered", f"record {records[line]['seq']}"] in said["problems"]

    exported = bank.folder.records("evidence.exported")
    assert [one["facts"]["reason"] for one in exported] == ["exam"]
    bank.folder.verify()
