"""Client configurations in their dialects, read into one shape. Values are still as the client had them, secrets included.

Understood: `mcpServers` (Claude Desktop, Claude Code with its `projects`, Cursor, Windsurf, Gemini CLI), VS Code's `servers`
with `inputs`, also below `mcp` in its settings, opencode's `mcp`, Codex's TOML `[mcp_servers.NAME]`. JSON may have comments.
Placeholders of clients become references of ours; what has no counterpart is told in `notes`, never dropped in silence.
"""

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from mcpgw.catalog.entry import Transport
from mcpgw.catalog.problems import CatalogError, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One server of a client's configuration. The repr shows no value that may be a secret."""

    name: str
    """As the client calls it."""
    transport: Transport
    command: str = ""
    args: tuple[str, ...] = field(default=(), repr=False)
    cwd: str = ""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    inherit_env: tuple[str, ...] = ()
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    enabled: bool = True
    timeout_s: float | None = None
    """None: the client says nothing of it."""
    only_tools: tuple[str, ...] = ()
    """Tools that the client restricts the server to; empty where it does not."""
    without_tools: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What an admin should look at, in sentences without values."""


def read_client_config(text: str, file: Path) -> tuple[Found, ...]:
    """Read the servers of one client's configuration file, the gateway itself left out.

    Raises:
        CatalogError: it is neither JSON nor TOML, or holds no servers in a form that is known.
    """
    data = _parse(text, file)
    blocks = list(_blocks(data, file))
    if not blocks:
        raise _unusable(file, "holds none of mcpServers, servers, mcp or mcp_servers.")
    servers = [(name, server, dialect) for block, dialect in blocks for name, server in block.items()]
    return tuple(found for name, server, dialect in servers if (found := dialect.read(name, server)) and not _is_gateway(found))


def _parse(text: str, file: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(text) if file.suffix == ".toml" else json.loads(_without_comments(text))
    except tomllib.TOMLDecodeError as error:
        raise _unusable(file, f"is not TOML: {error}.") from None
    except json.JSONDecodeError as error:
        raise _unusable(file, f"is not JSON: {error.msg} in line {error.lineno}.") from None
    except RecursionError:
        raise _unusable(file, "is nested too deeply.") from None
    if not isinstance(data, dict):
        raise _unusable(file, "is no JSON object.")
    return data


_JSONC = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])', re.DOTALL)


def _without_comments(text: str) -> str:
    """Blank out comments and trailing commas, which VS Code and opencode allow; lines stay where they are."""
    return _JSONC.sub(lambda match: match[1] or re.sub(r"[^\n]", " ", match[0]), text.removeprefix("\ufeff"))


def _blocks(data: dict[str, Any], file: Path) -> Iterator[tuple[dict[str, Any], "_Dialect"]]:
    """Yield every block of servers in a file, with the dialect it is written in."""
    plain = _Dialect(file, {})
    yield from ((block, plain) for block in _tables(data.get("mcpServers")))
    for project in _tables(data.get("projects")):
        for path, settings in project.items():
            for inside in _tables(settings):
                here = _Dialect(file, {}, workspace=path)
                yield from ((block, here) for block in _tables(inside.get("mcpServers")))
    mcp = data.get("mcp")
    for holder in (data, mcp if isinstance(mcp, dict) else {}):
        block = holder.get("servers")
        if isinstance(block, dict):
            yield block, _Dialect(file, _inputs(holder))
    if isinstance(mcp, dict) and "servers" not in mcp:
        yield mcp, _Opencode(file, {})
    yield from ((block, _Codex(file, {})) for block in _tables(data.get("mcp_servers")))


def _tables(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value


def _inputs(holder: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """VS Code's `inputs`: what it asks its user for, by id."""
    listed = holder.get("inputs")
    return {str(item.get("id")): item for item in listed if isinstance(item, dict)} if isinstance(listed, list) else {}


