"""Mistakes in a policy, and suggestions for them."""

import difflib
from collections.abc import Iterable

from mcpgw.core.errors import ConfigError


class Mistake(Exception):
    """Something wrong at one key of an entry; who knows the entry makes it a `ConfigError`."""

    def __init__(self, key: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.key = key
        self.hint = hint

    def at(self, entry: str) -> ConfigError:
        return ConfigError(str(self), where=f"{entry}.{self.key}", hint=self.hint)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a suggestion as a sentence, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else ""


def known_names(what: str, known: Iterable[str]) -> str:
    """Return a sentence that lists what there is."""
    names = ", ".join(sorted(known))
    return f"There are these {what}: {names}." if names else f"There are no {what} yet."
