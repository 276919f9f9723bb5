"""ContextForge's filter, in .venv-bench: reads lists of texts as JSON lines; answers each with the seconds of masking it."""

import json
import sys
import time

from cpex_pii_filter import PIIDetectorRust  # type: ignore[import-not-found]  # it lives in .venv-bench alone


def main() -> None:
    detector = PIIDetectorRust({})
    for line in sys.stdin:
        texts = json.loads(line)
        began = time.perf_counter()
        for text in texts:
            detector.mask(text, detector.detect(text))
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
