"""Every command of the pages for auditors and examiners is run, in order, on a log of the day that they speak of."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pyrage
import pytest
from evidence_story import tell
from ledger_parts import ORIGIN, Open
from stores import Kept

DOCS = Path(__file__).parent.parent.parent / "docs"
COMMAND = re.compile(r"^    ((?:mcpgw|python3) [^\n]*)", re.MULTILINE)


def commands(page: str) -> list[str]:
    return COMMAND.findall((DOCS / page).read_text())


def run(command: str, folder: Path) -> str:
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "COLUMNS": "200",
    }
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
async def bank(anyio_backend: str, open_ledger: Open, kept: Kept) -> Path:
    await tell(open_ledger)
    (kept.folder / "catalog").mkdir()
    (kept.folder / "config.toml").write_text(f'[ledger]\norigin = "{ORIGIN}"\n')
    return kept.folder


@pytest.mark.sqlite
def test_the_pages_commands_work_as_they_stand_there(bank: Path, tmp_path: Path) -> None:
    run("mcpgw checkpoint -o kept.checkpoint", bank)
    (bank / "auditor.key").write_text(str(pyrage.x25519.Identity.generate()))
    session = json.loads(run("mcpgw log --who alice --kind session.opened --json --limit 1", bank))["session"]["id"]
    said = {command: run(command.replace("019ab…", session), bank) for command in commands("auditors.md")}
    assert len(said) == 17
    found, none, listed, _, opened, replayed, raw, *reviews, exported, recorded, sealed, opened_raw, _, checked, compared = (
        said.values()
    )
    assert "bank__transfer" in found and "call.outcome" in found
    assert len(none.splitlines()) == 1 and '"alice"' in listed
    assert '"bank__transfer"' in (bank / "alice.csv").read_text()
    assert session in opened and "session.html" in replayed and "alice calls bank__transfer" in raw
    assert len(reviews) == 3 and "were not used in this time" in reviews[0]
    assert "alice.zip" in exported and '"evidence.exported"' in recorded
    assert "6 raw payloads are in it, sealed" in sealed and "alice calls bank__transfer" in opened_raw
    assert "SOUND" in checked and "records, given" in compared
    elsewhere = tmp_path / "examiner"
    elsewhere.mkdir()
    for name, place in (
        ("alice.zip", bank / "anchored.zip"),
        ("ledger.pub", bank / "keys/ledger.pub"),
        ("kept.checkpoint", bank / "kept.checkpoint"),
    ):
        (elsewhere / name).write_bytes(place.read_bytes())
    with zipfile.ZipFile(elsewhere / "alice.zip") as archive:
        archive.extractall(elsewhere)
    believed = [run(command, elsewhere) for command in commands("examiners.md")]
    assert len(believed) == 2
    assert "they came with the package" in believed[0] and "records, given" in believed[1]


def test_the_pictures_of_the_page_are_there() -> None:
    pages = (DOCS / "examiners.md").read_text() + (DOCS / "auditors.md").read_text()
    pictures = re.findall(r"\]\((images/[^)]*)\)", pages)
    assert len(pictures) == 4
    assert all((DOCS / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)
