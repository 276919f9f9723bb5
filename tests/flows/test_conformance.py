"""The conformance suite, directly against a server that passes it and through a gateway before that server.

What passes directly must pass through: a client cannot tell the gateway from its server, except by policy.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.flows.gateway import BOUND_S, CONFIG, Folder, Gateway, listening, make_folder, serving, words
from tests.flows.suite import SUITE, before
from tests.real_servers import NODE

ERA = {"2026-07-28": "modern", "2025-11-25": "older"}
"""Who is asked for what a revision requires: the server as it is, and one that never heard of 2026-07-28. That is also what the
catalog calls them. A tool that asks its client in the way of 2025-11-25 can do so in no session of a later one."""
LEAST = {"2026-07-28": 151, "2025-11-25": 81}
"""Checks that the server passes by itself."""
EVERYTHING = """
resources = ["*"]
prompts = ["*"]
"""

_STAMP = re.compile(r"-\d{4}-\d\d-\d\dT.*")
"""When a scenario ran, at the end of its folder's name."""

Checks = dict[tuple[str, str], str]
"""Status by scenario and check; a check that a scenario makes more than once is numbered."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Mapping[str, str]]:
    """Run the server in each era; yield the URLs by what the catalog calls them."""
    if not SUITE.exists():
        pytest.skip("the conformance suite is not installed: scripts/upstreams")
    command = [sys.executable, "-m", "tests.servers.conformance_server"]
    with listening([*command, "modern"]) as modern, listening([*command, "older"]) as older:
        yield {"modern": f"http://127.0.0.1:{modern}/mcp", "older": f"http://127.0.0.1:{older}/mcp"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, servers: Mapping[str, str]) -> Iterator[Gateway]:
    origins = 'allowed_origins = ["http://127.0.0.1:*", "http://localhost:*"]\n'
    config = CONFIG.replace("[listen]\n", f"[listen]\n{origins}").replace("[redaction]\n", '[redaction]\nblobs = "pass"\n')
    folder: Folder = make_folder(tmp_path_factory.mktemp("conformance") / "gateway", EVERYTHING, config)
    folder.key("alice", "all")
    for name, url in servers.items():
        folder.called(name, "http", url, '[defaults]\nquestions = ["form", "url", "sampling", "roots"]\n')
    folder.accept()
    with serving(folder) as gateway:
        yield gateway


async def checked(url: str, revision: str, folder: Path) -> Checks:
    """Run what a revision requires against the URL, and return how every check ended."""
    return await anyio.to_thread.run_sync(_checked, url, revision, folder)


def _checked(url: str, revision: str, folder: Path) -> Checks:
    folder.mkdir()
    command = [str(NODE), str(SUITE), "server", "--url", url, "--requirements", revision, "--output-dir", str(folder)]
    subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    found: Checks = {}
    for file in sorted(folder.glob("server-*/checks.json")):
        if "-tasks-" in file.parent.name:
            continue  # of an extension that this server has not: test_conformance_tasks.py
        scenario = _STAMP.sub("", file.parent.name.removeprefix("server-"))
        seen: Counter[str] = Counter()
        for check in json.loads(file.read_text()):
            seen[check["id"]] += 1
            found[scenario, f"{check['id']} {seen[check['id']]}"] = check["status"]
    return found


@pytest.mark.promise("era-conformance")
@pytest.mark.parametrize("revision", ERA)
async def test_every_check_that_passes_directly_passes_through_the_gateway(
    gateway: Gateway, servers: Mapping[str, str], revision: str, tmp_path: Path
) -> None:
    name = ERA[revision]
    directly = await checked(servers[name], revision, tmp_path / "directly")
    async with before(gateway.url, gateway.folder.keys["alice"], name) as url:
        through = await checked(url, revision, tmp_path / "through")
    print(table(directly, through))
    assert len(passed(directly)) >= LEAST[revision], "the server itself no longer passes what it did"
    assert [check for check in passed(directly) if through.get(check) != "SUCCESS"] == []


def passed(checks: Checks) -> list[tuple[str, str]]:
    return [check for check, status in checks.items() if status == "SUCCESS"]


def table(directly: Checks, through: Checks) -> str:
    """Say for each scenario how many checks passed, and which did not."""
    lines = [f"{'scenario':52} directly  through"]
    for scenario in sorted({scenario for scenario, _ in directly}):
        own, ours = (Counter(checks[one] for one in checks if one[0] == scenario) for checks in (directly, through))
        lines.append(f"{scenario:52} {own['SUCCESS']:8} {ours['SUCCESS']:8}")
        lines += [
            f"    {check}: {directly[scenario, check]}, {through.get((scenario, check), 'not made')}"
            for name, check in directly
            if name == scenario and directly[scenario, check] != through.get((scenario, check))
        ]
    return "\n".join([*lines, f"{'all':52} {len(passed(directly)):8} {len(passed(through)):8}"])


# --- what the suite does not look at -------------------------------------------------------------------------------------

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"


@pytest.mark.promise("trace-context")
@pytest.mark.parametrize("downstream", ["http 2026", "http 2025"])
@pytest.mark.parametrize("server", ERA.values())
async def test_trace_context_icons_pages_and_parameters_in_headers_go_through(
    gateway: Gateway, server: str, downstream: str
) -> None:
    with anyio.fail_after(BOUND_S):
        async with gateway.client(downstream, gateway.folder.keys["alice"]) as client:
            meta: Any = {"traceparent": TRACE, "tracestate": "a=1", "bank.example/dryRun": True}
            told = json.loads(words(await client.call_tool(f"{server}__what_was_told", {}, meta=meta)))
            assert (told["traceparent"], told["tracestate"]) == (TRACE, "a=1")
            assert "bank.example/dryRun" not in told
            assert gateway.folder.records("call.intent")[-1]["origin"]["traceparent"] == TRACE
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            (icon,) = tools[f"{server}__what_was_told"].icons or ()
            assert (icon.src, icon.sizes) == ("https://icons.example/told.png", ["48x48"])
            region = await client.call_tool(f"{server}__test_x_mcp_header", {"region": "Zürich"})
            assert words(region) == "region=Zürich"
            uri = f"ui://{server}/everything/page.html"
            (page,) = (await client.read_resource(uri)).contents
            assert (page.uri, page.mime_type) == (uri, "text/html;profile=mcp-app")


@pytest.mark.promise("log-levels")
@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
@pytest.mark.parametrize("server", ERA.values())
async def test_each_is_told_the_log_messages_of_the_level_that_it_asked_for(gateway: Gateway, server: str) -> None:
    """By session before 2026-07-28, by request since; of servers of either era, and never of another's call."""
    heard: dict[str, list[str]] = {"modern": [], "legacy": [], "other": []}

    def into(name: str) -> Any:
        async def hear(params: Any) -> None:
            heard[name].append(str(params.data))

        return hear

    tool = f"{server}__test_tool_with_logging"
    key = gateway.folder.keys["alice"]
    with anyio.fail_after(BOUND_S):
        async with (
            gateway.client("http 2026", key, logging_callback=into("modern")) as modern,
            gateway.client("http 2025", key, logging_callback=into("legacy")) as legacy,
            gateway.client("http 2025", key, logging_callback=into("other")) as other,
        ):
            await other.list_tools()
            await modern.call_tool(tool, {})
            await modern.call_tool(tool, {}, meta={LOG_LEVEL: "warning"})  # type: ignore[arg-type]
            assert heard["modern"] == [], "who asks for none is told of none"
            await modern.call_tool(tool, {}, meta={LOG_LEVEL: "info"})  # type: ignore[arg-type]
            assert len(heard["modern"]) == 3
            await legacy.call_tool(tool, {})
            assert len(heard["legacy"]) == 3, "until it sets a level, it is told of all"
            await legacy.set_logging_level("error")
            await legacy.call_tool(tool, {})
            assert len(heard["legacy"]) == 3
            await legacy.set_logging_level("debug")
            await legacy.call_tool(tool, {})
            assert len(heard["legacy"]) == 6
    assert heard["other"] == [] and len(heard["modern"]) == 3
