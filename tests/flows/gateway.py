"""A gateway's folder, the gateway itself as a process, and the clients that people really use: what every story needs."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

from mcpgw.app import convert
from mcpgw.cli.common import open_folder, record_changes
from mcpgw.cli.init import make_keys
from mcpgw.core.model import IdentityKind
from mcpgw.identity.administration import create_key
from mcpgw.identity.api_keys import ApiKeys
from mcpgw.identity.key_record import new_key
from mcpgw.ledger.record import parse
from mcpgw.ledger.sqlite import FILE, SqliteStore
from mcpgw.ledger.store import Query

MODERN = "2026-07-28"
LEGACY = "legacy"
"""The SDK's name for the handshake of 2025-11-25 and earlier."""
BOUND_S = 30.0
"""Longest that any one step of a story may take on two busy cores; nothing waits this long unless it fails."""
_POLL_S = 0.05
"""Where another process gives no sign, it is asked this often."""

CONFIG = """\
[listen]
port = 0
shutdown_grace = "2s"

[ledger]
origin = "flows.example/ledger"

[redaction]
model = "none"

[approval]
approvers = ["group:leads"]
deadline = "30m"
budget = "300ms"

[roles.all]
members = ["group:all"]
scopes = ["everything"]

[scopes.everything]
tools = ["*"]
"""


