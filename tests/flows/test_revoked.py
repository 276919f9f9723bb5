"""A revoked key ends at once, also where a connection that it opened is still open."""

from pathlib import Path

import anyio
import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from mcpgw.app import convert
from mcpgw.cli.common import open_folder
from mcpgw.identity.api_keys import ApiKeys
from tests.flows.gateway import BOUND_S, Gateway, bearer, make_folder, serving, until_listed

DOWNSTREAMS = ("http 2026", "http 2025", "stdio 2026", "stdio 2025")
"""Over HTTP+SSE the answer is a 401 too, which the SDK's client logs and then waits for another."""


@pytest.mark.parametrize("downstream", DOWNSTREAMS)
async def test_the_next_call_on_an_open_connection_is_refused(stories: Gateway, downstream: str) -> None:
    folder, subject = stories.folder, f"dave by {downstream}"
    key = folder.key(subject, "narrow")
    (made,) = [
        record
        for record in ApiKeys(open_folder(folder.path).keys_dir / convert.API_KEYS).records()
        if record.subject == subject
    ]
    async with stories.client(downstream, key) as client:
        await until_listed(client, "web__echo")
        with anyio.fail_after(BOUND_S):
            assert not (await client.call_tool("web__echo", {"text": "hello"})).is_error
            await folder.acli("keys", "revoke", made.id)
            with pytest.raises(MCPError, match="was revoked"):
                await client.call_tool("web__echo", {"text": "still there?"})
    kinds = [record["kind"] for record in folder.records()]
    changes = [record["facts"] for record in folder.records("identity.changed")]
    assert (changes[-1]["change"], changes[-1]["key"]) == ("key_revoked", made.id)
    assert "call.intent" not in kinds[len(kinds) - kinds[::-1].index("identity.changed") :]


async def test_a_damaged_key_file_is_told_by_readiness_and_lets_nobody_in(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "gateway")
    alice = folder.key("alice", "all")
    file = folder.path / "keys" / convert.API_KEYS
    with serving(folder) as gateway:
        good = file.read_bytes()
        file.write_bytes(good[:-20])
        assert "No API key is accepted" in (problem := await gateway.until_problem("keys")) and "damaged" in problem
        answer = httpx2.get(f"{gateway.url}/mcp", headers=bearer(alice), timeout=BOUND_S)
        assert answer.status_code == 401 and "cannot read its API keys" in answer.text
        file.write_bytes(good)
        await gateway.until_ready()
