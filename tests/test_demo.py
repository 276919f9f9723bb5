"""The demo is the main job on real input: it runs, whole, and says so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROMISES = (
    "Bob may transfer money; Alice does not even see it.",
    "No name, no SSN, no e-mail address left the gateway.",
    "The time server, from PyPI, answers through the same endpoint.",
    "So does the git server, from PyPI.",
    "Hidden and unknown tools get the same answer.",
    "Blocked by the rule no-structure; the bank was not asked.",
    "Blocked by the rule books-are-read-only; the bank was not asked.",
    "A harmless question is answered, and redacted.",
    "Held, and nothing was moved.",
    "Bob cannot approve his own call.",
    "Carol approved: the identical call ran, once.",
    "A duplicate gets the same result; still one transfer.",
    "One dollar more is another call, and is held again.",
    "Held: the leads are asked, and none of them answers.",
    "Silence is not consent: now the heads are asked, and Dave finds it on his list.",
    "Dave approved: the account is closed, once.",
    "Carol sees in sentences what would be granted, not only an example.",
    "Two rents are paid at once, each counted against the grant; nobody had to be asked again.",
    "901 is more than was granted for one transfer: held by itself.",
    "200 would make it more than 1,500 in all: held by itself.",
    "Carol took the grant back: 100, which would have fitted, is held.",
    "Verified against a checkpoint that an auditor would keep elsewhere.",
    "Found, and located: record",
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Play the story once, with the servers from PyPI that scripts/upstreams has installed already."""
    folder = tmp_path_factory.mktemp("demo") / "gateway"
    folder.mkdir()
    (folder / ".mcpgw-demo").touch()
    (folder / "upstreams").symlink_to(ROOT / ".venv-upstreams")
    environ = {**os.environ, "NO_COLOR": "1"}
    command = [sys.executable, "-m", "mcpgw", "demo", str(folder)]
    return folder, subprocess.run(command, env=environ, capture_output=True, text=True, timeout=480)


@pytest.mark.slow
def test_the_story_is_told_to_its_end(told: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    _, done = told
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    kept = [line.removeprefix("✓ ").rstrip() for line in done.stdout.splitlines() if line.startswith("✓ ")]
    assert [promise for promise in PROMISES if not any(line.startswith(promise) for line in kept)] == []


@pytest.mark.slow
def test_the_folder_it_leaves_is_a_working_gateway(told: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = told
    environ = {**os.environ, "BANK_TOKEN": "the-banks-own-token"}
    checked = subprocess.run(
        [sys.executable, "-m", "mcpgw", "check", "--json"], cwd=folder, env=environ, capture_output=True, text=True, timeout=120
    )
    findings = [json.loads(line) for line in checked.stdout.splitlines()]
    assert checked.returncode == 0, findings
    assert {finding["verdict"] for finding in findings} == {"ok"}, findings


def test_it_does_not_touch_a_folder_that_it_has_not_made(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    done = subprocess.run([sys.executable, "-m", "mcpgw", "demo", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "was not made by the demo" in done.stderr
    assert (tmp_path / "data").is_dir()
