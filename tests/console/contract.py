"""Holds a running gateway to docs/openapi.json by schemathesis: what the description allows, what it forbids, and nothing else.

`python -m tests.console.contract --examples 500 --seed 1`. Promised is, whatever is sent: no error of the server; no status,
kind of content or shape of an answer but those described; nothing taken that the description forbids, and nothing without a
credential.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from tests.console.bank import CONFIG, Bank, open_bank
from tests.console.contract_hooks import TALLY

ROOT = Path(__file__).parents[2]
DESCRIPTION = ROOT / "docs/openapi.json"
WITH_API = CONFIG.replace("[console]", "[console]\napi = true")
_WHO = "dora"
"""Approves and audits, so that every operation is open to her."""
_SETTINGS = """
[auth.openapi.bearer]
bearer = {key}

[generation]
with-security-parameters = false

[checks.negative_data_rejection]
expected-statuses = [400, 404, 405, 413, 415, 422]

[checks.positive_data_acceptance]
expected-statuses = ["2xx", 403, 404, 409, 410, 422]

[parameters]
"path.approval_id" = {{ dictionary = "approvals", probability = 0.7 }}
"path.session" = {{ dictionary = "sessions", probability = 0.7 }}
"path.seq" = {{ dictionary = "records", probability = 0.7 }}

[dictionaries]
approvals.values = {approvals}
sessions.values = {sessions}
records.values = {records}
"""
"""No credentials are made up but those of the check on them. 403 and 409 say of what fits the description that it is not hers
to do, or too late, 410 and 422 that it is a cursor of nobody's, or a day that no calendar has."""


@dataclass
class Held:
    """What came of a run."""

    said: str
    """By schemathesis, the failures with a request that shows each."""
    kept: bool
    """Whether the gateway kept to the description."""
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How often each operation was answered with each status."""

    def statuses(self, operation: str) -> set[int]:
        return {status for name, status in self.answers if name == operation}


async def hold(bank: Bank, examples: int, seed: int, timeout_s: float, only: str = "") -> Held:
    """Try out every operation with about so many requests made up for each, beside those that cover its description; or `only`
    one, with those made up alone."""
    approvals = [await bank.hold(7_900_00 + number) for number in range(8)]
    (first,) = bank.folder.records("call.held", approval_id=approvals[0])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {
            "key": bank.key(_WHO),
            "approvals": [*approvals, "apr_nobodys"],
            "sessions": [first["session"]["id"], "nobodys"],
            "records": [str(first["seq"]), "999999999"],
        }
        filled = {what: json.dumps(value) for what, value in settings.items()}
        (folder / "schemathesis.toml").write_text(_SETTINGS.format(**filled), encoding="utf-8")
        command = [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml"),
            "run", str(DESCRIPTION), "--url", bank.url, "--checks", "all", "--continue-on-failure",
            "--max-examples", str(examples), "--seed", str(seed), "--generation-database", "none", "--no-color",
        ]  # fmt: skip
        environ = {
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.console.contract_hooks",
            "PYTHONPATH": str(ROOT),
            TALLY: f"{name}/tally",
        }
        if only:
            command += ["--include-operation-id", only, "--phases", "fuzzing"]
        with anyio.fail_after(timeout_s):
            done = await anyio.run_process(command, cwd=folder, env=environ, check=False, stderr=subprocess.STDOUT)
        tally = (folder / "tally").read_text(encoding="utf-8") if (folder / "tally").exists() else ""
    answers = Counter((operation, int(status)) for operation, status in re.findall(r"(\w+) (\d+)\n", tally))
    return Held(done.stdout.decode().replace(bank.key(_WHO), "…"), done.returncode == 0, answers)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/fuzz_api", description="Hold a gateway to docs/openapi.json.")
    parser.add_argument("--examples", type=int, default=500, help="requests made up for each operation (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of what is made up (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_bank(Path(folder), WITH_API) as bank:
        held = anyio.run(hold, bank, options.examples, options.seed, 24 * 3600.0)
    print(held.said)
    for (operation, status), count in sorted(held.answers.items()):
        print(f"{operation:20} {status} {count:>7}")
    sys.exit(0 if held.kept else 1)


if __name__ == "__main__":
    main()
