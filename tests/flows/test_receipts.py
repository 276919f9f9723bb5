"""A caller keeps the receipt of its answer, and needs nobody to check it but the log's public key."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import MCPError

from mcpgw.ledger.keys import load_verifiers
from mcpgw.ledger.proof import GivenReceipt, prove
from mcpgw.ledger.sqlite import FILE, SqliteStore
from tests.flows.conftest import UPSTREAMS
from tests.flows.gateway import BOUND_S, DOWNSTREAMS, Gateway, make_folder, serving, until_listed, words
from tests.real_servers import story_server

HELD = """
[[rules]]
id = "people-first"
tools = ["pipe__add"]
effect = "hold"
"""


def kept(gateway: Gateway, receipt: dict[str, Any]) -> None:
    """Check the receipt with the public key alone, and then that the log kept what it promised."""
    given = GivenReceipt.parse(json.dumps(receipt))
    verifiers = load_verifiers(gateway.folder.path / "keys")
    assert given.log == "flows.example/ledger"
    assert given.check(verifiers).size > given.index
    with closing(SqliteStore.connect_read_only(gateway.folder.data / FILE)) as store, store.snapshot():
        (record,) = store.records(given.index, 1)
        proof = prove(store, record, verifiers)
    assert proof.check(given.leaf_hash, verifiers).size > given.index


@pytest.mark.parametrize("downstream", DOWNSTREAMS)
async def test_an_answer_and_a_refusal_carry_receipts_that_hold(stories: Gateway, downstream: str) -> None:
    with anyio.fail_after(BOUND_S * 2):
        async with stories.client(downstream, stories.folder.keys["alice"]) as client:
            await until_listed(client, *(f"{upstream}__echo" for upstream in UPSTREAMS))
            result = await client.call_tool("pipe__add", {"a": 1, "b": 2})
            assert result.meta is not None
            with pytest.raises(MCPError) as unknown:
                await client.call_tool("pipe__nosuch", {})
        answered, refused = result.meta["mcpgw/receipt"], unknown.value.error.data["mcpgw/receipt"]
        recorded = {record["seq"]: record["kind"] for record in stories.folder.records()}
        assert (recorded[answered["index"]], recorded[refused["index"]]) == ("call.outcome", "call.refused")
        assert len(json.dumps(answered)) < 600
        for receipt in (answered, refused):
            kept(stories, receipt)


@pytest.mark.parametrize("receipts", ["true", "false"])
async def test_a_held_call_has_the_receipt_of_its_hold_unless_switched_off(receipts: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "gateway", HELD)
    folder.config.write_text(folder.config.read_text().replace("[ledger]\n", f"[ledger]\nreceipts = {receipts}\n"))
    folder.key("alice", "all")
    folder.spawned("pipe", story_server("stdio"))
    folder.accept()
    with serving(folder) as gateway, anyio.fail_after(BOUND_S * 2):
        async with gateway.client("http 2026", folder.keys["alice"]) as client:
            await until_listed(client, "pipe__add")
            result = await client.call_tool("pipe__add", {"a": 1, "b": 2})
            assert "Held for approval" in words(result)
            assert result.meta is not None and ("mcpgw/receipt" in result.meta) == (receipts == "true")
            if receipts == "true":
                receipt = result.meta["mcpgw/receipt"]
                (held,) = folder.records("call.held")
                assert receipt["index"] == held["seq"]
                kept(gateway, receipt)
                again = await client.call_tool("pipe__add", {"a": 1, "b": 2})
                assert again.meta is not None and again.meta["mcpgw/receipt"]["index"] > receipt["index"]
