"""Where a long-running command logs."""

import logging
import sys


def log_to_stderr(*, verbose: bool = False) -> None:
    """Send the log of the process to stderr: standard output may carry a protocol, or what was asked for."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