_BARE_VARIABLE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-.*)?", re.DOTALL)
_OWN_KEYS = frozenset(
    {"type", "command", "args", "cwd", "env", "url", "httpUrl", "serverUrl", "headers", "disabled", "enabled"}
)
_SILENT_KEYS = frozenset({"description", "name", "gallery", "version", "trust"})
"""Keys that change nothing about how a server is reached or what it may do."""
_TRANSPORTS = {"stdio": Transport.STDIO, "local": Transport.STDIO, "sse": Transport.SSE}


class _Dialect:
    """The common dialect. The others differ in names of keys and in how they write a placeholder."""

    placeholder = re.compile(r"\$\{(?P<what>[^{}]*)\}")

    def __init__(self, file: Path, inputs: dict[str, dict[str, Any]], workspace: str = "") -> None:
        self._inputs = inputs
        self._workspace = workspace or str(file.parent.parent if file.parent.name in (".vscode", ".cursor") else file.parent)
        self._server = ""
        self._notes: list[str] = []

    def read(self, name: str, server: object) -> Found | None:
        """Read one server; None for a block's entry that is none."""
        if not isinstance(server, dict):
            return None
        self._server, self._notes = name, []
        plain = self.plain(server)
        for key in plain.keys() - _OWN_KEYS - _SILENT_KEYS - {"timeout_s", "only_tools", "without_tools", "inherit_env"}:
            self._notes.append(f'"{key}" has no counterpart here and was left out.')
        url = self._text(plain.get("url") or plain.get("httpUrl") or plain.get("serverUrl"))
        return Found(
            name=name,
            transport=self._transport(plain),
            command=self._text(plain.get("command")),
            args=self._texts(plain.get("args")),
            cwd=self._text(plain.get("cwd")),
            env=self._named(plain.get("env")),
            inherit_env=self._texts(plain.get("inherit_env")),
            url=url,
            headers=self._named(plain.get("headers")),
            enabled=plain.get("disabled") is not True and plain.get("enabled") is not False,
            timeout_s=_seconds(plain.get("timeout_s")),
            only_tools=self._texts(plain.get("only_tools")),
            without_tools=self._texts(plain.get("without_tools")),
            notes=tuple(sorted(self._notes)),
        )

    def plain(self, server: dict[str, Any]) -> dict[str, Any]:
        """Return the server's table with the common dialect's keys."""
        plain = dict(server)
        for theirs, ours in (
            ("includeTools", "only_tools"),
            ("excludeTools", "without_tools"),
            ("disabledTools", "without_tools"),
        ):
            if theirs in plain:
                plain[ours] = plain.pop(theirs)
        if "envFile" in plain:
            del plain["envFile"]
            self._notes.append('"envFile" was left out: name its variables under env, as ${env:NAME} or ${file:path}.')
        return plain

    def _transport(self, plain: Mapping[str, Any]) -> Transport:
        if plain.get("command"):
            return Transport.STDIO
        named = _TRANSPORTS.get(str(plain.get("type")))
        if named is not None:
            return named
        if "type" not in plain and "url" in plain and str(plain["url"]).rstrip("/").endswith("/sse"):
            self._notes.append("the address looks like the old SSE transport; say http if it is Streamable HTTP.")
            return Transport.SSE
        return Transport.HTTP

    # --- values ---

    def _text(self, value: object) -> str:
        return self.placeholder.sub(self._reference, value) if isinstance(value, str) else ""

    def _texts(self, value: object) -> tuple[str, ...]:
        return tuple(self._text(_plain_text(item)) for item in value) if isinstance(value, list) else ()

    def _named(self, value: object) -> dict[str, str]:
        if not isinstance(value, dict):
            return {}
        return {key: self._text(_plain_text(item)) for key, item in value.items() if item is not None}

    def _reference(self, match: re.Match[str]) -> str:
        """Translate a client's placeholder into a reference of ours, or into the value that it always has."""
        what = match["what"]
        kind, _, rest = what.partition(":")
        known = {
            "workspaceFolder": self._workspace,
            "workspaceFolderBasename": PurePath(self._workspace).name,
            "userHome": str(Path.home()),
            "pathSeparator": "/",
            "/": "/",
        }
        if what in known:
            return known[what]
        if kind == "env" and _BARE_VARIABLE.fullmatch(rest):
            return f"${{env:{rest}}}"
        if kind == "input":
            return self._input(rest)
        if bare := _BARE_VARIABLE.fullmatch(what):
            if bare["default"]:
                self._notes.append(f"the default of {bare['name']} was left out: set the variable for the gateway.")
            return f"${{env:{bare['name']}}}"
        return self._variable(what, "the client filled it in")

    def _input(self, name: str) -> str:
        asked = self._inputs.get(name, {})
        default = asked.get("default")
        if isinstance(default, str) and default and asked.get("password") is not True:
            return default
        return self._variable(name, "the client asked its user for it")

    def _variable(self, what: str, why: str) -> str:
        name = re.sub(r"[^A-Z0-9]+", "_", f"{self._server}_{what}".upper()).strip("_")
        name = name if name[:1].isalpha() else f"MCP_{name}"
        self._notes.append(f"set the variable {name} for the gateway ({why}).")
        return f"${{env:{name}}}"


