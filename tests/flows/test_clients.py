"""Clients that others wrote, each as its users run it: one story for all that are libraries, and the Inspector's commands."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest

from tests.flows.gateway import BOUND_S, Gateway, lines_of, listening, make_folder, serving, until
from tests.real_servers import CLIENTS, LANGCHAIN, NODE, OUR_CLIENTS, ROOT, asking_server, inspector, story_server

RULES = """
resources = ["*"]
prompts = ["*"]

[[rules]]
id = "no-sums"
effect = "deny"
tools = ["story__add"]
when = "args.a == 1"
reason = "No sums today."

[[rules]]
id = "people-look"
effect = "hold"
tools = ["story__count"]
reason = "People look at this first."
"""
PYTHON = {"sdk": sys.executable, "fast": sys.executable, "langchain": str(LANGCHAIN), "pydantic_agent": str(CLIENTS)}
"""The interpreter that has the client of each program in tests/clients."""
PROGRAMS = {
    "SDK for Python, 2026": ("sdk.py", "auto"),
    "SDK for Python, 2025": ("sdk.py", "legacy"),
    "SDK for TypeScript 1": ("v1.mjs",),
    "SDK for TypeScript 2": ("v2.mjs", "auto"),
    "SDK for TypeScript 2, 2025": ("v2.mjs", "legacy"),
    "FastMCP": ("fast.py",),
    "LangChain": ("langchain.py",),
    "pydantic-ai": ("pydantic_agent.py",),
}
"""What plays the story with each client: a program in tests/clients or tests/node/clients, and its arguments."""
STARTING = [client for client in PROGRAMS if client != "SDK for TypeScript 2, 2025"]
"""These also start a gateway over stdio; that one does it as its elder does."""
NO_SAMPLING = {"LangChain"}
WAITING = {"pydantic-ai"}
"""It declares the tasks extension, and polls until the call is decided; the others are told to come back."""


@pytest.fixture(scope="module")
def offices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before one server that answers and one that asks."""
    folder = make_folder(tmp_path_factory.mktemp("offices") / "gateway", RULES)
    folder.key("alice", "all")
    folder.key("carol", "leads")
    with listening(story_server("http")) as story, listening(asking_server("http")) as asking:
        folder.called("story", "http", f"http://127.0.0.1:{story}/mcp")
        folder.called("asking", "http", f"http://127.0.0.1:{asking}/mcp", '[defaults]\nquestions = ["form", "sampling"]\n')
        folder.accept()
        with serving(folder) as gateway:
            yield gateway


@pytest.mark.parametrize(
    ("client", "transport"),
    [*((client, "http") for client in PROGRAMS), *((client, "stdio") for client in STARTING), ("FastMCP", "sse")],
)
async def test_a_client_lists_calls_reads_is_asked_is_refused_and_waits_for_people(
    offices: Gateway, client: str, transport: str, tmp_path: Path
) -> None:
    folder, marker, before = offices.folder, str(tmp_path / "marker"), len(offices.folder.records("call.held"))
    async with playing(client, way(offices, transport, marker)) as told:
        with anyio.fail_after(2 * BOUND_S):
            await told.until("sampled" if client in WAITING else "pending")
            (held,) = await until(lambda: folder.records("call.held")[before:], "the call is held")
            approval = held["approval"]["id"]
            await folder.acli("approvals", "approve", approval, "--yes", key=folder.keys["carol"])
            said = await told.all()
    assert {"story__echo", "story__count", "asking__book"} <= {*said["tools"]}
    assert said["resources"] == ["mcpgw+story+story://one"] and said["prompts"] == ["story__tell"]
    assert said["called"] == "hello"
    assert "No sums today." in said["refused"]
    assert said["failed"] == "Error executing tool fail"
    assert said["read"] == "once upon a time" and "Ann" in said["got"]
    assert said["elicited"] == "room: accept Monday"
    assert said.get("sampled") == (None if client in NO_SAMPLING else "short")
    assert client in WAITING or ("not executed" in said["pending"] and approval in said["pending"])
    assert said["approved"] == "1" and lines_of(tmp_path / "marker") == ["called"]


def way(gateway: Gateway, transport: str, marker: str) -> dict[str, Any]:
    """Return how a program reaches the gateway, as tests/clients/telling.py reads it."""
    key = gateway.folder.keys["alice"]
    if transport == "stdio":
        arguments = ["-m", "mcpgw", "stdio", "-C", str(gateway.folder.path)]
        return {"command": sys.executable, "args": arguments, "env": {"MCPGW_API_KEY": key}, "marker": marker}
    return {"url": f"{gateway.url}/{'sse' if transport == 'sse' else 'mcp'}", "key": key, "marker": marker}


