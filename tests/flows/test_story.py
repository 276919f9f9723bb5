"""The whole story: calls at a bank, masked, denied, held and approved, over real transports. The auditor finds them, replays,
tries a rule on them, reviews access and exports; the examiner checks with what is in the package alone; one byte is flipped."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from typer.testing import CliRunner

from mcpgw.cli.main import build
from mcpgw.ledger.evidence import RECORDS, verify
from mcpgw.ledger.evidence.archive import pack, unpack
from mcpgw.ledger.record import parse
from tests.console.bank import TOKEN, Bank, open_bank
from tests.flows.gateway import Folder


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    with open_bank(tmp_path) as bank:
        yield bank


def examined(package: Path, *arguments: str) -> tuple[int, dict[str, list[object]]]:
    """What the examiner's own copy of verify.py says, run without anything of ours."""
    command = [sys.executable, "-I", "-S", str(Path(verify.__file__)), str(package), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout)


async def test_what_people_did_is_found_taken_away_and_believed_and_what_was_changed_is_located(
    bank: Bank, tmp_path: Path
) -> None:
    folder = bank.folder

    # Alice looks a customer up, and sees masks; Audrey, who is no teller, sees no such tool.
    for downstream in ("http 2026", "sse 2025", "stdio 2026"):
        async with bank.gateway.client(downstream, bank.key("alice")) as alice:
            looked = await alice.call_tool("bank__lookup_customer", {"who": "C-1001"})
            assert not looked.is_error and "ssn" in str(looked.content) and not re.search(r"\d{3}-\d{2}-\d{4}", str(looked))
    async with bank.client("audrey") as audrey:
        with pytest.raises(MCPError):
            await audrey.call_tool("bank__lookup_customer", {"who": "C-1001"})

    # Two transfers are held. Carol approves one, which runs, and denies the other, which never does.
    approval_id, denied_id = await bank.hold(7_100_00, memo="Invoice 2214"), await bank.hold(7_200_00, memo="Invoice 9")
    async with bank.person("carol") as carol:
        await carol.decide(approval_id, comment="matches the invoice")
        await carol.decide(denied_id, verdict="deny", comment="no such invoice")
    assert not (await bank.transfer(7_100_00, memo="Invoice 2214")).is_error
    assert (await bank.transfer(7_200_00, memo="Invoice 9")).is_error
    assert (bank.transfers(7_100_00), bank.transfers(7_200_00)) == (1, 0)

    # The auditor finds who did what, and what of it was masked, denied and decided.
    today = f"{datetime.now(UTC):%Y-%m-%d}Z"
    ran = await found(folder, "--tool", "bank__*", "--on", today, "--kind", "call.outcome", "--who", "alice")
    assert [one["target"]["name"] for one in ran] == ["bank__lookup_customer"] * 3 + ["bank__transfer"]
    assert {one["origin"]["transport"] for one in ran} == {"http", "sse", "stdio"}
    masked = await found(folder, "--masked", "US_SSN", "--kind", "call.outcome")
    assert {one["target"]["name"] for one in masked} == {"bank__lookup_customer"}
    (refused,) = await found(folder, "--who", "audrey", "--decision", "deny")
    assert (refused["target"]["name"], refused["decision"]["rules"]) == ("bank__lookup_customer", ["default.deny"])
    votes = await found(folder, "--kind", "approval.voted")
    assert [(one["who"]["sub"], one["approval"]["verdict"]) for one in votes] == [("carol", "approve"), ("carol", "deny")]

    # They replay the session of the transfer, as her client saw it.
    replayed = await said_by(folder, "replay", ran[-1]["session"]["id"], "--speed", "max")
    assert "bank__transfer" in replayed and "Invoice 2214" in replayed and "carol" in replayed

    # Under a stricter rule more would have been held; under the one in force nothing changes. Audrey may, and never does.
    candidate = tmp_path / "candidate.toml"
    candidate.write_text(folder.config.read_text())
    assert json.loads(await said_by(folder, "policy", "replay", "--policy", str(candidate), "--json"))["changes"] == []
    candidate.write_text(folder.config.read_text() + '[[rules]]\nid = "lookups"\neffect = "hold"\ntools = ["bank__lookup_*"]\n')
    (change,) = json.loads(await said_by(folder, "policy", "replay", "--policy", str(candidate), "--json"))["changes"]
    assert (change["was"], change["now"], change["rules"], change["calls"]) == ("allow", "hold", ["lookups"], 3)
    people = json.loads(await said_by(folder, "report", "access-review", "--format", "json"))["people"]
    mine = {line["target"]: line["finding"] for one in people if one["who"].endswith("#alice") for line in one["lines"]}
    assert mine["bank__lookup_customer"] == mine["bank__transfer"] == "used" and mine["bank__list_transactions"] == "never used"

    # The auditor takes Alice's day away; the examiner believes it, with nothing of ours but the public key and an anchor.
    package, public = tmp_path / "alice.zip", folder.path / "keys/ledger.pub"
    await folder.acli("checkpoint", "-o", str(tmp_path / "kept"))
    await folder.acli("export", "--who", "alice", "--reason", "exam", "--anchor", str(tmp_path / "kept"), "--out", str(package))
    code, said = examined(package, "--keys", str(public), "--against", str(tmp_path / "kept"))
    assert (code, said["verdict"], said["problems"]) == (0, "sound", [])
    assert not any("policies" in str(one) or "written anew" in str(one) for one in said["unestablished"])
    assert "✓ SOUND" in await folder.acli("verify", str(package))

    files = unpack(package.read_bytes())
    records = [parse(line) for line in files[RECORDS].splitlines()]
    assert {one["who"]["sub"] for one in records if one["kind"].startswith("call.")} == {"alice"}
    assert {one["who"]["sub"] for one in records if one["kind"] == "approval.voted"} == {"carol"}
    permitted = next(one for one in records if one["kind"] == "call.intent" and "approval" in one)
    held = next(one for one in records if one["kind"] == "call.held")
    facts = json.loads(files["manifest.json"])["facts"]
    policy = json.loads(files[facts["texts"][held["decision"]["policy"]]])
    assert policy["rule large-transfers"]["when"] == "args.amount > 5000", "the policy that it was judged by, in full"
    assert permitted["approval"]["id"] == approval_id
    everything = b"".join(files.values())
    assert b"matches the invoice" in everything and TOKEN.encode() not in everything
    assert {name.split("/")[0] for name in files if name.endswith(".json")} >= {"policies", "config", "catalog"}

    # One byte is flipped, and the examiner sees in which record; one record is withheld, and missed.
    altered = files[RECORDS].replace(b'"carol"', b'"clara"', 1)
    package.write_bytes(pack({**files, RECORDS: altered}))
    code, said = examined(package, "--keys", str(public))
    line = altered[: altered.index(b'"clara"')].count(b"\n")
    assert code == 1 and ["altered", f"record {records[line]['seq']}"] in said["problems"]
    fewer = [line for line in files[RECORDS].splitlines(keepends=True) if parse(line.rstrip())["kind"] != "call.held"]
    package.write_bytes(pack({**files, RECORDS: b"".join(fewer)}))
    code, said = examined(package, "--keys", str(public))
    assert code == 1 and "session" in {kind for kind, _ in said["problems"]}

    exported = folder.records("evidence.exported")
    assert [one["facts"]["reason"] for one in exported] == ["exam"]
    assert {one["facts"].get("what") for one in folder.records("evidence.read")} >= {"policy replay", "access review"}
    folder.verify()


async def found(folder: Folder, *asked: str) -> list[dict[str, Any]]:
    """What `mcpgw log` says, record by record."""
    return [json.loads(line) for line in (await said_by(folder, "log", "--json", *asked)).splitlines()]


async def said_by(folder: Folder, *words: str) -> str:
    """Run a command that looks back, in this process: a process of its own for each would take longer than all of the story."""
    arguments = [*words, "-C", str(folder.path)]
    done = await anyio.to_thread.run_sync(lambda: CliRunner().invoke(build(arguments), arguments))
    assert done.exit_code == 0, (done.output, done.exception)
    return str(done.stdout)
