"""Client configurations: every dialect becomes a catalog file that loads, and no secret stays in it."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpgw.catalog.dialects import Found, read_client_config
from mcpgw.catalog.draft import Draft, draft
from mcpgw.catalog.entry import Transport
from mcpgw.catalog.load import read_entry
from mcpgw.catalog.problems import CatalogError


def imported(text: str, file: str = "/home/me/mcp.json") -> dict[str, tuple[dict[str, Any], Draft]]:
    """Read a client's file, and return what the catalog files made of it say, by server. Each of them must load."""
    made: dict[str, tuple[dict[str, Any], Draft]] = {}
    for found in read_client_config(text, Path(file)):
        drafted = draft(found, Path(file).name, made)
        read_entry(f"catalog/{drafted.name}.toml", drafted.name, drafted.text)
        for secret in drafted.secrets.values():
            assert secret not in drafted.text
            assert secret not in f"{drafted!r} {found!r} {drafted.notes}"
        made[drafted.name] = (tomllib.loads(drafted.text), drafted)
    return made


def only(text: str, file: str = "/home/me/mcp.json") -> tuple[dict[str, Any], Draft]:
    (one,) = imported(text, file).values()
    return one


def test_claude_desktop() -> None:
    text = """{"mcpServers": {
      "Bank Server": {"command": "uvx", "args": ["mcp-bank==1.2", "--db", "postgres://bank:hunter2@db/prod"],
                      "env": {"BANK_TOKEN": "tok-123", "REGION": "eu", "RETRIES": 3, "DEBUG": true, "GONE": null}},
      "mcpgw": {"command": "/usr/bin/mcpgw", "args": ["stdio"]},
      "broken": "not a server"
    }, "globalShortcut": ""}"""

    values, drafted = only(text)

    assert drafted.name == "bank-server"
    assert values == {
        "transport": "stdio",
        "command": "uvx",
        "args": ["mcp-bank==1.2", "--db", "postgres://bank:${file:secrets/bank-server.db}@db/prod"],
        "env": {"BANK_TOKEN": "${file:secrets/bank-server.BANK_TOKEN}", "REGION": "eu", "RETRIES": "3", "DEBUG": "true"},
    }
    assert drafted.secrets == {"bank-server.db": "hunter2", "bank-server.BANK_TOKEN": "tok-123"}
    assert drafted.text.startswith('# Imported from mcp.json, where it is called "Bank Server".\n')


def test_claude_code_with_its_variables_and_projects() -> None:
    text = json.dumps(
        {
            "numStartups": 3,
            "mcpServers": {
                "api": {
                    "type": "http",
                    "url": "${API_URL:-https://api.example}/mcp",
                    "headers": {"Authorization": "Bearer ${API_KEY}", "X-Team": "core"},
                }
            },
            "projects": {
                "/srv/app": {"mcpServers": {"files": {"type": "stdio", "command": "npx", "args": ["-y", "files@1"]}}},
                "/srv/other": {"mcpServers": {}},
                "/srv/odd": None,
            },
        }
    )

    with pytest.raises(CatalogError, match="`url` must be an address"):
        imported(text)  # where the address is a variable, the file says so when it is loaded

    made = imported(text.replace("${API_URL:-https://api.example}", "https://api.example"))
    assert made["api"][0] == {
        "transport": "http",
        "url": "https://api.example/mcp",
        "bearer": "${env:API_KEY}",
        "headers": {"X-Team": "core"},
    }
    assert made["files"][0] == {"transport": "stdio", "command": "npx", "args": ["-y", "files@1"]}


def test_defaults_of_variables_are_told_without_their_value() -> None:
    values, drafted = only('{"mcpServers": {"a": {"command": "a", "env": {"HOST": "${HOST:-secret-default}"}}}}')

    assert values["env"] == {"HOST": "${env:HOST}"}
    assert drafted.notes == ("the default of HOST was left out: set the variable for the gateway.",)


