"""Say what share of the words is masked in labelled rows that hold no personal data.

`.venv/bin/python scripts/over_redaction.py DATA.jsonl[.gz]`: rows are JSON lines `{"id", "text", "spans": [...]}`. Those
without spans are redacted as a client would get them, with the default settings, or with `--model none` by patterns alone. A
word is three letters or digits or more; it is masked if the redacted text has it fewer times. Exits with 1 where the share is
above `--most` (per cent).
"""

import argparse
import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio

from mcpgw.core.model import Masking
from mcpgw.redaction import PresidioRedactor, RedactionConfig

_WORD = re.compile(r"[^\W_]{3,}")


def rows_without_labels(data: Path) -> Iterator[str]:
    with gzip.open(data, "rt", encoding="utf-8") if data.suffix == ".gz" else data.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if not row["spans"]:
                yield row["text"]


async def measure(texts: list[str], model: str) -> tuple[int, int]:
    """Return how many words the texts have, and how many of them are masked."""
    redactor = PresidioRedactor(RedactionConfig().replace(model=model))
    await redactor.start()
    words = masked = 0
    try:
        for text in texts:
            clean, _ = await redactor.clean_text(text, Masking())
            said = Counter(_WORD.findall(text))
            words += said.total()
            masked += (said - Counter(_WORD.findall(clean))).total()
    finally:
        await redactor.aclose()
    return words, masked


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=RedactionConfig().model)
    parser.add_argument("--most", type=float, default=0.5, help="per cent (default: %(default)s)")
    options = parser.parse_args()
    texts = list(rows_without_labels(options.data))
    words, masked = anyio.run(measure, texts, options.model)
    if not words:
        print("there are no rows without labels, so nothing was measured")
        return 1
    share = 100 * masked / words
    print(f"{masked} of {words} words masked in {len(texts)} rows without personal data: {share:.2f} %")
    return int(share > options.most)


if __name__ == "__main__":
    sys.exit(main())
