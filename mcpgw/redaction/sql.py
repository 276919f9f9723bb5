"""`INSERT INTO t (ssn, name) VALUES ('…', '…'), (…)`: a table written as SQL."""

import re
from collections.abc import Iterator

from mcpgw.redaction.tables import Cell, Table

INSERT = re.compile(r"\(([^()]{1,4000})\)\s*VALUES\s*(?=\()", re.IGNORECASE)
_VALUE = re.compile(r"\s*(?:N?'((?:[^']|'')*)'|([^,()']*))\s*([,)]|$)")
_NEXT_ROW = re.compile(r"\s*,\s*(?=\()")


def inserts(text: str) -> Iterator[Table]:
    """Yield a table for every INSERT with named columns."""
    for head in INSERT.finditer(text):
        header = tuple(name.strip(' \t\n"`[]') for name in head[1].split(","))
        rows: list[tuple[Cell, ...]] = []
        position = head.end()
        while position < len(text) and text[position] == "(":
            cells, position = _row(text, position + 1)
            rows.append(cells)
            following = _NEXT_ROW.match(text, position)
            position = following.end() if following else len(text)
        end = next((row[-1].end for row in reversed(rows) if row), head.end())  # the last row may be cut off
        yield Table(head.start(), end, header, tuple(rows))


def _row(text: str, position: int) -> tuple[tuple[Cell, ...], int]:
    cells: list[Cell] = []
    while True:
        value = _VALUE.match(text, position)
        if value is None:
            return tuple(cells), len(text)
        group = 1 if value[1] is not None else 2
        cells.append(Cell(*value.span(group), quoted=False))
        position = value.end()
        if value[3] != ",":
            return tuple(cells), position
