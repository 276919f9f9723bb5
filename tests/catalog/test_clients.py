"""What is pasted into clients can be read back by our own importer, and where clients keep it is found."""

import json
import re
from pathlib import Path

import pytest

from mcpgw.catalog.clients import ClientFile, pastes, well_known
from mcpgw.catalog.dialects import read_client_config


def test_every_block_is_what_its_client_reads() -> None:
    blocks = {paste.title.split(":")[0]: paste.text for paste in pastes(Path("/srv/gw"), "http://127.0.0.1:8080/mcp", "KEY")}

    assert json.loads(blocks["Claude Desktop"]) == {
        "mcpServers": {"mcpgw": {"command": "mcpgw", "args": ["stdio", "-C", "/srv/gw"], "env": {"MCPGW_API_KEY": "KEY"}}}
    }
    asks, adds = blocks["Claude Code, with `mcpgw serve` running"].splitlines()
    assert asks.startswith("read -rs MCPGW_API_KEY && export MCPGW_API_KEY")
    url = "http://127.0.0.1:8080/mcp"
    assert adds == f"claude mcp add -s project -t http mcpgw {url} -H 'Authorization: Bearer ${{MCPGW_API_KEY}}'"
    for client in ("Claude Code", "Cursor", "VS Code"):
        (found,) = read_client_config(blocks[client], Path("mcp.json"))
        assert found.url == "http://127.0.0.1:8080/mcp"
        references = ("${env:MCPGW_MCPGW_KEY}", "${env:MCPGW_API_KEY}")
        assert found.headers["Authorization"] in ("Bearer KEY", *(f"Bearer {each}" for each in references))


def test_a_key_stands_in_no_command_line_and_in_no_file_that_is_shared() -> None:
    blocks = pastes(Path("/srv/gw"), "http://127.0.0.1:8080/mcp", "mcpgw_secret")
    with_key = [paste.title.split(":")[0] for paste in blocks if "mcpgw_secret" in paste.text]
    assert with_key == ["Claude Desktop", "Cursor"]


@pytest.mark.parametrize(
    ("platform", "desktop"),
    [("linux", ".config/Claude"), ("darwin", "Library/Application Support/Claude")],
)
def test_configurations_that_exist_are_found(tmp_path: Path, platform: str, desktop: str) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    for file in (home / desktop / "claude_desktop_config.json", home / ".claude.json", here / ".vscode" / "mcp.json"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (home / ".cursor" / "mcp.json").mkdir(parents=True)

    assert list(well_known(home, here, platform)) == [
        ClientFile("Claude Desktop", home / desktop / "claude_desktop_config.json"),
        ClientFile("Claude Code", home / ".claude.json"),
        ClientFile("VS Code, this folder", here / ".vscode" / "mcp.json"),
    ]


ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/clients.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```(?:json|toml)\n(.*?)```", PAGE, re.DOTALL))
def test_every_block_of_the_page_is_read_as_one_way_to_the_gateway(block: str) -> None:
    if '"command"' in block:  # which our importer leaves out, because it is the gateway itself
        stdio = {"command": "mcpgw", "args": ["stdio", "-C", "/srv/gateway"], "env": {"MCPGW_API_KEY": "mcpgw_…"}}
        assert json.loads(block) == {"mcpServers": {"bank": stdio}}
    else:
        (found,) = read_client_config(block, Path("config.toml" if block.startswith("[") else "mcp.json"))
        assert (found.name, found.url) == ("bank", "http://127.0.0.1:8080/mcp")
        assert found.headers["Authorization"].startswith("Bearer ")


def test_the_versions_of_the_page_are_those_that_are_locked() -> None:
    locked: dict[str, str] = json.loads((ROOT / "tests/node/package.json").read_text())["dependencies"]
    for name in ("dev", "upstreams", "clients", "langchain"):
        pins = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE)
        locked = {**dict(pins), **locked}
    tables = PAGE.partition("## Clients that the tests run")[2]
    rows = re.findall(r"^\| ([@a-z][\w@/-]*) \| ([\d.]+) \|", tables, re.MULTILINE)
    assert len(rows) == 15
    assert rows == [(name, locked[name]) for name, _ in rows]
