"""MCP clients: where they keep their configuration, and what to paste there so that they reach the gateway."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ClientFile:
    """A configuration file of a client that exists on this machine."""

    client: str
    path: Path


def well_known(home: Path, here: Path, platform: str = sys.platform) -> Iterator[ClientFile]:
    """Yield the configuration files that are there: of the user (below `home`), then of a project (in `here`)."""
    settings = home / "Library" / "Application Support" if platform == "darwin" else home / ".config"
    candidates = (
        ("Claude Desktop", settings / "Claude" / "claude_desktop_config.json"),
        ("Claude Code", home / ".claude.json"),
        ("Cursor", home / ".cursor" / "mcp.json"),
        ("VS Code", settings / "Code" / "User" / "mcp.json"),
        ("Windsurf", home / ".codeium" / "windsurf" / "mcp_config.json"),
        ("Gemini CLI", home / ".gemini" / "settings.json"),
        ("Codex CLI", home / ".codex" / "config.toml"),
        ("opencode", home / ".config" / "opencode" / "opencode.json"),
        ("Claude Code, this folder", here / ".mcp.json"),
        ("Cursor, this folder", here / ".cursor" / "mcp.json"),
        ("VS Code, this folder", here / ".vscode" / "mcp.json"),
    )
    for client, path in candidates:
        if path.is_file():
            yield ClientFile(client, path)


@dataclass(frozen=True, slots=True)
class Paste:
    """One way to connect: where the text goes, and the text. It holds the API key, so it is shown once and kept nowhere."""

    title: str
    text: str


def pastes(folder: Path, url: str, api_key: str, command: str = "mcpgw") -> tuple[Paste, ...]:
    """Return what to paste into each client. `folder` is the working folder, `url` the gateway's `/mcp`."""
    stdio = {"command": command, "args": ["stdio", "-C", str(folder.resolve())], "env": {"MCPGW_API_KEY": api_key}}
    headers = {"Authorization": f"Bearer {api_key}"}
    by_variable = {"Authorization": "Bearer ${MCPGW_API_KEY}"}
    return (
        Paste("Claude Desktop: claude_desktop_config.json", _json({"mcpServers": {"mcpgw": stdio}})),
        Paste("Claude Code, with `mcpgw serve` running: a command", _claude_code(url, by_variable)),
        Paste(
            "Claude Code: .mcp.json, which that command writes; the key stays in MCPGW_API_KEY",
            _json({"mcpServers": {"mcpgw": {"type": "http", "url": url, "headers": by_variable}}}),
        ),
        Paste("Cursor: ~/.cursor/mcp.json", _json({"mcpServers": {"mcpgw": {"url": url, "headers": headers}}})),
        Paste("VS Code: mcp.json", _vs_code(url)),
    )


def _claude_code(url: str, headers: Mapping[str, str]) -> str:
    """Two lines of shell. Claude Code fills in the variable when it starts, so that the key is in no command line, which
    others on the machine and the shell's history would keep; `read` takes it from the keyboard."""
    (header,) = (f"{name}: {value}" for name, value in headers.items())
    return (
        "read -rs MCPGW_API_KEY && export MCPGW_API_KEY   # paste the key of the first block, then Enter\n"
        f"claude mcp add -s project -t http mcpgw {url} -H '{header}'"
    )


def _vs_code(url: str) -> str:
    """VS Code asks for the key once and keeps it itself, so that its file needs none."""
    asks = {"type": "promptString", "id": "mcpgw-key", "description": "mcpgw API key", "password": True}
    server = {"type": "http", "url": url, "headers": {"Authorization": "Bearer ${input:mcpgw-key}"}}
    return _json({"inputs": [asks], "servers": {"mcpgw": server}})


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