def test_cursor_and_others_with_their_own_words_for_an_address() -> None:
    text = """{"mcpServers": {
      "plain": {"url": "https://a.example/mcp", "headers": {"authorization": "Bearer abc-literal"}},
      "old": {"url": "https://a.example/sse/"},
      "gemini": {"httpUrl": "https://b.example/sse", "timeout": 5000, "trust": true, "includeTools": ["a"]},
      "windsurf": {"serverUrl": "https://c.example/mcp?api_key=abc123", "disabledTools": ["b"], "disabled": true},
      "zapier": {"url": "https://z.example/s/q8Zr1Xw0bT5vKp2LmN7sYd4H/mcp"},
      "typed": {"type": "sse", "url": "https://d.example/x", "envFile": ".env"}
    }}"""

    made = imported(text)

    assert made["plain"][0] == {
        "transport": "http",
        "url": "https://a.example/mcp",
        "bearer": "${file:secrets/plain.authorization}",
    }
    assert made["plain"][1].secrets == {"plain.authorization": "abc-literal"}
    assert made["old"][0]["transport"] == "sse"
    assert "looks like the old SSE transport" in made["old"][1].text
    assert made["gemini"][0] == {
        "transport": "http",
        "url": "https://b.example/sse",
        "defaults": {"enabled": False},
        "tools": {"a": {"enabled": True}},
    }
    assert made["gemini"][1].notes == ('"timeout" has no counterpart here and was left out.',)
    assert made["windsurf"][0] == {
        "transport": "http",
        "url": "https://c.example/mcp?api_key=${file:secrets/windsurf.url}",
        "enabled": False,
        "tools": {"b": {"enabled": False}},
    }
    assert made["zapier"][0]["url"] == "https://z.example/s/${file:secrets/zapier.url}/mcp"
    assert made["typed"][0]["transport"] == "sse"
    assert "envFile" in made["typed"][1].text


VS_CODE = """\
\ufeff{
  // what the user is asked for
  "inputs": [
    {"type": "promptString", "id": "api-key", "description": "key", "password": true, "default": "x"},
    {"type": "pickString", "id": "region", "default": "eu"},
    "odd",
  ],
  "servers": {
    "my.server": {
      "type": "stdio", /* started here */
      "command": "${workspaceFolder}/bin/server",
      "args": ["--key=${input:api-key}", "--region", "${input:region}", "${userHome}", "a, // no comment ,]"],
      "cwd": "${workspaceFolder}",
      "env": {"NAME": "${workspaceFolderBasename}", "PATHS": "a${pathSeparator}b${/}c", "T": "${env:TOK}",
              "X": "${command:x.y}"},
    },
  },
}
"""


def test_vs_code_with_inputs_variables_and_comments() -> None:
    values, drafted = only(VS_CODE, "/home/me/app/.vscode/mcp.json")

    assert values == {
        "transport": "stdio",
        "command": "/home/me/app/bin/server",
        "args": ["--key=${env:MY_SERVER_API_KEY}", "--region", "eu", str(Path.home()), "a, // no comment ,]"],
        "cwd": "/home/me/app",
        "env": {"NAME": "app", "PATHS": "a/b/c", "T": "${env:TOK}", "X": "${env:MY_SERVER_COMMAND_X_Y}"},
    }
    assert drafted.notes == (
        "set the variable MY_SERVER_API_KEY for the gateway (the client asked its user for it).",
        "set the variable MY_SERVER_COMMAND_X_Y for the gateway (the client filled it in).",
    )


def test_vs_code_settings_hold_the_same_below_mcp() -> None:
    values, drafted = only('{"mcp": {"servers": {"9a": {"url": "https://a.example", "headers": {"X-Key": "${input:k}"}}}}}')

    assert values["headers"] == {"X-Key": "${env:MCP_9A_K}"}
    assert drafted.name == "9a"


