"""What one call costs through each gateway, beside the upstream itself."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from bench.client import LEGACY, MODERN, Caller, Wrong, http_caller, load, pipe_caller
from bench.contenders import ROOT, Contender, echo_command, gateway, peers, upstream
from bench.processes import cost
from bench.report import Findings, median, percentile, ratio
from bench.texts import Maker

CLIENTS = (1, 8, 32)
_TEXTS = 5_000
"""Different texts, so that no memory of decisions answers in place of the detectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    rounds: int
    seconds: float
    """Of each stretch of calls: long beside the 10 ms in which /proc counts, short beside what else the machine does."""
    warm_s: float
    clients: tuple[int, ...] = CLIENTS


FULL = Effort(rounds=7, seconds=0.5, warm_s=0.5)
SHORT = Effort(rounds=1, seconds=0.3, warm_s=0.1)


@dataclass(slots=True)
class Figures:
    """One contender's, a value for each round."""

    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    calls_s: dict[int, list[float]] = field(default_factory=dict)
    cpu_ms: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Lane:
    """One contender under one kind of client."""

    contender: Contender
    caller: Caller
    figures: Figures = field(default_factory=Figures)


def run(folder: Path, *, short: bool) -> Iterator[Findings]:
    effort = SHORT if short else FULL
    for transport in ("http",) if short else ("http", "stdio"):
        with everybody(folder / transport, transport) as contenders:
            for era in (MODERN, LEGACY):
                yield anyio.run(_measure, contenders, transport, era, effort, backend_options={"use_uvloop": True})


@contextmanager
def everybody(folder: Path, transport: str) -> Iterator[list[Contender]]:
    """Start all contenders before one kind of upstream; they idle while others are measured."""
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        direct = stack.enter_context(upstream(folder))
        if transport == "stdio":
            direct = Contender(name=direct.name, pid=0, url="")
        contenders = [direct]
        server = "web" if transport == "http" else "pipe"
        for model in ("none", "en_core_web_sm"):
            made = stack.enter_context(gateway(folder / f"mcpgw-{model}", model, direct.url))
            contenders.append(made(server))
        for name, start in peers(folder, direct.url, transport):
            try:
                contenders.append(start(stack))
            except (TimeoutError, ProcessLookupError) as error:
                print(f"bench: {name} is left out: {error}; see its log in {folder}", file=sys.stderr)
        yield contenders


async def _measure(contenders: list[Contender], transport: str, era: str, effort: Effort) -> Findings:
    texts = Maker().echoes(_TEXTS)
    lanes: list[Lane] = []
    async with AsyncExitStack() as connections:
        for contender in contenders:
            if era not in contender.eras:
                continue
            try:
                caller = await connections.enter_async_context(_dial(contender, texts, era))
                with anyio.fail_after(30):
                    await load(caller, 1, effort.warm_s)
            except* (Wrong, TimeoutError, OSError) as group:
                print(f"bench: {contender.name} is left out of {transport}, {era}: {group.exceptions[0]}", file=sys.stderr)
            else:
                lanes.append(Lane(contender, caller))
        for _ in range(effort.rounds):  # A B C A B C: what else the machine does meets all of them
            for lane in lanes:
                await _stretch(lane, effort)
    return _findings(lanes, transport, era, effort)


@asynccontextmanager
async def _dial(contender: Contender, texts: list[str], era: str) -> AsyncIterator[Caller]:
    if contender.url:
        async with http_caller(contender.url, contender.tool, texts, era, contender.headers) as http:
            yield http
    else:
        async with pipe_caller(echo_command("stdio"), ROOT, contender.tool, texts, era) as pipe:
            yield pipe


async def _stretch(lane: Lane, effort: Effort) -> None:
    figures = lane.figures
    pid = lane.contender.pid or getattr(lane.caller, "pid", 0)
    for clients in effort.clients:
        before = cost(pid)
        came = await load(lane.caller, clients, effort.seconds)
        after = cost(pid)
        figures.calls_s.setdefault(clients, []).append(came.calls / came.seconds)
        if clients == 1:
            figures.p50_ms.append(percentile(came.latencies_s, 0.5) * 1e3)
            figures.p99_ms.append(percentile(came.latencies_s, 0.99) * 1e3)
        if clients == 8:
            figures.cpu_ms.append((after.cpu_ms - before.cpu_ms) / came.calls)
            figures.rss_mb.append(after.rss_mb)


def _findings(lanes: list[Lane], transport: str, era: str, effort: Effort) -> Findings:
    base = lanes[0].figures
    rows = []
    for lane in lanes:
        figures = lane.figures
        rows.append(
            (
                lane.contender.name,
                median(figures.p50_ms),
                min(figures.p50_ms),
                median(figures.p99_ms),
                median(figures.calls_s[8]),
                median(figures.calls_s[32]),
                median(figures.cpu_ms),
                min(figures.cpu_ms),
                ratio(min(figures.cpu_ms), min(base.cpu_ms)),
                round(median(figures.rss_mb)),
            )
        )
    client = "a 2026-07-28 client" if era == MODERN else "a 2025-11-25 client"
    return Findings(
        title=f"calls: {client}, echo upstream over {'Streamable HTTP' if transport == 'http' else 'stdio'}",
        columns=(
            "gateway",
            "p50 ms, 1 client",
            "its quietest round",
            "p99 ms",
            "calls/s, 8 clients",
            "calls/s, 32",
            "CPU ms/call",
            "its quietest round",
            "of the upstream's",
            "RSS MB",
        ),
        rows=tuple(rows),
        note=f"Medians of {effort.rounds} interleaved rounds of {effort.seconds:g} s, and the round that was disturbed "
        "least. CPU (with 8 clients) and memory of the gateway's whole process tree without the upstream.",
    )
