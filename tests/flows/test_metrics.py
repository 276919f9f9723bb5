"""What a monitor reads of a real gateway after real calls: right numbers, in Prometheus' format, and nothing of anybody."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from mcpgw.core.model import IdentityKind
from tests.flows.gateway import BOUND_S, Gateway, bearer, make_folder, serving, until, until_listed
from tests.real_servers import story_server

MORE = """
[metrics]
enabled = true
readers = ["user:prometheus"]

[[rules]]
id = "no-environment"
effect = "deny"
tools = ["*__environment"]

[[rules]]
id = "held"
effect = "hold"
tools = ["*__count"]

[[sinks]]
name = "lines"
kind = "file"
path = "events.jsonl"

[[sinks]]
name = "down"
kind = "webhook"
url = "http://127.0.0.1:9/"
secret = "${env:SOC_KEY}"
"""
LINE = re.compile(r'(?P<name>[a-z_]+)(?P<labels>\{[a-z]+="[^"\\\n]*"(,[a-z]+="[^"\\\n]*")*\})? (?P<value>\d+(\.\d+)?)')
"""A sample of the text format 0.0.4, as narrow as ours are."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = make_folder(tmp_path_factory.mktemp("metrics") / "gateway", MORE, environ={"SOC_KEY": "k" * 32})
    folder.key("alice", "all")
    folder.key("prometheus", kind=IdentityKind.SERVICE)
    folder.spawned("story", story_server("stdio"))
    folder.accept()
    with serving(folder) as gateway:
        yield gateway


def scraped(gateway: Gateway) -> dict[str, float]:
    """Return the samples by name and labels; every line must be one, or say what the next ones are."""
    answer = httpx2.get(f"{gateway.url}/metrics", headers=bearer(gateway.folder.keys["prometheus"]), timeout=BOUND_S)
    assert answer.status_code == 200, answer.text
    assert answer.text.endswith("\n")
    found, told = {}, set()
    for line in answer.text.splitlines():
        if line.startswith("# "):
            _, what, name, text = line.split(" ", 3)
            assert what == "HELP" or (what == "TYPE" and text in ("gauge", "counter")), line
            told.add((what, name))
        else:
            sample = LINE.fullmatch(line)
            assert sample, line
            assert {("HELP", sample["name"]), ("TYPE", sample["name"])} <= told, line
            found[sample["name"] + (sample["labels"] or "")] = float(sample["value"])
    return found


async def test_the_numbers_are_those_of_what_happened(gateway: Gateway, tmp_path: Path) -> None:
    before = scraped(gateway)
    assert not [name for name in before if name.startswith("mcpgw_calls_total")]
    async with gateway.client("http 2026", gateway.folder.keys["alice"]) as client:
        await until_listed(client, "story__echo")
        for text in ("Margaret Thornbury", "078-05-1120"):
            await client.call_tool("story__echo", {"text": text})
        await client.call_tool("story__fail", {})
        await client.call_tool("story__count", {"marker": str(tmp_path / "marker")})
        with pytest.raises(MCPError):
            await client.call_tool("story__environment", {})
    httpx2.get(f"{gateway.url}/mcp", timeout=BOUND_S)
    now = await until(lambda: settled if (settled := _settled(gateway)) else None, "the sinks are as they will be")
    assert now["mcpgw_ready"] == 1
    assert now['mcpgw_calls_total{outcome="completed",code=""}'] == 2
    assert now['mcpgw_calls_total{outcome="tool_error",code=""}'] == 1
    assert now['mcpgw_calls_total{outcome="refused",code="unknown"}'] == 1
    assert now['mcpgw_calls_total{outcome="refused",code="unauthenticated"}'] == 1
    assert now["mcpgw_approvals_waiting"] == before["mcpgw_approvals_waiting"] + 1 == 1
    assert now['mcpgw_upstream_state{server="story",state="ready"}'] == 1
    assert now['mcpgw_upstream_state{server="story",state="down"}'] == 0
    assert now["mcpgw_ledger_records"] > before["mcpgw_ledger_records"]
    assert now["mcpgw_redaction_workers"] == now["mcpgw_redaction_workers_idle"] >= 1
    assert now["mcpgw_redaction_waiting"] == 0
    assert now["mcpgw_redaction_ready"] == 1
    assert now['mcpgw_sink_lag_seconds{sink="lines",kind="file"}'] == 0
    assert now['mcpgw_sink_lag_seconds{sink="down",kind="webhook"}'] > 0
    assert now['mcpgw_sink_delivering{sink="down",kind="webhook"}'] == 1
    assert now['mcpgw_sink_refused_events_total{sink="down",kind="webhook"}'] == 0


def _settled(gateway: Gateway) -> dict[str, float]:
    """Return the numbers once one sink has everything, and the other one is known to be down; before, nothing."""
    now = scraped(gateway)
    delivered = now['mcpgw_sink_lag_records{sink="lines",kind="file"}'] == 0
    waits = now['mcpgw_sink_lag_records{sink="down",kind="webhook"}'] == now["mcpgw_ledger_records"]
    return now if delivered and waits and now['mcpgw_sink_failing{sink="down",kind="webhook"}'] else {}


async def test_nothing_in_them_is_of_anybody_or_of_a_call(gateway: Gateway) -> None:
    told = " ".join(scraped(gateway))
    for word in ("alice", "prometheus", "Thornbury", "078-05", "story__", "marker", "held", "127.0.0.1"):
        assert word not in told, word


async def test_a_person_does_not_read_them(gateway: Gateway) -> None:
    answer = httpx2.get(f"{gateway.url}/metrics", headers=bearer(gateway.folder.keys["alice"]), timeout=BOUND_S)
    assert answer.status_code == 403
    assert "mcpgw_" not in answer.text