def test_opencode() -> None:
    text = """{"mcp": {
      "local": {"type": "local", "command": ["bun", "x", "server"], "environment": {"K": "{env:KEY}", "F": "{file:k.txt}"},
                "enabled": false, "timeout": 5000},
      "remote": {"type": "remote", "url": "https://r.example/mcp", "headers": {"Authorization": "Bearer {env:KEY}"}},
      "nothing": {"type": "local", "command": []}
    }}"""

    with pytest.raises(CatalogError, match="`command` must be a string that is not empty"):
        imported(text)

    made = imported(text.replace('"command": []', '"command": "x", "timeout": "never"'))
    assert made["local"][0] == {
        "transport": "stdio",
        "command": "bun",
        "args": ["x", "server"],
        "env": {"K": "${env:KEY}", "F": "${file:/home/me/k.txt}"},
        "enabled": False,
        "defaults": {"timeout_s": 5.0},
    }
    assert made["remote"][0] == {"transport": "http", "url": "https://r.example/mcp", "bearer": "${env:KEY}"}
    assert made["nothing"][0] == {"transport": "stdio", "command": "x"}


CODEX = """
model = "x"
[mcp_servers.docs]
command = "npx"
args = ["-y", "docs"]
env = { DOCS_TOKEN = "literal-token", ODD = "${not a placeholder}" }
env_vars = ["HTTPS_PROXY", { name = "LANG", source = "local" }]
cwd = "/srv"
startup_timeout_sec = 10
tool_timeout_sec = 7.5
enabled_tools = ["search"]

[mcp_servers.remote]
url = "https://r.example/mcp"
bearer_token_env_var = "R_TOKEN"
http_headers = { X-Region = "eu" }
env_http_headers = { X-Key = "R_KEY" }
disabled_tools = ["drop"]

[mcp_servers.bare]
url = "https://r.example/mcp"
env_vars = "odd"
tool_timeout_sec = true
"""


def test_codex() -> None:
    made = imported(CODEX, "/home/me/.codex/config.toml")

    assert made["docs"][0] == {
        "transport": "stdio",
        "command": "npx",
        "args": ["-y", "docs"],
        "cwd": "/srv",
        "env": {"DOCS_TOKEN": "${file:secrets/docs.DOCS_TOKEN}", "ODD": "{not a placeholder}"},
        "inherit_env": ["HTTPS_PROXY", "LANG"],
        "defaults": {"enabled": False, "timeout_s": 7.5},
        "tools": {"search": {"enabled": True}},
    }
    assert made["docs"][1].notes == (
        "a placeholder in ODD is not understood here; its value was taken over as plain text.",
        "docs has no version: pin one, or an update changes what was accepted.",
    )
    assert made["remote"][0] == {
        "transport": "http",
        "url": "https://r.example/mcp",
        "bearer": "${env:R_TOKEN}",
        "headers": {"X-Region": "eu", "X-Key": "${env:R_KEY}"},
        "tools": {"drop": {"enabled": False}},
    }
    assert made["bare"][0] == {"transport": "http", "url": "https://r.example/mcp"}


@pytest.mark.parametrize(
    ("text", "file", "expected"),
    [
        ("{", "a.json", "is not JSON: Expecting property name enclosed in double quotes in line 1."),
        ("[]", "a.json", "is no JSON object."),
        ("[" * 100_000, "a.json", "is nested too deeply."),
        ("a = ", "a.toml", "is not TOML: Invalid value"),
        ('{"theme": "dark", "mcp": 3}', "a.json", "holds none of mcpServers, servers, mcp or mcp_servers."),
    ],
)
def test_a_file_that_is_no_client_configuration_is_told(text: str, file: str, expected: str) -> None:
    with pytest.raises(CatalogError, match=re.escape(f"{file}: {expected}")):
        read_client_config(text, Path(file))


