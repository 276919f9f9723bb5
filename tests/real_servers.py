"""Where the real MCP servers are, and how to start those that listen on a port. `scripts/upstreams` installs them."""

import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL

import anyio
import anyio.abc

ROOT = Path(__file__).resolve().parent.parent
PYTHON_SERVERS = ROOT / ".venv-upstreams" / "bin"
NODE_MODULES = ROOT / "tests" / "node" / "node_modules"
NODE = NODE_MODULES / "node" / "bin" / "node"
OUR_SERVERS = ROOT / "tests" / "servers"
OUR_CLIENTS = ROOT / "tests" / "clients"
CLIENTS = ROOT / ".venv-clients" / "bin" / "python"
LANGCHAIN = ROOT / ".venv-langchain" / "bin" / "python"
"""With LangChain's adapters, which need an older SDK than everything else here."""

_START_S = 30.0
"""For a server to listen: Node and Python on two busy cores."""


def time_server() -> list[str]:
    """PyPI mcp-server-time, stdio, both eras."""
    return [str(PYTHON_SERVERS / "mcp-server-time"), "--local-timezone", "UTC"]


def fetch_server(*options: str) -> list[str]:
    """PyPI mcp-server-fetch, stdio, both eras; `--allow-private-ips` lets it fetch from this machine."""
    return [str(PYTHON_SERVERS / "mcp-server-fetch"), *options]


def git_server(repository: Path) -> list[str]:
    """PyPI mcp-server-git, stdio, both eras."""
    return [str(PYTHON_SERVERS / "mcp-server-git"), "--repository", str(repository)]


def everything_server(transport: str = "stdio") -> list[str]:
    """npm server-everything: `stdio`, `sse` or `streamableHttp` (the latter two take PORT from the environment), legacy."""
    return [str(NODE), str(NODE_MODULES / "@modelcontextprotocol/server-everything/dist/index.js"), transport]


def filesystem_server(folder: Path) -> list[str]:
    """npm server-filesystem, stdio, legacy."""
    return [str(NODE), str(NODE_MODULES / "@modelcontextprotocol/server-filesystem/dist/index.js"), str(folder)]


def memory_server() -> list[str]:
    """npm server-memory, stdio, legacy; keeps its graph in the file that MEMORY_FILE_PATH names."""
    return [str(NODE), str(NODE_MODULES / "@modelcontextprotocol/server-memory/dist/index.js")]


def postgres_server(url: str) -> list[str]:
    """npm server-postgres, stdio, of 2024-11-05: one tool that reads, and each table's columns as a resource."""
    return [str(NODE), str(NODE_MODULES / "@modelcontextprotocol/server-postgres/dist/index.js"), url]


def alchemy_server() -> list[str]:
    """PyPI mcp-alchemy, stdio, both eras: any database that DB_URL names, to read and to write."""
    return [str(PYTHON_SERVERS / "mcp-alchemy")]


def inspector(*args: str) -> list[str]:
    """The Inspector's command line: `inspector("--cli", "--server-url", url, …)`."""
    return [str(NODE), str(NODE_MODULES / "@modelcontextprotocol/inspector/clients/launcher/build/index.js"), *args]


def story_server(transport: str = "stdio", *options: str) -> list[str]:
    """Ours on the SDK: `stdio`, `http` or `sse`, both eras; `--legacy-only`, `--json`."""
    return [sys.executable, str(OUR_SERVERS / "story_server.py"), transport, *options]


def asking_server(transport: str = "stdio", *options: str) -> list[str]:
    """Ours on the SDK, which asks its caller: run like the story server."""
    return [sys.executable, str(OUR_SERVERS / "asking_server.py"), transport, *options]


def task_server(*options: str) -> list[str]:
    """Ours without any library, of 2026-07-28 alone, which makes tasks of calls: over HTTP, or `stdio`."""
    return [sys.executable, str(OUR_SERVERS / "task_server.py"), *options]


def library_server(log: Path) -> list[str]:
    """Ours on the SDK, on stdio and both eras: resources, templates, prompts, completions and links; reads go to the log."""
    return [sys.executable, str(OUR_SERVERS / "library_server.py"), str(log)]


def odd_server(*options: str) -> list[str]:
    """Ours without a library, on stdio: misbehaves on demand."""
    return [sys.executable, str(OUR_SERVERS / "odd_server.py"), *options]


def moody_server(mood: Path, *options: str) -> list[str]:
    """The odd server, which starts, crashes or hangs as the file `mood` says at that time."""
    return [sys.executable, str(OUR_SERVERS / "moody_server.py"), str(mood), *options]


@asynccontextmanager
async def story_url(transport: str = "http", *options: str) -> AsyncIterator[str]:
    """Run the story server on a free port and yield its URL."""
    async with _announced_url(story_server(transport, *options), transport) as url:
        yield url


@asynccontextmanager
async def asking_url(transport: str = "http", *options: str) -> AsyncIterator[str]:
    """The same of the asking server."""
    async with _announced_url(asking_server(transport, *options), transport) as url:
        yield url


@asynccontextmanager
async def task_url() -> AsyncIterator[str]:
    """The same of the server that makes tasks of its own, of 2026-07-28 alone."""
    async with _announced_url(task_server(), "http") as url:
        yield url


@asynccontextmanager
async def _announced_url(command: Sequence[str], transport: str) -> AsyncIterator[str]:
    async with await anyio.open_process(command, stdin=None, stderr=None) as process:
        try:
            with anyio.fail_after(_START_S):
                port = await _announced_port(process)
            yield f"http://127.0.0.1:{port}/{'sse' if transport == 'sse' else 'mcp'}"
        finally:
            _kill(process)


@asynccontextmanager
async def everything_url(transport: str = "streamableHttp") -> AsyncIterator[str]:
    """Run the everything server on a free port and yield its URL; `transport` is `sse` or `streamableHttp`."""
    port = free_port()
    async with listening(everything_server(transport), port, {"PORT": str(port), "PATH": "/usr/bin:/bin"}):
        yield f"http://127.0.0.1:{port}/{'sse' if transport == 'sse' else 'mcp'}"


@asynccontextmanager
async def listening(command: Sequence[str], port: int, env: Mapping[str, str]) -> AsyncIterator[None]:
    """Run a command until it listens on the port, and end it afterwards."""
    process = await anyio.open_process(command, stdin=None, stdout=DEVNULL, stderr=DEVNULL, env=env)
    async with process:
        try:
            with anyio.fail_after(_START_S):
                await _accepts(port)
            yield
        finally:
            _kill(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _kill(process: anyio.abc.Process) -> None:
    if process.returncode is None:
        process.kill()


async def _announced_port(process: anyio.abc.Process) -> int:
    line = b""
    while not line.endswith(b"\n"):
        if process.stdout is None:
            raise RuntimeError("the server has no stdout")
        line += await process.stdout.receive(64)
    return int(line.split()[1])


async def _accepts(port: int) -> None:
    while True:
        try:
            stream = await anyio.connect_tcp("127.0.0.1", port)
        except OSError:
            await anyio.sleep(0.05)  # nothing tells when a foreign process listens
            continue
        await stream.aclose()
        return
