"""Bounded memory of decisions: what was seen lately need not be judged again."""

from collections import OrderedDict
from typing import TypeVar

ENTRIES = 20_000
"""Texts that one memory holds; the oldest goes first. They stay in the worker's memory and nowhere else."""

_K = TypeVar("_K")
_V = TypeVar("_V")


def remember(memory: OrderedDict[_K, _V], key: _K, value: _V, entries: int = ENTRIES) -> None:
    if len(memory) >= entries and key not in memory:
        memory.popitem(last=False)
    memory[key] = value