@pytest.mark.parametrize(
    ("args", "pinned"),
    [
        (["mcp-server-time"], False),
        (["mcp-server-time==2026.1.1"], True),
        (["-y", "@scope/server@1.2.3", "."], True),
        (["-y", "@scope/server"], False),
        (["--package", "server@1", "bin"], True),
        (["--python", "3.12", "server"], False),
        (["git+https://github.com/x/y@abc"], True),
        (["./local"], True),
        (["-y"], True),
        (["--api-key", "s3cret", "server@1"], True),
        ([], True),
    ],
)
def test_a_package_without_a_version_is_told(args: list[str], pinned: bool) -> None:
    drafted = draft(Found(name="x", transport=Transport.STDIO, command="uvx", args=tuple(args)), "a.json")

    assert bool(drafted.notes) is not pinned
    assert "s3cret" not in f"{drafted.text} {drafted.notes}"


def test_secrets_behind_options_and_several_in_one_value_move_out() -> None:
    args = ("--api-key", "one", "--token=two", "sk-abcdefghijklmnop1234 sk-abcdefghijklmnop5678", "x")
    drafted = draft(Found(name="x", transport=Transport.STDIO, command="c", args=args), "a.json")

    assert tomllib.loads(drafted.text)["args"] == [
        "--api-key",
        "${file:secrets/x.api-key}",
        "--token=${file:secrets/x.token}",
        "${file:secrets/x.arg3.2} ${file:secrets/x.arg3}",
        "x",
    ]
    assert drafted.secrets == {
        "x.api-key": "one",
        "x.token": "two",
        "x.arg3": "sk-abcdefghijklmnop5678",
        "x.arg3.2": "sk-abcdefghijklmnop1234",
    }


def test_secrets_in_the_arguments_of_containers_and_bridges_move_out() -> None:
    docker = """{"mcpServers": {"github": {"command": "docker",
      "args": ["run", "-i", "-e", "GITHUB_TOKEN=abc-literal", "-e", "REGION=eu", "ghcr.io/github/server:1"]}}}"""
    bridge = """{"mcpServers": {"far": {"command": "npx",
      "args": ["mcp-remote@1", "https://far.example/mcp", "--header", "Authorization: Bearer abc-literal"]}}}"""

    assert only(docker)[0]["args"][3] == "GITHUB_TOKEN=${file:secrets/github.GITHUB_TOKEN}"
    assert only(bridge)[0]["args"][3] == "Authorization: Bearer ${file:secrets/far.header}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Bank", "bank"),
        ("my.server/v2", "my-server-v2"),
        ("a__b", "a_b"),
        ("mcpgw", "mcpgw-upstream"),
        ("日本", "server"),
        ("-x_", "x"),
        ("x" * 50, "x" * 31),
    ],
)
def test_client_names_are_folded_into_server_names(name: str, expected: str) -> None:
    found = Found(name=name, transport=Transport.STDIO, command="c")

    assert draft(found, "a.json").name == expected
    second = draft(found, "a.json", {expected}).name
    assert second.endswith("-2") and len(second) <= 31
    read_entry("catalog/x.toml", second, draft(found, "a.json", {expected}).text)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(deadline=None)  # the machine may be busy
@given(
    name=texts,
    origin=texts,
    args=st.lists(texts, max_size=4),
    env=st.dictionaries(texts, texts, max_size=4),
    notes=st.lists(texts, max_size=2),
)
def test_whatever_a_client_had_the_file_loads_and_means_the_same(
    name: str, origin: str, args: list[str], env: dict[str, str], notes: list[str]
) -> None:
    found = Found(name=name, transport=Transport.STDIO, command="c", args=tuple(args), env=env, notes=tuple(notes))
    drafted = draft(found, origin)

    entry = read_entry("catalog/x.toml", drafted.name, drafted.text)

    def back(text: str) -> str:
        return re.sub(r"\$\{file:secrets/([^}]+)\}", lambda match: drafted.secrets[match[1]], text)

    assert [back(arg) for arg in entry.args] == [arg.replace("${", "{") for arg in args]
    assert {key: back(value) for key, value in entry.env.items()} == {k: v.replace("${", "{") for k, v in env.items()}
