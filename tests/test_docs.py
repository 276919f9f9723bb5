"""What the docs show is true: commands exist and run, links lead somewhere, the README's way to a gateway works."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from mcpgw.cli.main import VERBS

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
COMMAND = re.compile(r"(?:^    (?:\$ )?|`)(mcpgw [a-z][^`\n]*)", re.MULTILINE)


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for found in COMMAND.finditer(page.read_text()):
            yield str(page.relative_to(ROOT)), found[1].split("  #")[0].split(" | ")[0].split(" > ")[0].split(" < ")[0].strip()


@cache
def help_of(*verbs: str) -> str:
    environ = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run([sys.executable, "-m", "mcpgw", *verbs, "--help"], capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("page", "command"), sorted(set(commands())))
def test_a_command_in_the_docs_exists_with_all_its_options(page: str, command: str) -> None:
    words = [word for word in shlex.split(command.replace("…", "X").replace("|", " "), comments=True)[1:] if word]
    assert words[0] in {verb.name for verb in VERBS}, f"{page}: {command}"
    text = help_of(words[0])
    verbs = [words[0]]
    if len(words) > 1 and not words[1].startswith("-") and re.search(rf"^  {re.escape(words[1])} ", text, re.MULTILINE):
        verbs.append(words[1])
        text = help_of(*verbs)
    for option in (word.split("=")[0] for word in words if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text), f"{page}: `{command}`: no {option} in {verbs}"


SCRIPT = re.compile(
    r"^    (scripts/(?:soak|approvals_soak|power_cuts|store_faults|tamper|evidence_agreement|siem_hour|mutants|fuzz_wire"
    r"|fuzz_api)\b[^\n#]*)",
    re.MULTILINE,
)
PROGRAMS = {
    "scripts/soak": ["-m", "tests.faults.soak"],
    "scripts/approvals_soak": ["-m", "tests.approval.soak"],
    "scripts/store_faults": ["-m", "tests.faults.store_faults"],
    "scripts/power_cuts": ["tests/ledger/power_cuts.py"],
    "scripts/tamper": ["tests/ledger/tamper.py"],
    "scripts/evidence_agreement": ["tests/ledger/evidence_agreement.py"],
    "scripts/siem_hour": ["tests/sinks/hour.py"],
    "scripts/mutants": ["scripts/mutants.py"],
    "scripts/fuzz_wire": ["-m", "tests.inbound.fuzz"],
    "scripts/fuzz_api": ["-m", "tests.console.contract"],
}
"""What the scripts run, once everything is set up."""


@pytest.mark.parametrize("script", PROGRAMS)
def test_a_long_run_in_the_docs_has_the_options_that_it_is_shown_with(script: str) -> None:
    shown = {line for page in PAGES for line in SCRIPT.findall(page.read_text()) if line.split()[0] == script}
    assert shown
    done = subprocess.run([sys.executable, *PROGRAMS[script], "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for option in re.findall(r"--[a-z]+", " ".join(shown)):
        assert option in done.stdout, (shown, done.stdout)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_no_dependency_is_under_the_gpl_and_the_page_lists_them_all() -> None:
    script = runpy.run_path(str(ROOT / "scripts/licences.py"))
    rows = [line for line in script["page"]().splitlines() if line.startswith("| ")]
    assert not [row for row in rows if script["FORBIDDEN"].search(row)]
    page = (ROOT / "docs/licences.md").read_text()
    assert [name for name, conditional in script["locked"]().items() if not conditional and f"| {name} |" not in page] == []


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "AGPL-3.0", "GNU General Public License v3 (GPLv3)", "GNU Affero General"])
def test_the_licence_check_knows_what_it_looks_for(licence: str) -> None:
    forbidden = runpy.run_path(str(ROOT / "scripts/licences.py"))["FORBIDDEN"]
    assert forbidden.search(licence)
    assert not forbidden.search("LGPL-2.1") and not forbidden.search("GNU Lesser General Public License v2")


def test_no_file_names_a_package_registry() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    hosts = re.compile(r"pypi\.or" + r"g|pythonhoste" + r"d|registry\.npmj" + r"s|deb\.debia" + r"n")
    texts = [ROOT / name for name in listed if name and (ROOT / name).suffix not in {".png", ".gz"} and (ROOT / name).exists()]
    assert [str(path.relative_to(ROOT)) for path in texts if hosts.search(path.read_text(errors="ignore"))] == []


@pytest.mark.slow
def test_the_readmes_way_from_nothing_to_a_gateway_works(tmp_path: Path) -> None:
    """Every line of the block is run, in order, but for the installation and the server that never ends."""
    block = (ROOT / "README.md").read_text().partition("## Your own gateway")[2].partition("\n\n`init`")[0]
    lines = [line.partition("  #")[0].strip() for line in block.splitlines() if line.startswith("    ")]
    assert [line.split()[0] for line in lines] == ["pip", "mcpgw", "cd", *["mcpgw"] * 4]
    server = {"command": str(ROOT / ".venv-upstreams/bin/mcp-server-time"), "args": []}
    (tmp_path / ".claude.json").write_text(json.dumps({"mcpServers": {"time": server}}))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8", "MCPGW_REDACTION__MODEL": "none"}
    # catalog diff exits with 1 where there are differences, as diff does
    run = [f"{line} || [ $? = 1 ]" if line == "mcpgw catalog diff" else line for line in lines[1:-1]]
    script = "\n".join(["set -eux", *run])
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "time: 2 tools, all as accepted" in done.stdout
    assert '"MCPGW_API_KEY": "mcpgw_' in done.stdout
