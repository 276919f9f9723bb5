"""TOML files of admins: parsed with the standard library, and every complaint with its file, line and a suggestion."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Sequence
from typing import Any

from mcpgw.core.errors import ConfigError

_HEADER = re.compile(r"\s*(\[\[?)\s*(?P<name>[^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_PAIR = re.compile(r"""\s*(?P<key>(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def parse(text: str, file: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ConfigError: not TOML; the place is `file:line`.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)|\(at end of document\)", str(error))
        line = found.group(1) if found and found.group(1) else str(text.count("\n") + 1)
        message = _plain(str(error).partition(" (at ")[0])
        raise ConfigError(f"this is not TOML: {message}", where=f"{file}:{line}") from error


def _plain(message: str) -> str:
    """Return the library's message without Python's tuples: `Cannot declare ('a', 'b') twice`."""
    return re.sub(r"\((?:'[^']*',? ?)+\)", lambda found: "`" + ".".join(re.findall("'([^']*)'", found[0])) + "`", message)


def line_of(text: str, path: Sequence[str | int]) -> int:
    """Return the 1-based line where the key at `path` is written, or that of the nearest table around it, else 1.

    An integer in the path counts the entries of an array of tables, from 0.
    """
    best_line, best_length = 1, 0
    for line, found in _keys(text):
        if len(found) > best_length and tuple(path[: len(found)]) == found:
            best_line, best_length = line, len(found)
    return best_line


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """Return a sentence for a key that does not exist: the nearest known one, or all of them where they are few."""
    choices = sorted(known)
    near = difflib.get_close_matches(wrong, choices, n=1, cutoff=0.6)
    if near:
        return f"Did you mean `{near[0]}`?"
    return f"Known here: {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""


def _keys(text: str) -> list[tuple[int, tuple[str | int, ...]]]:
    """List every table header and `key =` with its line and full path, in order; multi-line values are skipped."""
    found: list[tuple[int, tuple[str | int, ...]]] = []
    table: tuple[str | int, ...] = ()
    counts: dict[tuple[str | int, ...], int] = {}
    inside = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if inside:
            inside = "" if inside in line else inside
            continue
        header = _HEADER.match(line)
        if header:
            name: tuple[str | int, ...] = _indexed(_parts(header["name"]), counts)
            if header[1] == "[[":
                counts[name] = counts.get(name, -1) + 1
                name = (*name, counts[name])
            table = name
            found.append((number, table))
        elif pair := _PAIR.match(line):
            found.append((number, (*table, *_parts(pair["key"]))))
            inside = _opened(line[pair.end() :])
    return found


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _indexed(parts: Sequence[str], counts: dict[tuple[str | int, ...], int]) -> tuple[str | int, ...]:
    """Insert the current index after each array of tables on the way: `rules.sql` below `[[rules]]` is `rules.0.sql`."""
    path: tuple[str | int, ...] = ()
    for position, part in enumerate(parts):
        path = (*path, part)
        if path in counts and position < len(parts) - 1:
            path = (*path, counts[path])
    return path


def _opened(value: str) -> str:
    """Return the delimiter that a value opens and does not close in its line, else nothing."""
    for delimiter in ('"""', "'''"):
        if value.count(delimiter) % 2:
            return delimiter
    return ""
