"""Two people with different scopes: two lists, and a tool that one may not call looks to him as if it did not exist."""

import json
import re
from typing import Any

import aiohttp
import anyio
import pytest
from mcp.shared.exceptions import MCPError

from mcpgw.inbound.answers import RECEIPT_META
from tests.flows.conftest import UPSTREAMS
from tests.flows.gateway import BOUND_S, DOWNSTREAMS, MODERN, Gateway, bearer, names, until_listed

HIDDEN, UNKNOWN = "web__region", "web__nosuch"
"""Of the same length, so that even the sizes of the answers can be compared."""
RECEIPT = re.compile(rb'"mcpgw/receipt":\{[^}]*\}')
"""Where the record of a call stands: another number and hash for each call, whatever it is."""


@pytest.mark.parametrize("downstream", DOWNSTREAMS)
async def test_each_sees_what_he_may_call_and_a_hidden_tool_answers_like_an_unknown_one(
    stories: Gateway, downstream: str
) -> None:
    keys, echoes = stories.folder.keys, {f"{upstream}__echo" for upstream in UPSTREAMS}
    async with stories.client(downstream, keys["alice"]) as alice, stories.client(downstream, keys["bob"]) as bob:
        with anyio.fail_after(BOUND_S):
            hers, his = set(await until_listed(alice, *echoes)), set(await until_listed(bob, *echoes))
            assert his == echoes
            assert HIDDEN in hers and not {HIDDEN, UNKNOWN} & his
            errors, receipts = [], []
            for name in (HIDDEN, UNKNOWN):
                with pytest.raises(MCPError) as caught:
                    await bob.call_tool(name, {"where": "x"})
                data = caught.value.error.data
                receipts.append(data.pop(RECEIPT_META))
                errors.append(caught.value.error.model_dump_json().replace(name, "NAME"))
            assert errors[0] == errors[1] and "NAME" in errors[0]
            assert receipts[0].keys() == receipts[1].keys()  # they differ as those of any two calls do
            assert set(await names(alice)) == hers
    hidden, unknown = stories.folder.records("call.refused")[-2:]
    assert [record["target"]["name"] for record in (hidden, unknown)] == [HIDDEN, UNKNOWN]
    assert hidden["outcome"]["code"] == unknown["outcome"]["code"] == "unknown"


@pytest.mark.parametrize("arguments", [{"where": "x"}, {}, {"where": {"wrong": ["type"]}}, {"more": 1}])
@pytest.mark.parametrize("headers", [{}, {"Mcp-Param-Region": "x"}, {"Mcp-Param-Region": "contradicts"}])
async def test_the_answers_are_equal_byte_for_byte_whatever_is_sent_along(
    stories: Gateway, arguments: dict[str, Any], headers: dict[str, str]
) -> None:
    answers = []
    async with aiohttp.ClientSession() as http:
        for name in (HIDDEN, UNKNOWN):
            body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call"}
            envelope = {"protocolVersion": MODERN, "clientCapabilities": {}, "clientInfo": {"name": "raw", "version": "0"}}
            meta = {f"io.modelcontextprotocol/{key}": value for key, value in envelope.items()}
            sent = {
                "Accept": "application/json, text/event-stream",
                "Content-Type": "application/json",
                "MCP-Protocol-Version": MODERN,
                "Mcp-Method": "tools/call",
                "Mcp-Name": name,
                **bearer(stories.folder.keys["bob"]),
                **headers,
            }
            params = {"name": name, "arguments": arguments, "_meta": meta}
            async with http.post(f"{stories.url}/mcp", data=json.dumps({**body, "params": params}), headers=sent) as response:
                told = {key: value for key, value in response.headers.items() if key.lower() not in {"date", "content-length"}}
                said = (await response.read()).replace(name.encode(), b"NAME")
                answers.append((response.status, told, RECEIPT.sub(b"", said)))
    assert answers[0] == answers[1] and b"NAME" in answers[0][2]
    assert b"NAME" in answers[0][2]
