"""A catalog folder on disk, and definitions as an upstream delivers them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcpgw.catalog.drift import accept
from mcpgw.catalog.load import load_catalog
from mcpgw.catalog.lock import LOCK_NAME, write_lock
from mcpgw.core.model import TargetKind
from mcpgw.ports import Definitions

STDIO = 'transport = "stdio"\ncommand = "server"\n'

Write = Callable[[str, str], Path]
Accept = Callable[[dict[str, Definitions]], None]


def tool(name: str, description: str = "Does it.", **more: Any) -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"type": "object"}, **more}


def tools(*definitions: dict[str, Any]) -> Definitions:
    return {TargetKind.TOOL: definitions}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "catalog"
    made.mkdir()
    return made


@pytest.fixture
def write(folder: Path) -> Write:
    """Write one server's file."""

    def writing(server: str, text: str = STDIO) -> Path:
        path = folder / f"{server}.toml"
        path.write_text(text)
        return path

    return writing


@pytest.fixture
def accepting(folder: Path) -> Accept:
    """Accept all that servers offer, as `mcpgw catalog accept` does."""

    def accepting_(offered: dict[str, Definitions]) -> None:
        catalog = load_catalog(folder)
        write_lock(folder / LOCK_NAME, accept(catalog.entries, catalog.lock, offered))

    return accepting_
