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

_START_S = 30.0
"""For a server to listen: Node and Python on two busy cores."""


def time_server() -> list[str]:
    """PyPI mcp-server-time, stdio, both eras."""
    return [str(PYTHON_SERVERS / "mcp-server-time"), "--local-timezone", "UTC"]


def git_server(repository: Path) -> list[str]:
    """PyPI mcp-server-git, stdio, both eras."""
    return [str(PYTHON_SERVERS / "mcp-server-git"), "--repository", str(repository)]


def everything_server(transport: str = "stdio") -> list[str]:
    """npm server-everything: `stdio`, `sse` or `streamableHttp` (the latter two take PORT from the environment), legacy."""
    return [str(NODE), str(NODE_MODULES / "@modelcontextprotocol/server-everything/dist/index.js"), transport]


def filesystem_server(folder: Path) -> list[str]:
    """npm server-filesystem, stdio, legacy."""
    return [str(NODE), str(NODE_MODULES / "@modelcontextprotocol/server-filesystem/dist/index.js"), str(folder)]


def inspector(*args: str) -> list[str]:
    """The Inspector's command line: `inspector("--cli", "--server-url", url, …)`."""
    return [str(NODE), str(NODE_MODULES / "@modelcontextprotocol/inspector/clients/launcher/build/index.js"), *args]


def story_server(transport: str = "stdio", *options: str) -> list[str]:
    """Ours on the SDK: `stdio`, `http` or `sse`, both eras; `--legacy-only`, `--json`."""
    return [sys.executable, str(OUR_SERVERS / "story_server.py"), transport, *options]


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
    async with await anyio.open_process(story_server(transport, *options), stdin=None, stderr=None) as process:
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
