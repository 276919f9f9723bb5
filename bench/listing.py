"""What `tools/list` costs before many upstreams, of which one is dead and one hangs: the first time and every other time."""

import base64
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import anyio

from bench.client import LEGACY, MODERN, HttpCaller, Wrong
from bench.contenders import CONFIG, PEERS, ROOT, await_http, free_port, mcpgw, peer_version
from bench.processes import CROWD, cost, running
from bench.report import Cell, Findings, median, percentile, ratio
from bench.said_again import SAID_AGAIN

TOOLS = 40
"""Of each upstream."""
WELL = "all upstreams well"
FAILING = "one dead, one hanging"
_LIMIT_S = 20.0
"""For one page. Whoever takes longer has no list."""
PROCESSES = 2
"""Over which HTTP upstreams are spread: each in a process of its own would measure the machine's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    upstreams: int
    pipes: int
    """Upstreams of the variant over stdio, each of which is a process."""
    starts: int
    lists: int
    """After each start, one after the other."""
    settle_s: float
    """From the first list of a start to the others."""
    transports: tuple[str, ...] = ("http", "stdio")
    eras: tuple[str, ...] = (MODERN, LEGACY)


FULL = Effort(upstreams=50, pipes=8, starts=2, lists=30, settle_s=3.0)
SHORT = Effort(upstreams=4, pipes=2, starts=1, lists=3, settle_s=0.0, transports=("http",), eras=(MODERN,))


@dataclass(slots=True)
class Figures:
    first_ms: list[float] = field(default_factory=list)
    """After each start, as soon as it says that it is ready."""
    later_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    """Of one later list, in each stretch."""
    tools: int = 0
    pages: int = 0
    kilobytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """How to start one contender, and how it is asked."""

    name: str
    command: tuple[str, ...]
    folder: Path
    url: str
    ready: str
    """URL that answers 200 once it is ready; any answer will do where the contender has none for that."""
    says_ready: bool
    headers: dict[str, str] = field(default_factory=dict)
    figures: dict[tuple[str, str], Figures] = field(default_factory=dict)
    """By weather and era."""
    said: dict[str, dict[str, str]] = field(default_factory=dict)
    """By era and cursor: the pages of the last list, as they came, in base64."""


def run(folder: Path, *, short: bool) -> Iterator[Findings]:
    effort = SHORT if short else FULL
    for transport in effort.transports:
        count = effort.upstreams if transport == "http" else effort.pipes
        with ExitStack() as stack:
            crowd = stack.enter_context(_crowd(folder / transport, transport, count))
            lanes = [_gateway(folder / transport / "mcpgw", crowd)]
            if (PEERS / "fastmcp").exists():
                lanes.append(_fastmcp(folder / transport / "fastmcp", crowd))
            _measure(lanes, WELL, effort, TOOLS * count)
            floor = _said_again(folder / transport / "again", lanes[0])
            _measure([floor], WELL, effort, TOOLS * count)
            stack.enter_context(crowd.failing())
            _measure(lanes, FAILING, effort, TOOLS * count)
        for era in effort.eras:
            yield _findings(lanes, floor, transport, era, count, effort)


def _measure(lanes: list[Lane], weather: str, effort: Effort, least: int) -> None:
    able = list(lanes)
    for _ in range(effort.starts):  # A B A B: what else the machine does meets all of them
        for lane in list(able):
            try:
                _start(lane, weather, effort, least)
            except (Wrong, TimeoutError, ProcessLookupError, aiohttp.ClientError) as error:
                print(f"bench: {lane.name} has no whole list with {weather}: {error!r}", file=sys.stderr)
                able.remove(lane)


# --- upstreams -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Crowd:
    """The upstreams: what stands in the catalog for each, and the processes of those that are to fail."""

    entries: dict[str, dict[str, Any]]
    doomed: int = 0
    """Process ids."""
    hanging: int = 0

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Kill one upstream, and stop another until the block ends: it takes connections and never answers."""
        os.kill(self.doomed, signal.SIGKILL)
        os.kill(self.hanging, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.hanging, signal.SIGCONT)