@dataclass
class Folder:
    """What `mcpgw init` and an admin make: config.toml, catalog/, keys/. `keys` holds the text of each API key by subject."""

    path: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables that the gateway and every command are given, such as credentials of upstreams."""
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    def key(self, subject: str, *groups: str, kind: IdentityKind = IdentityKind.HUMAN) -> str:
        """Make an API key as `mcpgw keys create` does."""
        settings = open_folder(self.path)
        made = new_key(subject=subject, kind=kind, groups=groups)
        with ThreadPoolExecutor(1) as beside:  # recording runs an event loop, and the test may have one in this thread
            store = ApiKeys(settings.keys_dir / convert.API_KEYS)
            beside.submit(create_key, store, made, partial(record_changes, settings), actor="os:test").result()
        self.keys[subject] = made.text
        return made.text

    def server(self, name: str, text: str) -> None:
        (self.path / "catalog" / f"{name}.toml").write_text(text, encoding="utf-8")

    def spawned(self, name: str, command: Sequence[str], more: str = "") -> None:
        """Enter an upstream that the gateway starts."""
        self.server(
            name, f'transport = "stdio"\ncommand = {json.dumps(command[0])}\nargs = {json.dumps(list(command[1:]))}\n{more}'
        )

    def called(self, name: str, transport: str, url: str, more: str = "") -> None:
        """Enter an upstream that the gateway calls; `transport` is `http` or `sse`."""
        self.server(name, f'transport = "{transport}"\nurl = "{url}"\n{more}')

    def accept(self) -> None:
        self.cli("catalog", "accept", "--all", "--yes")

    def cli(self, *arguments: str, key: str = "", expect: int = 0, answers: str = "") -> str:
        """Run a command as a person would, who types `answers`, and return everything that it printed."""
        command, environ = [sys.executable, "-m", "mcpgw", *arguments], self.full_environ(key)
        done = subprocess.run(command, cwd=self.path, env=environ, input=answers, capture_output=True, text=True, timeout=60)
        assert done.returncode == expect, (
            f"mcpgw {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        return done.stdout + done.stderr

    async def acli(self, *arguments: str, key: str = "", expect: int = 0) -> str:
        return await anyio.to_thread.run_sync(lambda: self.cli(*arguments, key=key, expect=expect))

    def full_environ(self, key: str = "") -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MCPGW_")}
        return {**kept, "COLUMNS": "240", **self.environ, **({"MCPGW_API_KEY": key} if key else {})}

    def records(self, kind: str = "", **query: Any) -> list[dict[str, Any]]:
        """Return what the record holds, oldest first."""
        store = SqliteStore.connect_read_only(self.data / FILE)
        try:
            return [parse(found.leaf) for found in store.search(Query(kind=kind, limit=100_000, **query))]
        finally:
            store.close()

    def open_calls(self) -> set[str]:
        """Return the ids of calls whose intent has no outcome."""
        calls: set[str] = set()
        for record in self.records("call.*"):
            if record["kind"] == "call.intent":
                calls.add(record["call"])
            elif record["kind"] in ("call.outcome", "call.indeterminate"):
                calls.discard(record["call"])
        return calls

    def verify(self) -> None:
        assert "✓" in self.cli("verify")


def make_folder(path: Path, more: str = "", config: str = CONFIG, environ: Mapping[str, str] | None = None) -> Folder:
    """Make a folder that lacks nothing but upstreams and people."""
    (path / "catalog").mkdir(parents=True)
    (path / "config.toml").write_text(config + more, encoding="utf-8")
    make_keys(path)
    return Folder(path, environ or {})


# --- the gateway ---------------------------------------------------------------------------------------------------------


@dataclass
class Gateway:
    """A running `mcpgw serve`."""

    folder: Folder
    process: "subprocess.Popen[str]"
    url: str = ""
    log: list[str] = field(default_factory=list)
    """What it said on standard error."""
    listening: threading.Event = field(default_factory=threading.Event)

    def hear(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if line.startswith("mcpgw: serving "):
                self.url = line.split()[-1].removesuffix("/mcp")
                self.listening.set()
        self.listening.set()  # it ended

    def problems(self) -> dict[str, str]:
        """Return what `/readyz` complains of."""
        answer = httpx2.get(f"{self.url}/readyz", timeout=BOUND_S)
        assert (answer.status_code == 200) is (not answer.json()["problems"]), answer.text
        return dict(answer.json()["problems"])

    async def until_problem(self, name: str) -> str:
        return str(await until(lambda: self.problems().get(name), f"/readyz is red for {name}"))

    async def until_ready(self) -> None:
        await until(lambda: not self.problems(), "/readyz is green")

    def client(self, downstream: str, key: str, **more: Any) -> Client:
        """Return an SDK client, not yet connected. `downstream` is one of `DOWNSTREAMS`."""
        return connect(self.folder, downstream, key, self.url, **more)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(BOUND_S)


@contextmanager
def serving(folder: Folder, *, ready: bool = True) -> Iterator[Gateway]:
    """Run `mcpgw serve` until the block ends. It must then end by itself, in order, and leave a record that verifies."""
    command = [sys.executable, "-m", "mcpgw", "serve", "-v"]
    environ = folder.full_environ()
    process = subprocess.Popen(
        command, cwd=folder.path, env=environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    gateway = Gateway(folder, process)
    hearing = threading.Thread(target=gateway.hear, daemon=True)
    hearing.start()
    try:
        assert gateway.listening.wait(BOUND_S) and gateway.url, "".join(gateway.log)
        if ready:
            try:
                wait(lambda: not gateway.problems(), "/readyz is green")
            except AssertionError as error:
                raise AssertionError(f"{error}: {gateway.problems()}\n{''.join(gateway.log)}") from None
        yield gateway
        if process.poll() is None:
            assert gateway.stop() == 0, "".join(gateway.log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        hearing.join(BOUND_S)
        if process.stderr is not None:
            process.stderr.close()
    folder.verify()
    assert folder.open_calls() == set(), "an intent is left without an outcome"


async def until(condition: Callable[[], Any], what: str) -> Any:
    """Ask until the answer is true, and return it."""
    return await anyio.to_thread.run_sync(wait, condition, what)


def wait(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + BOUND_S
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(_POLL_S)
    raise AssertionError(f"waited in vain until {what}")


# --- upstreams that listen -----------------------------------------------------------------------------------------------


@contextmanager
def listening(command: Sequence[str], environ: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run one of our own servers, which print `PORT <number>` first, and yield the port."""
    process = subprocess.Popen(
        command, env={**os.environ, **(environ or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().split()[1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# --- clients -------------------------------------------------------------------------------------------------------------

DOWNSTREAMS = ("http 2026", "http 2025", "sse 2025", "stdio 2026", "stdio 2025")
"""Every way that a client reaches the gateway: transport and era."""


def connect(folder: Folder, downstream: str, key: str, url: str = "", **more: Any) -> Client:
    """Return an SDK client, not yet connected; over stdio it starts a gateway of its own beside whatever runs."""
    transport, era = downstream.split()
    streams: AbstractAsyncContextManager[Any]
    match transport:
        case "stdio":
            command = ["-m", "mcpgw", "stdio", "-C", str(folder.path)]
            environ = {**folder.full_environ(key), "MCPGW_API_KEY": key}
            streams = stdio_client(StdioServerParameters(command=sys.executable, args=command, env=environ))
        case "sse":
            streams = sse_client(f"{url}/sse", headers=bearer(key))
        case _:
            streams = _http(f"{url}/mcp", key)
    return Client(streams, mode=MODERN if era == "2026" else LEGACY, cache=None, read_timeout_seconds=BOUND_S, **more)


@asynccontextmanager
async def _http(url: str, key: str) -> AsyncIterator[Any]:
    async with (
        httpx2.AsyncClient(headers=bearer(key), timeout=BOUND_S) as http,
        streamable_http_client(url, http_client=http) as streams,
    ):
        yield streams


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def names(client: Client) -> list[str]:
    return [tool.name for tool in (await client.list_tools()).tools]


async def until_listed(client: Client, *wanted: str) -> list[str]:
    """Wait until the list holds these names: an upstream of this process may still be starting."""
    found: list[str] = []
    with anyio.fail_after(BOUND_S):
        while not set(wanted) <= set(found):
            await anyio.sleep(_POLL_S if found else 0)
            found = await names(client)
    return found


def words(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def lines_of(marker: Path) -> list[str]:
    """Return what a tool of the story server noted in its marker file."""
    return marker.read_text().splitlines() if marker.exists() else []
