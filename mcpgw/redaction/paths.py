"""Column and path rules: `rows[*].ssn`, `**.email`, `customer.name`, `$.a[0]['b c']`.

`*` stands for any one key or index, `**` for any number of them, none included. A rule matches a value at exactly that path,
and everything below it. Paths start at the root of a document: the arguments, `structuredContent`, or the JSON in a text.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mcpgw.core.errors import ConfigError

_STEP = re.compile(
    r"\.?(?:(?P<name>\*\*|\*|[^.\[\]*'\"]+)|\[(?P<index>\*|\d+)\]|\[(?P<quote>['\"])(?P<quoted>.*?)(?P=quote)\])"
)


@dataclass(frozen=True, slots=True)
class PathRule:
    source: str
    steps: tuple[str, ...]
    """Keys as text, indices as `[0]`, wildcards as `*`, `[*]` and `**`."""

    def covers(self, path: Sequence[str]) -> bool:
        """Tell whether the rule matches the path or a container of it. `path` holds keys, and indices as `[3]`."""
        return _covers(self.steps, path, 0, 0, {})


def _covers(steps: Sequence[str], path: Sequence[str], step: int, at: int, seen: dict[tuple[int, int], bool]) -> bool:
    if step == len(steps):
        return True  # everything below a match is covered
    key = (step, at)
    if key not in seen:
        if steps[step] == "**":
            seen[key] = any(
                _covers(steps, path, step + 1, later, seen)
                for later in range(at, len(path) + 1)
                if step + 1 < len(steps) or later <= at
            )
        else:
            seen[key] = at < len(path) and _matches(steps[step], path[at]) and _covers(steps, path, step + 1, at + 1, seen)
    return seen[key]


def _matches(step: str, part: str) -> bool:
    if step == "*":
        return True
    return part.startswith("[") if step == "[*]" else step.casefold() == part.casefold()


def parse(source: str) -> PathRule:
    """Return the rule of a path expression.

    Raises:
        ConfigError: it is not one.
    """
    steps: list[str] = []
    position = 2 if source.startswith("$.") else int(source.startswith("$"))
    while position < len(source):
        match = _STEP.match(source, position)
        if match is None:
            raise ConfigError(
                f"not a path: {source!r} stops making sense at character {position + 1}",
                hint="Write it like rows[*].ssn or **.email.",
            )
        index = match["index"]
        steps.append(f"[{index}]" if index is not None else match["name"] or match["quoted"] or "")
        position = match.end()
    if not steps:
        raise ConfigError("an empty path masks nothing and everything", hint="Write it like rows[*].ssn or **.email.")
    return PathRule(source, tuple(steps))


class Rules:
    """The column and path rules of one call, compiled."""

    __slots__ = ("_columns", "_paths")

    def __init__(self, columns: Iterable[str], paths: Iterable[str]) -> None:
        self._columns = frozenset(name.strip().casefold() for name in columns)
        self._paths = tuple(parse(path) for path in paths)

    def detector(self, key: str, path: Sequence[str]) -> str:
        """Return the detector that masks a value by rule, or the empty string."""
        if not self._columns and not self._paths:
            return ""
        if key.strip().casefold() in self._columns:
            return "column@1"
        if self._columns and any(part.casefold() in self._columns for part in path):
            return "column@1"
        return "path@1" if any(rule.covers(path) for rule in self._paths) else ""
