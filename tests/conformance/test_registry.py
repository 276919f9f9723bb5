"""What is promised is tested, and what is marked as the test of a promise is promised."""

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]
REGISTRY: dict[str, Any] = tomllib.loads((Path(__file__).parent / "registry.toml").read_text(encoding="utf-8"))
SPECIFICATION = (
    "https://modelcontextprotocol.io/specification/2025-11-25/",
    "https://modelcontextprotocol.io/specification/2026-07-28/",
)


def marked() -> Iterator[tuple[str, str]]:
    """Yield each test that is marked with each promise that it is marked with: as it is written, since nothing may hide it."""
    for path in sorted(TESTS.rglob("test_*.py")):
        if "node_modules" in path.parts or "promise" not in (text := path.read_text(encoding="utf-8")):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                test = f"{path.relative_to(TESTS.parent)}::{node.name}"
                yield from ((test, promise) for decorator in node.decorator_list for promise in _promises(decorator))


@cache
def functions_of(path: str) -> frozenset[str]:
    functions = ast.parse((TESTS.parent / path).read_text(encoding="utf-8")).body
    return frozenset(node.name for node in functions if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _promises(decorator: ast.expr) -> list[str]:
    if not (isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.promise"):
        return []
    return [ast.literal_eval(argument) for argument in decorator.args]


@pytest.fixture(scope="module")
def marks() -> set[tuple[str, str]]:
    return set(marked())


@pytest.mark.parametrize("promise", REGISTRY)
def test_a_promise_says_what_where_from_and_which_tests_show_it(promise: str, marks: set[tuple[str, str]]) -> None:
    entry = REGISTRY[promise]
    assert entry.keys() == {"promise", "spec", "tests"}
    assert entry["promise"].endswith(".") and entry["spec"].startswith(SPECIFICATION)
    assert entry["tests"], "a promise that nothing shows is none"
    for test in entry["tests"]:
        path, _, name = test.partition("::")
        assert name in functions_of(path), f"there is no {test}"
        assert (test, promise) in marks, f"{test} is not marked with {promise!r}"


def test_a_marked_test_shows_a_promise_that_names_it(marks: set[tuple[str, str]]) -> None:
    assert marks, "no test is marked"
    for test, promise in marks:
        assert promise in REGISTRY, f"{test} is marked with {promise!r}, which nobody promises"
        assert test in REGISTRY[promise]["tests"], f"{promise!r} does not name {test}"


def test_no_two_promises_say_the_same() -> None:
    said = [entry["promise"] for entry in REGISTRY.values()]
    assert len(said) == len(set(said)) >= 60
