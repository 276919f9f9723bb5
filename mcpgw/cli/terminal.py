"""Where commands print their tables."""

import os
import sys

from rich.console import Console

PIPE_WIDTH = 240
"""Columns where nothing says how wide it is, as in a pipe or a file: wide enough for a row to stay on one line."""


def terminal() -> Console:
    """Return standard output: as wide as the terminal, or as `COLUMNS` says."""
    told = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if told else PIPE_WIDTH)