@dataclass
class Told:
    """What a program says, by its steps."""

    process: anyio.abc.Process
    said: dict[str, Any] = field(default_factory=dict)
    rest: bytes = b""

    async def until(self, step: str) -> None:
        while step not in self.said:
            assert await self.heard(), f"it ended without {step}, after {[*self.said]}"

    async def all(self) -> dict[str, Any]:
        while await self.heard():
            pass
        assert await self.process.wait() == 0
        return self.said

    async def heard(self) -> bool:
        assert self.process.stdout is not None
        while b"\n" not in self.rest:
            try:
                self.rest += await self.process.stdout.receive()
            except anyio.EndOfStream:
                return False
        line, _, self.rest = self.rest.partition(b"\n")
        found = json.loads(line)
        self.said[found["step"]] = found["said"]
        return True


@asynccontextmanager
async def playing(client: str, way: dict[str, Any]) -> AsyncIterator[Told]:
    """Run the program of this client until the block ends."""
    name, *arguments = PROGRAMS[client]
    folder, interpreter = (OUR_CLIENTS, PYTHON[name[:-3]]) if name.endswith(".py") else (ROOT / "tests/node/clients", str(NODE))
    if not await anyio.Path(interpreter).exists():
        pytest.skip(f"{client} is not installed: scripts/upstreams")
    command = [interpreter, str(folder / name), json.dumps(way), *arguments]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MCPGW_")}
    async with await anyio.open_process(command, stdin=subprocess.DEVNULL, stderr=None, env=environ) as process:
        try:
            yield Told(process)
        finally:
            if process.returncode is None:
                process.kill()


@pytest.mark.parametrize(("era", "path"), [("legacy", "mcp"), ("modern", "mcp"), ("legacy", "sse")])
async def test_the_inspector_lists_and_calls(stories: Gateway, era: str, path: str) -> None:
    key = stories.folder.keys["bob"]
    listed = await inspected(stories, key, era, path, "--method", "tools/list")
    assert {tool["name"] for tool in listed["tools"]} == {"pipe__echo", "web__echo", "events__echo"}
    called = await inspected(
        stories, key, era, path, "--method", "tools/call", "--tool-name", "pipe__echo", "--tool-arg", "text=hello"
    )
    assert called["content"] == [{"type": "text", "text": "hello"}]


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_inspector_starts_a_gateway_and_calls_over_stdio(stories: Gateway, era: str) -> None:
    key = stories.folder.keys["bob"]
    called = await inspected(
        stories, key, era, "stdio", "--method", "tools/call", "--tool-name", "pipe__echo", "--tool-arg", "text=hello"
    )
    assert called["content"] == [{"type": "text", "text": "hello"}]
    intent = stories.folder.records("call.intent")[-1]
    assert (intent["who"]["sub"], intent["origin"]["transport"]) == ("bob", "stdio")


async def test_the_inspector_waits_for_people_and_gets_the_result(holding: Gateway) -> None:
    """Of 2026-07-28 it declares the tasks extension, and polls."""
    folder, said = holding.folder, list[dict[str, Any]]()
    call = ("--method", "tools/call", "--tool-name", "pipe__echo", "--tool-arg", "text=hello")

    async def ask() -> None:
        said.append(await inspected(holding, folder.keys["alice"], "modern", "mcp", *call))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        (held,) = await until(lambda: folder.records("call.held"), "it is held")
        await folder.acli("approvals", "approve", held["approval"]["id"], "--yes", key=folder.keys["carol"])
    assert said[0]["content"] == [{"type": "text", "text": "hello"}]
    given_out = [read["facts"] for read in folder.records("evidence.read") if read["facts"].get("read") == "result"]
    assert [facts["approval_id"] for facts in given_out] == [held["approval"]["id"]]


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    rule = '[[rules]]\nid = "people-look"\neffect = "hold"\ntools = ["*__echo"]\nreason = "People look at this first."\n'
    folder = make_folder(tmp_path_factory.mktemp("holding") / "gateway", rule)
    folder.key("alice", "all")
    folder.key("carol", "leads")
    folder.spawned("pipe", story_server("stdio"))
    folder.accept()
    with serving(folder) as gateway:
        yield gateway


async def inspected(gateway: Gateway, key: str, era: str, path: str, *method: str) -> dict[str, Any]:
    if not NODE.exists():
        pytest.skip("the Inspector is not installed: scripts/upstreams")
    era_and_method = ("--protocol-era", era, *method)
    if path == "stdio":
        program = [sys.executable, "-m", "mcpgw", "stdio", "-C", str(gateway.folder.path)]
        command = inspector("--cli", "--transport", "stdio", "-e", f"MCPGW_API_KEY={key}", *era_and_method, "--", *program)
    else:
        transport = ["--transport", "sse" if path == "sse" else "http"]
        where = ["--server-url", f"{gateway.url}/{path}", *transport, "--header", f"Authorization: Bearer {key}"]
        command = inspector("--cli", *where, "--stored-auth-only", *era_and_method)

    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, stdin=subprocess.DEVNULL)

    done = await anyio.to_thread.run_sync(run)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found