@contextmanager
def _crowd(folder: Path, transport: str, count: int) -> Iterator[_Crowd]:
    """Run so many upstreams over HTTP, or describe them for stdio; and two more over HTTP that will fail."""
    folder.mkdir(parents=True)
    shares = [(n * count // PROCESSES, (n + 1) * count // PROCESSES) for n in range(PROCESSES)] if transport == "http" else []
    crowd = _Crowd({})
    with ExitStack() as stack:
        pids = []
        for first, end in [*shares, (count, count + 1), (count + 1, count + 2)]:
            port = free_port()
            command = [sys.executable, "-m", CROWD, *map(str, (port, first, end - first, TOOLS))]
            pid = stack.enter_context(running(command, folder=folder, log=f"crowd-{first}.log", environ=_here()))
            await_http(f"http://127.0.0.1:{port}/{first}/mcp", lambda status: status > 0, pid)
            pids.append(pid)
            for number in range(first, end):
                crowd.entries[f"branch{number}"] = {"transport": "http", "url": f"http://127.0.0.1:{port}/{number}/mcp"}
        if transport == "stdio":
            for number in range(count):
                args = ["-m", CROWD, "stdio", str(number), str(TOOLS)]
                crowd.entries[f"branch{number}"] = {
                    "transport": "stdio", "command": sys.executable, "args": args, "cwd": str(ROOT),
                }  # fmt: skip
        crowd.doomed, crowd.hanging = pids[-2:]
        yield crowd


# --- contenders ----------------------------------------------------------------------------------------------------------


def _gateway(folder: Path, crowd: _Crowd) -> Lane:
    """Make a gateway's folder in which everything is accepted."""
    (folder / "catalog").mkdir(parents=True)
    port = free_port()
    head = CONFIG.partition("[[rules]]")[0].format(port=port, model="none")
    (folder / "config.toml").write_text(f"{head}{_RULES}")
    mcpgw(folder, "init", ".")
    for name, entry in crowd.entries.items():
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in entry.items())
        (folder / f"catalog/{name}.toml").write_text(text)
    mcpgw(folder, "catalog", "accept", "--all", "--yes")
    key = mcpgw(folder, "keys", "create", "--subject", "bench", "--kind", "agent", "--group", "staff").strip()
    return Lane(
        name="mcpgw",
        command=(sys.executable, "-m", "mcpgw", "serve"),
        folder=folder,
        url=f"http://127.0.0.1:{port}/mcp",
        ready=f"http://127.0.0.1:{port}/readyz",
        says_ready=True,
        headers={"Authorization": f"Bearer {key}"},
    )


_RULES = """\
[[rules]]
id = "no-exports-by-agents"
effect = "deny"
tools = ["nobody__*"]

[[rules]]
id = "large-amounts"
effect = "hold"
when = "has(args.amount) && args.amount > 10000"
approvers = ["group:leads"]

[[rules]]
id = "visitors"
effect = "deny"
when = "identity.kind == 'human' && tool.risk == 'high'"
"""
"""One about nothing here, one about every call, and one that is asked of every entry of a list."""


def _fastmcp(folder: Path, crowd: _Crowd) -> Lane:
    folder.mkdir(parents=True)
    (folder / "upstreams.json").write_text(json.dumps(crowd.entries))
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    return Lane(
        name=f"FastMCP {peer_version('fastmcp')}, a proxy mounted for each",
        command=(str(PEERS / "python"), str(ROOT / "bench/fastmcp_mounts.py"), str(port), "upstreams.json"),
        folder=folder,
        url=url,
        ready=url,
        says_ready=False,
    )


def _said_again(folder: Path, gateway: Lane) -> Lane:
    """The same pages from memory: what is left once nothing has to be asked, judged or put together."""
    folder.mkdir(parents=True)
    (folder / "pages.json").write_text(json.dumps(gateway.said))
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    return Lane(
        name="the same pages from memory, uvicorn alone",
        command=(sys.executable, "-m", SAID_AGAIN, str(port), "pages.json"),
        folder=folder,
        url=url,
        ready=url,
        says_ready=False,
    )


# --- measuring -----------------------------------------------------------------------------------------------------------


def _start(lane: Lane, weather: str, effort: Effort, least: int) -> None:
    """Start the contender and list: at once, then again and again; in turns of eras, which need a start each to be cold."""
    for era in effort.eras:
        with running(list(lane.command), folder=lane.folder, log="serve.log", environ=_here()) as pid:
            await_http(lane.ready, lambda status: status == 200 if lane.says_ready else status > 0, pid)
            figures = lane.figures.setdefault((weather, era), Figures())
            anyio.run(_list, lane, figures, era, effort, least, pid, backend_options={"use_uvloop": True})


async def _list(lane: Lane, figures: Figures, era: str, effort: Effort, least: int, pid: int) -> None:
    async with _lister(lane, era) as lister:
        figures.first_ms.append(await lister.timed(least))
        await anyio.sleep(effort.settle_s)
        before = cost(pid)
        figures.later_ms += [await lister.timed(least) for _ in range(effort.lists)]
        figures.cpu_ms.append((cost(pid).cpu_ms - before.cpu_ms) / effort.lists)
        figures.tools, figures.pages, figures.kilobytes = lister.tools, len(lister.said), lister.size // 1000
        lane.said[era] = {cursor: base64.b64encode(page).decode() for cursor, page in lister.said.items()}


class Lister(HttpCaller):
    """Lists whole, page by page. Use `_lister`."""

    tools = 0
    """Of the list before, as is what follows."""
    said: Mapping[str, bytes] = {}
    """Its pages, by cursor."""

    @property
    def size(self) -> int:
        return sum(map(len, self.said.values()))

    async def timed(self, least: int) -> float:
        """Read one complete list and return the milliseconds that it took.

        Raises:
            Wrong: it is shorter than it must be, or names something twice.
        """
        began = time.perf_counter()
        names: list[str] = []
        params: dict[str, Any] = {}
        said: dict[str, bytes] = {}
        while True:
            result = await self._page(params)
            names += [tool["name"] for tool in result["tools"]]
            said[params.get("cursor", "")] = self.received
            if not result.get("nextCursor"):
                break
            params = {"cursor": result["nextCursor"]}
        took_ms = (time.perf_counter() - began) * 1e3
        self.tools, self.said = len(names), said
        if len(set(names)) < len(names) or len(names) < least:
            raise Wrong(f"{len(names)} tools, {len(set(names))} different ones; {least} are there")
        return took_ms

    async def _page(self, params: dict[str, Any]) -> Any:
        answer = await self._post(self.request("tools/list", params)[1])
        if "result" not in answer:
            raise Wrong(str(answer)[:500])
        return answer["result"]


@asynccontextmanager
async def _lister(lane: Lane, era: str) -> AsyncIterator[Lister]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_LIMIT_S)) as http:
        lister = Lister(http, lane.url, "", [""], era, lane.headers)
        if era == MODERN:
            lister.is_about("tools/list")
        await lister.handshake()
        yield lister


