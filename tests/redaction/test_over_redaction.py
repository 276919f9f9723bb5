"""The script that measures what is masked without need counts words, and fails above its bound."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real_servers import ROOT

HARMLESS = {"id": "1", "text": "Order 4417 shipped on Friday, 3 parcels.", "spans": []}
MASKED = {"id": "2", "text": "Mail goes to desk@bank.example", "spans": []}
LABELLED = {"id": "3", "text": "SSN 219-09-9999", "spans": [{"start": 4, "end": 15, "label": "US_SSN", "value": "219-09-9999"}]}
MEASURED = [
    ([HARMLESS, LABELLED], 0, "0 of 5 words masked in 1 rows without personal data: 0.00 %"),
    ([HARMLESS, MASKED], 1, "3 of 10 words masked in 2 rows without personal data: 30.00 %"),
    ([LABELLED], 1, "nothing was measured"),
]


@pytest.mark.parametrize(("rows", "code", "said"), MEASURED)
def test_words_that_are_masked_without_need_are_counted(rows: list[object], code: int, said: str, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = [sys.executable, "scripts/over_redaction.py", str(data), "--model", "none"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr
