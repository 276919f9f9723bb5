"""Fail unless every file of the rooms below is covered to the last branch; print the others, worst first."""

import json
import sys
from pathlib import Path

TRUSTED = (
    "mcpgw/core/canonical.py",
    "mcpgw/ledger/checkpoint.py",
    "mcpgw/ledger/record.py",
    "mcpgw/ledger/tree.py",
    "mcpgw/ledger/writer.py",
)
"""What the record's guarantees rest on. `scripts/mutants` tests its tests."""
WHOLE = ("mcpgw/core/", "mcpgw/interview.py", "mcpgw/pipeline.py", "mcpgw/ports.py", "mcpgw/policy/", *TRUSTED)
"""100 % of lines and branches, per file."""
SHOWN = 10


def main(report: str) -> int:
    files = json.loads(Path(report).read_text())["files"]
    covered = {name: entry["summary"]["percent_covered"] for name, entry in files.items()}
    short = {name: percent for name, percent in covered.items() if name.startswith(WHOLE) and percent < 100}
    for name, percent in sorted(short.items()):
        missing = files[name]["missing_lines"], files[name]["missing_branches"]
        print(f"coverage: {name} is at {percent:.1f} %, must be 100 %: lines {missing[0]}, branches {missing[1]}")
    if absent := [name for name in TRUSTED if name not in covered]:
        print(f"coverage: of the trusted core {', '.join(absent)} was not measured")
        return 1
    if not any(name.startswith(WHOLE) for name in covered):
        print("coverage: none of the files that must be covered was measured")
        return 1
    worst = sorted((percent, name) for name, percent in covered.items() if percent < 100)[:SHOWN]
    print("coverage: least covered of the rest: " + ", ".join(f"{name} {percent:.0f} %" for percent, name in worst))
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