class _Opencode(_Dialect):
    """`{"type": "local", "command": ["npx", …], "environment": {…}}`, placeholders `{env:NAME}` and `{file:path}`."""

    placeholder = re.compile(r"\{(?P<what>(?:env|file):[^{}]+)\}")

    def plain(self, server: dict[str, Any]) -> dict[str, Any]:
        plain = dict(server)
        command = plain.get("command")
        if isinstance(command, list):
            plain["command"], plain["args"] = (command[0], command[1:]) if command else ("", [])
        if "environment" in plain:
            plain["env"] = plain.pop("environment")
        if (timeout := _seconds(plain.get("timeout"))) is not None:
            del plain["timeout"]
            plain["timeout_s"] = timeout / 1000  # opencode counts milliseconds
        return plain

    def _reference(self, match: re.Match[str]) -> str:
        kind, _, rest = match["what"].partition(":")
        if kind == "file":
            return f"${{file:{Path(self._workspace, Path(rest).expanduser())}}}"
        return f"${{env:{rest}}}"


class _Codex(_Dialect):
    """Codex CLI's TOML. Values are plain: it names variables under keys of their own."""

    placeholder = re.compile(r"(?!)(?P<what>)")

    def plain(self, server: dict[str, Any]) -> dict[str, Any]:
        plain = dict(server)
        headers = self._named(plain.pop("http_headers", {}))
        headers |= {name: f"${{env:{variable}}}" for name, variable in self._named(plain.pop("env_http_headers", {})).items()}
        if "bearer_token_env_var" in plain:
            headers["Authorization"] = f"Bearer ${{env:{plain.pop('bearer_token_env_var')}}}"
        listed = plain.pop("env_vars", [])
        names = [_name_of(item) for item in listed] if isinstance(listed, list) else []
        renamed = {"tool_timeout_sec": "timeout_s", "enabled_tools": "only_tools", "disabled_tools": "without_tools"}
        plain = {renamed.get(key, key): value for key, value in plain.items()}
        plain.pop("startup_timeout_sec", None)
        return {**plain, "headers": headers, "inherit_env": names}


def _plain_text(value: object) -> object:
    """Numbers and booleans stand for their text, as clients pass them on."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _seconds(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    return None


def _name_of(item: object) -> object:
    """Codex lists variables to pass on as names, or as tables with a `name`."""
    return item.get("name", "") if isinstance(item, dict) else item


def _is_gateway(found: Found) -> bool:
    """The gateway's own entry, made by an earlier `mcpgw init`: importing it would call itself."""
    return PurePath(found.command).name == "mcpgw"


def _unusable(file: Path, message: str) -> CatalogError:
    return CatalogError([Problem(where=str(file), message=message, hint="Name a client's configuration file.")])
