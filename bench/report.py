"""What a benchmark found: tables with a unit in every column's name, for people and as JSON."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

Cell = str | int | float | None
"""None where a contender cannot do this at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """One table. The first column names the contender; the numbers are medians over the rounds."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def show(self, console: Console) -> None:
        table = Table(title=self.title, title_justify="left", title_style="bold", caption=self.note, caption_justify="left")
        table.add_column(self.columns[0], no_wrap=True)
        for name in self.columns[1:]:
            table.add_column(name, justify="right")
        for row in self.rows:
            table.add_row(*map(shown, row))
        console.print(table)
        console.print()

    def markdown(self) -> str:
        lines = [f"| {' | '.join(self.columns)} |", "|" + "---|" * len(self.columns)]
        lines += [f"| {' | '.join(map(shown, row))} |" for row in self.rows]
        return "\n".join(lines)


def shown(cell: Cell) -> str:
    """Three significant digits: the machine's noise leaves no more."""
    match cell:
        case None:
            return "-"
        case float():
            return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
        case int():
            return f"{cell:,}"
        case _:
            return cell


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of the values lies (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def ratio(value: float, base: float) -> str:
    """Return how many times the base it is, like `3.2 x`."""
    return f"{shown(value / base)} x" if base else "-"
