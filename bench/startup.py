"""How long a person waits: for help, and for a gateway that is ready, beside Python's own start."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.contenders import await_http, make_folder
from bench.processes import running
from bench.report import Findings, median, ratio


def run(folder: Path, *, short: bool) -> Iterator[Findings]:
    rounds, quick = (1, 3) if short else (5, 4)
    ports = {model: make_folder(folder / model, model, "")[0] for model in ("none", "en_core_web_sm")}
    starts: dict[str, Callable[[], float]] = {
        "python -c pass": lambda: _finished(sys.executable, "-c", "pass"),
        "python -c 'import asyncio, json, ssl'": lambda: _finished(sys.executable, "-c", "import asyncio, json, ssl"),
        "mcpgw --help": lambda: _finished(_program(), "--help"),
        "mcpgw serve until ready, patterns": lambda: _ready(folder / "none", ports["none"]),
        "mcpgw serve until ready, patterns and NER": lambda: _ready(folder / "en_core_web_sm", ports["en_core_web_sm"]),
    }
    taken: dict[str, list[float]] = {name: [] for name in starts}
    for start in starts.values():
        start()  # once for the page cache and for .pyc files
    for _ in range(rounds):
        for name, start in starts.items():
            repeats = 1 if "serve" in name else quick
            taken[name] += [start() for _ in range(repeats)]
    base = taken["python -c pass"]
    rows = tuple(
        (name, median(s) * 1e3, ratio(median(s), median(base)), min(s) * 1e3, ratio(min(s), min(base)))
        for name, s in taken.items()
    )
    yield Findings(
        title="startup",
        columns=("what", "median ms", "of Python's own", "quickest ms", "of Python's quickest"),
        rows=rows,
        note="Wall clock, warm page cache. Ready: /readyz answers 200, so ledger, policy, catalog and redactor work.",
    )


def _program() -> str:
    return str(Path(sys.executable).parent / "mcpgw")


def _finished(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "TERM": "dumb"})
    return time.perf_counter() - began


def _ready(folder: Path, port: int) -> float:
    began = time.perf_counter()
    with running([_program(), "serve"], folder=folder, log="serve.log") as pid:
        await_http(f"http://127.0.0.1:{port}/readyz", lambda status: status == 200, pid)
        return time.perf_counter() - began
