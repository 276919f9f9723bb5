"""Tables in text: CSV and TSV, Markdown, psql. Each is found as a header with its words and the spans of every cell."""

import re
from dataclasses import dataclass
from typing import NamedTuple

MIN_COLUMNS = 2


class Cell(NamedTuple):
    start: int
    end: int
    """Of the cell's value in the text, without outer spaces; with its quotes where it is `quoted`."""
    quoted: bool


@dataclass(frozen=True, slots=True)
class Table:
    start: int
    end: int
    """Of the whole table in the text, header included."""
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    """Cells by row; a row may be shorter or longer than the header."""


_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_BORDER = re.compile(r"[ \t]*\+-[-+]+\+[ \t\r]*$")
_RULE = re.compile(r"\s*[|+]?\s*:?-{2,}:?\s*(?:[|+]\s*:?-{2,}:?\s*)*[|+]?\s*$")
_CSV_CELL = {
    delimiter: re.compile(rf'[ \t]*"(?:[^"]|"")*"[ \t]*(?={re.escape(delimiter)}|$)|[^{re.escape(delimiter)}\n]*')
    for delimiter in (",", "\t", ";", "|")
}
_HEADER_WORD = re.compile(r"[^\W\d][\w .#/()'&-]{0,60}$")

Line = tuple[int, int]


def tables(text: str) -> list[Table]:
    """Return the tables of a text, in order, without overlap."""
    if "\n" not in text:
        return []
    lines = [(m.start(), m.end() - (m.group()[-1] == "\n")) for m in _LINE.finditer(text)]
    found: list[Table] = []
    index = 0
    while index < len(lines) - 1:
        if _BORDER.match(text, *lines[index]) is not None:
            index += 1  # the upper border of a table drawn like MySQL's
            continue
        table, taken = _ruled(text, lines, index)
        if table is None:
            table, taken = _delimited(text, lines, index)
        if table is not None:
            found.append(table)
        index += taken
    return found


def _ruled(text: str, lines: list[Line], index: int) -> tuple[Table | None, int]:
    """A Markdown or psql table: a header line, a rule of dashes under it, and rows."""
    head, rule = text[slice(*lines[index])], text[slice(*lines[index + 1])]
    if "|" not in head or "-" not in rule or _RULE.match(rule) is None or not ("|" in rule or "+" in rule):
        return None, 1
    header = tuple(text[cell.start : cell.end] for cell in _piped(text, lines[index]))
    rows = []
    last = index + 2
    while last < len(lines) and "|" in text[slice(*lines[last])]:
        rows.append(_piped(text, lines[last]))
        last += 1
    return Table(lines[index][0], lines[last - 1][1], header, tuple(rows)), last - index


def _piped(text: str, line: Line) -> tuple[Cell, ...]:
    """Return the cells between the pipes of a line, with or without outer ones."""
    start, end = line
    while start < end and text[start] in " \t":
        start += 1
    while end > start and text[end - 1] in " \t\r":
        end -= 1
    if text[start : start + 1] == "|":
        start += 1
        if end > start and text[end - 1] == "|":
            end -= 1
    return _split(text, (start, end), "|")


def _split(text: str, line: Line, delimiter: str) -> tuple[Cell, ...]:
    """Return the cells of a line in which quotes hold nothing together."""
    cells: list[Cell] = []
    position, end = line
    for piece in text[position:end].split(delimiter):
        stop = position + len(piece)
        if piece and (piece[0] in ' \t"' or piece[-1] in " \t\r"):
            cells.append(_trimmed(text, position, stop))
        else:
            cells.append(Cell(position, stop, False))
        position = stop + 1
    return tuple(cells)


def _trimmed(text: str, start: int, end: int) -> Cell:
    while start < end and text[start] in " \t":
        start += 1
    while end > start and text[end - 1] in " \t\r":
        end -= 1
    quoted = end - start >= 2 and text[start] == '"' and text[end - 1] == '"'
    return Cell(start, end, quoted)


def _delimited(text: str, lines: list[Line], index: int) -> tuple[Table | None, int]:
    """CSV, TSV and the like: a header of words, and at least one row with as many cells. Pipes may close lines, too."""
    head = lines[index]
    for delimiter in "\t,;|":
        if text.count(delimiter, *head) < MIN_COLUMNS - 1:
            continue
        boxed = delimiter == "|" and text[slice(*head)].lstrip().startswith("|")
        cells, _ = (_piped(text, head), 1) if boxed else _row(text, head, delimiter, lines, index)
        header = tuple(_unquoted(text, cell) for cell in cells)
        if len(set(header)) != len(header) or not all(_HEADER_WORD.match(name) for name in header):
            continue
        rows: list[tuple[Cell, ...]] = []
        last = index + 1
        while last < len(lines):
            row, taken = (_piped(text, lines[last]), 1) if boxed else _row(text, lines[last], delimiter, lines, last)
            if len(row) != len(header):
                break
            rows.append(row)
            last += taken
        if rows and (len(rows) > 1 or last == len(lines) or len(header) > MIN_COLUMNS):
            return Table(head[0], lines[last - 1][1], header, tuple(rows)), last - index
    return None, 1


def _row(text: str, line: Line, delimiter: str, lines: list[Line], index: int) -> tuple[tuple[Cell, ...], int]:
    """Return a row's cells and how many lines it takes: a quoted cell may hold line breaks."""
    position, end = line
    if text.find('"', position, end) < 0:
        return _split(text, line, delimiter), 1
    taken = 1
    while text.count('"', position, end) % 2 and index + taken < len(lines) and taken < 50:
        end = lines[index + taken][1]
        taken += 1
    cells, stop = _cells(text, position, end, delimiter)
    if taken > 1 and stop < end:  # quotes that hold nothing together, such as inches: else the next lines would go unread
        cells, _ = _cells(text, *line, delimiter)
        taken = 1
    return cells, taken


def _cells(text: str, position: int, end: int, delimiter: str) -> tuple[tuple[Cell, ...], int]:
    """Return the cells from a position on, and where they end: before `end` only at a line's end that no quotes hold."""
    cells = []
    pattern = _CSV_CELL[delimiter]
    while True:
        match = pattern.match(text, position, end)
        stop = match.end() if match else end
        cells.append(_trimmed(text, position, stop))
        if stop >= end or text[stop] != delimiter:
            return tuple(cells), stop
        position = stop + 1


def _unquoted(text: str, cell: Cell) -> str:
    return text[cell.start + 1 : cell.end - 1].replace('""', '"') if cell.quoted else text[cell.start : cell.end]
