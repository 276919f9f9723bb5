"""`python -m bench [calls|listing|startup|ledger|redaction|search|all] [--short] [--json] [--markdown]`."""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console

from bench import calls, ledger, listing, redaction, search, startup
from bench.machine import machine
from bench.report import Findings

BENCHMARKS: dict[str, Callable[..., Iterator[Findings]]] = {
    "startup": startup.run,
    "calls": calls.run,
    "listing": listing.run,
    "ledger": ledger.run,
    "redaction": redaction.run,
    "search": search.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures mcpgw beside its peers.")
    parser.add_argument("what", nargs="?", default="all", choices=[*BENCHMARKS, "all"])
    parser.add_argument("--short", action="store_true", help="a second or two of each: shows that it runs, and nothing else")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--markdown", action="store_true", help="print tables for a page")
    parser.add_argument(
        "--folder", type=Path, help="work below this folder, so on its disk (default: the system's temporary one)"
    )
    parser.add_argument("--data", type=Path, help='redaction: measure on this file of JSON lines {"text": …} as well')
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that whatever was started is ended first
    wide = Console(width=None if sys.stdout.isatty() else 160)
    chosen = BENCHMARKS if options.what == "all" else {options.what: BENCHMARKS[options.what]}
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mcpgw-bench-", dir=options.folder) as temporary:
        folder = Path(temporary)
        on = machine(folder)
        if not options.json:
            wide.print(on.line(), highlight=False)
            wide.print()
        found: list[Findings] = []
        for name, run in chosen.items():
            measure = partial(run, data=options.data) if name == "redaction" else run
            for findings in measure(folder / name, short=options.short):
                found.append(findings)
                if options.markdown:
                    print(f"### {findings.title}\n\n{findings.markdown()}\n\n{findings.note}\n", flush=True)
                elif not options.json:
                    findings.show(wide)
    if options.json:
        json.dump(
            {"machine": asdict(on), "short": options.short, "findings": [f.as_json() for f in found]}, sys.stdout, indent=1
        )
        print()


if __name__ == "__main__":
    main()
