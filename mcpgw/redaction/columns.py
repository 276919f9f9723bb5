"""One decision per column: numbers of one form that stand under one header are one thing, whatever each may pass for alone.

Of random nine-digit numbers most lie in the ranges of SSNs, and one in ten has an ABA check digit. So single cells under a
header that says nothing are found as this or that, or not at all; the column as a whole is one or the other.
"""

import re
from collections import Counter
from collections.abc import Sequence

from mcpgw.redaction.findings import Finding
from mcpgw.redaction.nodes import Unit

DETECTOR = "number-column@1"
FEWEST = 5
"""Cells of one form that are a column; fewer are decided one by one."""
_BY_CHANCE = 5
"""A name that fewer than one cell in so many has is chance: a check digit modulo 10 or 11 fits one number in ten."""
_DIGIT = re.compile(r"\d")
_SCORE = 1.4
"""More than any pattern's, less than a key's that is sure."""


def name_of(path: str) -> str:
    """Return the path inside its document, so that a result's text and its `structuredContent` are one column."""
    return path.rsplit(":", 1)[-1].removeprefix("structuredContent").removeprefix(".")


def decide(units: Sequence[Unit]) -> None:
    """Find, in each column most of whose cells of one form were found whole as one entity, the other cells of that form too."""
    if not any("[*]" in unit.path and _entity(unit) for unit in units):
        return
    columns: dict[tuple[str, str], list[Unit]] = {}
    for unit in units:
        if not (unit.prose or unit.forced or unit.meaning.sure) and "[*]" in unit.path and _DIGIT.search(unit.plain.text):
            columns.setdefault((name_of(unit.path), _form(unit.plain.text)), []).append(unit)
    for cells in columns.values():
        if len(cells) >= FEWEST:
            _decide(cells)


def _decide(cells: Sequence[Unit]) -> None:
    named = Counter(_entity(cell) for cell in cells)
    entity, most = max(
        ((entity, count) for entity, count in named.items() if entity), key=lambda pair: pair[1], default=("", 0)
    )
    if most * 2 <= len(cells):
        return
    for cell in cells:
        said = _entity(cell)
        if said != entity and (not said or named[said] * _BY_CHANCE < len(cells)):
            cell.findings.append(Finding(0, len(cell.plain.text), entity, DETECTOR, _SCORE))


def _entity(unit: Unit) -> str:
    """Return what a whole cell was found to be, or the empty string."""
    best = max(unit.findings, key=lambda finding: finding.score, default=None)
    text = unit.plain.text
    return best.entity if best is not None and text[best.start : best.end].strip() == text.strip() else ""


def _form(text: str) -> str:
    """Return a cell with every digit as 0."""
    return _DIGIT.sub("0", text.strip())
