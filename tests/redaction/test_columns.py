"""A column is one thing: its header and its values together decide, however it is written, and once for all of its cells."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mcpgw.core.model import Masking
from mcpgw.redaction.checksums import aba, ssn
from mcpgw.redaction.engine import Engine

Layout = Callable[[str, Sequence[str]], dict[str, Any]]


def _numbers(seed: int, count: int = 200) -> list[str]:
    r = random.Random(seed)
    return [f"{r.randrange(10**9):09d}" for _ in range(count)]


def _text(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


def _separated(sign: str) -> Layout:
    return lambda header, values: _text(
        f"n{sign}{header}\n" + "".join(f"{row}{sign}{value}\n" for row, value in enumerate(values))
    )


LAYOUTS: dict[str, Layout] = {
    "objects": lambda header, values: {"structuredContent": [{"n": row, header: value} for row, value in enumerate(values)]},
    "rows": lambda header, values: {
        "structuredContent": {"columns": ["n", header], "rows": [[row, value] for row, value in enumerate(values)]}
    },
    "list": lambda header, values: {"structuredContent": {header: list(values)}},
    "CSV": _separated(","),
    "TSV": _separated("\t"),
    "Markdown": lambda header, values: _text(
        f"| n | {header} |\n|---|---|\n" + "".join(f"| {row} | {value} |\n" for row, value in enumerate(values))
    ),
    "psql": lambda header, values: _text(
        f" n | {header} \n---+-----------\n" + "".join(f" {row} | {value}\n" for row, value in enumerate(values))
    ),
}


def visible(engine: Engine, layout: Layout, header: str, values: Sequence[str]) -> int:
    """Return how many of the values can still be read in what a client gets."""
    clean = json.dumps(engine.redact(layout(header, values), Masking()).payload)
    return sum(value in clean for value in values)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("header", "left"), [("tin", 0), ("Tax ID", 0), ("batch_no", 200), ("reading", 200)])
def test_two_hundred_nine_digit_numbers_are_what_their_header_says(engine: Engine, layout: str, header: str, left: int) -> None:
    assert visible(engine, LAYOUTS[layout], header, _numbers(1)) == left


@pytest.mark.parametrize("layout", LAYOUTS)
def test_under_a_header_that_says_nothing_no_column_is_masked_in_part(engine: Engine, layout: str) -> None:
    values = _numbers(2)
    assert 100 < sum(map(ssn, values)) < 200 and any(map(aba, values))
    answer = engine.redact(LAYOUTS[layout]("col2", values), Masking())
    assert visible(engine, LAYOUTS[layout], "col2", values) == 0
    assert {line.entity for line in answer.masked} == {"US_SSN"}
    assert engine.redact(answer.payload, Masking()).payload == answer.payload


SSNS = [number for last in range(10, 20) if not aba(number := f"2190999{last}")]
NONE = ["000123456", "000123457", "000123458", "000123459"]
"""No area of an SSN is 000, and their check digits are no routing number's."""


def column(engine: Engine, values: Sequence[str]) -> tuple[list[Any], list[tuple[str, str, int]]]:
    """Return what becomes of a column under a header that says nothing, and what was counted."""
    answer = engine.redact({"structuredContent": [{"col2": value} for value in values]}, Masking())
    counted = [(line.entity, line.detector, line.count) for line in answer.masked]
    return [row["col2"] for row in answer.payload["structuredContent"]], counted


def test_a_number_of_another_form_is_no_part_of_the_column(engine: Engine) -> None:
    values = [*SSNS[:4], NONE[0], "0-12345", "n/a"]
    clean, counted = column(engine, values)
    assert clean == ["<US_SSN>"] * 5 + values[5:]
    assert ("US_SSN", "number-column@1", 1) in counted


@pytest.mark.parametrize("values", [[*SSNS[:3], NONE[0]], [*SSNS[:3], *NONE[:3]]], ids=["too few cells", "no majority"])
def test_what_is_no_column_is_decided_one_by_one(engine: Engine, values: list[str]) -> None:
    assert column(engine, values)[0] == [value if value in NONE else "<US_SSN>" for value in values]


def test_a_name_that_many_cells_have_is_no_chance(engine: Engine) -> None:
    _, counted = column(engine, [*(f"219-09-99{last}" for last in range(10, 16)), "912-70-1234", "912-71-1234", "912-72-1234"])
    assert {(entity, count) for entity, _, count in counted} == {("US_SSN", 6), ("US_ITIN", 3)}
