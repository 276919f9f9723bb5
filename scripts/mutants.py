"""Run mutmut on a copy of the project, a file of the trusted core after the other, and compare with docs/mutants.md."""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/mutants.md"
WANTED = 0.90
"""Share of the mutants of each file that die."""
CORE = {
    "canonical": ("mcpgw/core/canonical.py", ["tests/core/test_canonical.py"]),
    "tree": ("mcpgw/ledger/tree.py", ["tests/ledger/test_tree.py"]),
    "record": ("mcpgw/ledger/record.py", ["tests/ledger/test_record.py"]),
    "checkpoint": ("mcpgw/ledger/checkpoint.py", ["tests/ledger/test_checkpoint.py", "tests/ledger/test_keys_and_nodes.py"]),
    "writer": (
        "mcpgw/ledger/writer.py",
        [f"tests/ledger/test_{name}.py" for name in ("writer", "journal", "faults", "rotation")],
    ),
}
"""Each file, and the fast tests that are to kill its mutants."""
QUICK = "not postgres and not power and not while_the_disk and not real_file and not medium and not dies and not go_on"
CONFIG = """

[tool.mutmut]
source_paths = ["mcpgw"]
only_mutate = {files}
also_copy = ["tests", "docs", "pyproject.toml", "alarm.py"]
pytest_add_cli_args = ["-p", "alarm", "-p", "no:cacheprovider", "--hypothesis-profile=mutants", "-k", "{quick}"]
pytest_add_cli_args_test_selection = {tests}
"""
ALARM = """
import signal

def pytest_runtest_setup():
    signal.alarm(40)

def pytest_sessionfinish():
    signal.alarm(0)
"""
"""Ends the process of a mutant that lets a test wait for ever; mutmut itself waits fifteen times as long as all tests take."""
SURVIVED, UNCHECKED = 0, None
"""Of mutmut's exit codes; any other is a death, by a failed test or because the mutant never ended."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=__doc__)
    parser.add_argument("files", nargs="*", choices=[*CORE, []], help=f"of {', '.join(CORE)}; all of them, if none is named")
    explained, bad = set(re.findall(r"`(mcpgw\.[\w.ǁ]+__mutmut_\d+)`", PAGE.read_text())), 0
    for name in parser.parse_args().files or CORE:
        codes = mutated(*CORE[name])
        lived = sorted(mutant for mutant, code in codes.items() if code == SURVIVED)
        share = 1 - len(lived) / len(codes)
        unexplained = [mutant for mutant in lived if mutant not in explained]
        print(f"{name}: {len(codes)} mutants, {len(codes) - len(lived)} died ({share:.1%}), by {dict(Counter(codes.values()))}")
        print("".join(f"✗ nobody explains why {mutant} lives\n" for mutant in unexplained), end="")
        bad += bool(unexplained) or share < WANTED
    return bad


def mutated(file: str, tests: list[str]) -> dict[str, int | None]:
    """Return mutmut's exit code for each mutant of the file."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")  # noqa: S603
    with tempfile.TemporaryDirectory(prefix="mcpgw-mutants-") as temporary:
        for name in filter(None, listed):
            copy = Path(temporary) / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT / name).read_bytes())
        with (Path(temporary) / "pyproject.toml").open("a") as config:
            config.write(CONFIG.format(files=json.dumps([file]), tests=json.dumps(tests), quick=QUICK))
        (Path(temporary) / "alarm.py").write_text(ALARM)
        done = subprocess.run([sys.executable, "-m", "mutmut", "run"], cwd=temporary, capture_output=True, text=True)
        results = Path(temporary) / "mutants" / f"{file}.meta"
        codes = json.loads(results.read_text())["exit_code_by_key"] if results.exists() else {}
        if not codes or UNCHECKED in codes.values():
            sys.exit(f"mutmut did not try all mutants of {file}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return dict(codes)


if __name__ == "__main__":
    sys.exit(main())