def _findings(lanes: list[Lane], floor: Lane, transport: str, era: str, count: int, effort: Effort) -> Findings:
    base = lanes[0].figures[WELL, era]
    rows = [_row(lane, weather, lane.figures.get((weather, era)), base) for weather in (WELL, FAILING) for lane in lanes]
    rows.append(_row(floor, WELL, floor.figures.get((WELL, era)), base))
    client = "a 2026-07-28 client" if era == MODERN else "a 2025-11-25 client"
    over = "Streamable HTTP" if transport == "http" else "stdio"
    return Findings(
        title=f"listing: {client}, {count} upstreams of {TOOLS} tools over {over}, and two more",
        columns=(
            "gateway",
            "tools",
            "pages",
            "KB",
            "first list, ms",
            "slowest first",
            "later lists, ms",
            "of mcpgw's",
            "quickest",
            "p95",
            "CPU ms/list",
        ),
        rows=tuple(rows),
        note=f"A list is all its pages, one after the other, read and parsed. First: at once after the process says "
        f"that it is ready, medians of {effort.starts} starts; later: medians of {effort.lists} after each start. "
        f"-: no whole list within {_LIMIT_S:g} s a page.",
    )


def _row(lane: Lane, weather: str, figures: Figures | None, base: Figures) -> tuple[Cell, ...]:
    if figures is None or not figures.later_ms:
        return (f"{lane.name}: {weather}", *([None] * 10))
    return (
        f"{lane.name}: {weather}",
        figures.tools,
        figures.pages,
        figures.kilobytes,
        median(figures.first_ms),
        max(figures.first_ms),
        median(figures.later_ms),
        ratio(median(figures.later_ms), median(base.later_ms)),
        min(figures.later_ms),
        percentile(figures.later_ms, 0.95),
        median(figures.cpu_ms),
    )


def _here() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT)}
