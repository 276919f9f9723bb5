"""The walls of the house, held from the syntax tree: who may import whom, which library lives where, who may make what."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "mcpgw"
ROOMS = {"identity", "catalog", "policy", "approval", "upstream", "redaction", "ledger", "sinks", "inbound", "console", "own"}

MAY_IMPORT: dict[str, set[str]] = {
    "core": {"core"},
    "ports": {"core"},
    "interview": {"core", "ports"},
    "outgoing": {"core"},
    "pipeline": {"core", "ports", "interview"},
    **{room: {"core", "ports", "outgoing", room} for room in ROOMS},
    "inbound": {"core", "ports", "pipeline", "inbound"},
    "console": {"core", "ports", "pipeline", "console"},
    "settings": {"core", "settings"},
    "app": {"core", "ports", "pipeline", "settings", "app"} | ROOMS,
    "cli": {"core", "ports", "settings", "app", "cli"} | ROOMS,
}
"""cli -> app -> rooms -> pipeline -> ports, outgoing -> core; a room never imports another."""

HOMES: dict[str, set[str]] = {
    "mcp": {"inbound", "upstream"},
    "mcp_types": {"inbound", "upstream"},
    "presidio_analyzer": {"redaction"},
    "spacy": {"redaction"},
    "pydantic_settings": {"settings"},
    "pydantic": {"settings", "inbound"},  # inbound catches the SDK's ValidationError
    "apsw": {"ledger"},
    "psycopg": {"ledger"},
    "pyrage": {"ledger", "settings"},  # settings refuses at load what is no recipient
    "starlette": {"inbound", "console"},
    "jinja2": {"console"},
    "joserfc": {"identity"},
    "sqlglot": {"policy"},
    "cel_expr_python": {"policy"},
    "typer": {"cli"},
    "watchfiles": {"catalog"},
    "uvicorn": {"inbound"},
}
"""Each library has one home, so that replacing it touches one room."""

MAKERS: dict[str, set[str]] = {
    "CleanJson": {"redaction", "ledger", "approval"},
    "CleanReply": {"redaction", "ledger"},
    "CleanNotice": {"redaction"},
    "ShownCall": {"redaction"},
    "Permit": {"pipeline"},
    "Sealed": {"ledger"},
    "Receipt": {"core"},
    "RawReply": {"upstream", "own"},
}
"""Who may build the types that a door hands out. The ledger gives back what was clean when it was recorded;
approval puts clean arguments among the facts that an approver sees."""


def files() -> list[Path]:
    return sorted(HOUSE.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(HOUSE).parts
    return parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"relative import in line {node.lineno}"
            names = [alias.name for alias in node.names] if node.module == "mcpgw" else [""]
            yield from ((node.lineno, f"{node.module}.{name}".rstrip(".")) for name in names)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_room_imports_only_what_stands_below_it(path: Path) -> None:
    room = room_of(path)
    if room in {"__init__", "__main__"}:
        return
    for line, name in imports(ast.parse(path.read_text())):
        top, _, rest = name.partition(".")
        if top == "mcpgw" and rest and not rest.startswith("__version__"):
            other = rest.split(".")[0]
            assert other in MAY_IMPORT[room], f"{path.relative_to(ROOT)}:{line}: {room} must not import {other}"
        if top in HOMES:
            assert room in HOMES[top], f"{path.relative_to(ROOT)}:{line}: {top} lives in {sorted(HOMES[top])}"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_each_type_is_made_behind_its_own_door(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS:
            made_by = MAKERS[node.func.id]
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            assert room_of(path) in made_by, f"{where}: only {sorted(made_by)} may make a {node.func.id}"


def test_core_is_standard_library_only_and_does_no_io() -> None:
    allowed = {"mcpgw", *sys.stdlib_module_names}
    for path in (HOUSE / "core").glob("*.py"):
        for line, name in imports(ast.parse(path.read_text())):
            assert name.split(".")[0] in allowed, f"core/{path.name}:{line} imports {name}"
            assert name.split(".")[0] not in {"os", "pathlib", "socket", "subprocess", "asyncio", "threading", "logging"}, name


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_an_import_inside_a_function_says_why(path: Path) -> None:
    lines = path.read_text().splitlines()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for inner in ast.walk(node):
                if isinstance(inner, (ast.Import, ast.ImportFrom)):
                    assert "# lazy:" in lines[inner.lineno - 1], f"{path.relative_to(ROOT)}:{inner.lineno}"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_broad_except_says_why_it_may_be_broad(path: Path) -> None:
    """A broad `except` is allowed where the next lines (a comment) say what it turns into; never as a habit."""
    lines = path.read_text().splitlines()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"})
            around = lines[node.lineno - 1 : node.lineno + 2]
            assert not broad or any("#" in line for line in around), f"{path.relative_to(ROOT)}:{node.lineno}"
