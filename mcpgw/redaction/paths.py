"""Column and path rules: `rows[*].ssn`, `**.email`, `customer.name`, `$.a[0]['b c']`.

`*` stands for any one key or index, `**` for any number of them, none included. A rule matches a value at exactly that path,
and everything below it. Paths start at the root of a document: the arguments, `structuredContent`, or the JSON in a text.
"""

import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import MaskingRule
from mcpgw.redaction.config import Operator

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


_COLUMN = re.compile(r"column:\s*(?:([\"'])(?P<quoted>.+)\1|(?P<bare>[^\"']+))")


def parse_place(source: str) -> PathRule | str:
    """Return the path rule of an expression, or the column's name of `column:"Tax ID"`, folded.

    Raises:
        ConfigError: it is neither.
    """
    if not source.strip().startswith("column:"):
        return parse(source)
    column = _COLUMN.fullmatch(source.strip())
    name = "" if column is None else (column["quoted"] or column["bare"]).strip()
    if not name:
        raise ConfigError(f"{source!r} names no column", hint='Write it like column:"Tax ID".')
    return name.casefold()


class Rules:
    """The column and path rules of one call, compiled. `operators` says, by detector, what a rule of its own does."""

    __slots__ = ("_columns", "_paths", "_special", "operators")

    def __init__(
        self,
        columns: Iterable[str] = (),
        paths: Iterable[str] = (),
        special: Sequence[MaskingRule] = (),
        members: frozenset[str] = frozenset(),
    ) -> None:
        places = [parse_place(path) for path in paths]
        named = [place for place in places if isinstance(place, str)]
        self._columns = frozenset([*(name.strip().casefold() for name in columns), *named])
        self._paths = tuple(place for place in places if isinstance(place, PathRule))
        self._special = tuple((f"rule:{rule.path}@1", parse_place(rule.path)) for rule in special)
        self.operators: dict[str, Operator] = {}
        for rule in special:
            opened = not members.isdisjoint(rule.unmasked_for)
            if opened or rule.operator:
                self.operators.setdefault(f"rule:{rule.path}@1", Operator.KEEP if opened else Operator(rule.operator))

    def __bool__(self) -> bool:
        return bool(self._columns or self._paths or self._special)

    def detector(self, key: str, path: Sequence[str]) -> str:
        """Return the detector that masks a value by rule, or the empty string. Rules without readers go first."""
        if self._columns and _under(self._columns, key, path):
            return "column@1"
        if self._paths and any(rule.covers(path) for rule in self._paths):
            return "path@1"
        for detector, place in self._special:
            if _under({place}, key, path) if isinstance(place, str) else place.covers(path):
                return detector
        return ""


def _under(columns: Set[str], key: str, path: Sequence[str]) -> bool:
    return key.strip().casefold() in columns or any(part.casefold() in columns for part in path)
