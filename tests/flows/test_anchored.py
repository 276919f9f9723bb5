"""Checkpoints leave the gateway's machine by themselves; where that is required, no call runs that nobody else could prove."""

import time
from pathlib import Path

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from mcpgw.ledger.kept_elsewhere import checkpoints_in
from mcpgw.ledger.keys import load_verifiers
from tests.flows.gateway import BOUND_S, Folder, lines_of, make_folder, serving, until
from tests.real_servers import story_server

ANCHOR = """
[anchor]
interval = "200ms"
required = true
within = "1s"

[[anchor.to]]
name = "vault"
kind = "directory"
path = "vault"
"""


def prepared(path: Path, more: str) -> Folder:
    folder = make_folder(path / "gateway", more)
    (folder.path / "vault").mkdir()
    folder.key("alice", "all")
    folder.spawned("story", story_server())
    folder.accept()
    return folder


async def works(client: Client, marker: Path) -> None:
    before = len(lines_of(marker))
    with anyio.fail_after(BOUND_S):
        assert not (await client.call_tool("story__count", {"marker": str(marker)})).is_error
    assert len(lines_of(marker)) == before + 1


async def refused(client: Client, marker: Path) -> None:
    before = lines_of(marker)
    with anyio.fail_after(BOUND_S), pytest.raises(MCPError, match="so nothing was done"):
        await client.call_tool("story__count", {"marker": str(marker)})
    assert lines_of(marker) == before


async def test_a_required_anchor_that_is_lost_stops_calls_before_the_upstream_until_it_is_back(tmp_path: Path) -> None:
    folder, marker = prepared(tmp_path, ANCHOR), tmp_path / "marker"
    vault, away = folder.path / "vault", folder.path / "away"
    with serving(folder) as gateway:
        async with gateway.client("http 2026", folder.keys["alice"]) as client:
            await works(client, marker)
            vault.rename(away)
            await works(client, marker)  # it has not waited for too long yet
            why = await gateway.until_problem("anchor")
            assert "failing: vault" in why
            await refused(client, marker)
            away.rename(vault)
            mended = time.monotonic()
            await gateway.until_ready()
            assert time.monotonic() - mended < 5.0  # what is promised
            await works(client, marker)
    assert [record["outcome"]["code"] for record in folder.records("call.refused")] == ["unavailable"]
    (failed,) = folder.records("anchor.failed")
    assert failed["facts"]["why"] == "the directory cannot be written: No such file or directory"
    log = "".join(gateway.log)
    assert log.count("anchor vault: checkpoints are not kept:") == 1
    assert log.count("anchor vault: checkpoints are kept again") == 1
    sizes = [found.size for found in checkpoints_in(vault, load_verifiers(folder.path / "keys"))]
    anchored = [record["facts"]["size"] for record in folder.records("checkpoint.anchored")]
    assert sizes == anchored


async def test_two_gateways_on_one_log_leave_one_history_in_the_anchor(tmp_path: Path) -> None:
    folder, marker = prepared(tmp_path, ANCHOR), tmp_path / "marker"
    with serving(folder) as one, serving(folder) as two:
        async with one.client("http 2026", folder.keys["alice"]) as a, two.client("http 2026", folder.keys["alice"]) as b:
            for _ in range(3):
                await works(a, marker)
                await works(b, marker)
        size = folder.records()[-1]["seq"] + 1
        verifiers = load_verifiers(folder.path / "keys")
        kept = lambda: checkpoints_in(folder.path / "vault", verifiers)  # noqa: E731
        await until(lambda: kept()[-1].size >= size - 2, "the newest checkpoint is kept")
    found = kept()
    assert len({checkpoint.size for checkpoint in found}) == len(found)
    names = sorted((folder.path / "vault").iterdir())
    for path in (names[0], names[len(names) // 2], names[-1]):
        assert "continues" in folder.cli("verify", "--against", str(path))
