"""Whatever stands in a file, the answer is an entry or a complaint with its place: never another error."""

import contextlib
import json
from pathlib import Path
from typing import Any

import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpgw.catalog import keys
from mcpgw.catalog.dialects import read_client_config
from mcpgw.catalog.draft import draft
from mcpgw.catalog.load import read_entry
from mcpgw.catalog.problems import CatalogError

KNOWN = sorted({*keys.SERVER, *keys.STDIO, *keys.REMOTE, *keys.TOOL, *keys.REDACTION, *keys.ANNOTATIONS})
CLIENTS = [
    "mcpServers", "servers", "mcp", "mcp_servers", "projects", "inputs", "id", "default",
    "type", "command", "args", "env", "url", "httpUrl", "headers", "environment", "timeout",
    "env_vars", "http_headers", "bearer_token_env_var", "disabled", "tool_timeout_sec", "includeTools", "name", "password",
]  # fmt: skip
words = st.sampled_from(
    [
        "stdio",
        "http",
        "sse",
        "local",
        "hide",
        "high",
        "x",
        "",
        "https://h.example/mcp",
        "${env:A}",
        "${file:b}",
        "${",
        "${input:x}",
    ]
)


def documents(known: list[str], leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(known) | st.text("ab${}.é\u200b ", min_size=1, max_size=5)
    values = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
    )
    return st.dictionaries(names, values, max_size=6)


plain = (
    words | st.integers(-1, 2**60) | st.booleans() | st.floats() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)


@settings(max_examples=60, deadline=None)  # deadline: the machine may be busy
@given(documents(KNOWN, plain))
def test_any_toml_is_an_entry_or_a_complaint_with_its_line(data: dict[str, Any]) -> None:
    try:
        read_entry("catalog/s.toml", "s", tomlkit.dumps({"transport": "stdio", "command": "c", **data}))
    except CatalogError as error:
        assert error.problems
        assert all(problem.where.startswith("catalog/s.toml:") for problem in error.problems)


@settings(max_examples=60, deadline=None)  # deadline: the machine may be busy
@given(documents(CLIENTS, plain | st.none()))
def test_any_json_is_servers_that_can_be_drafted_or_a_complaint(data: dict[str, Any]) -> None:
    with contextlib.suppress(CatalogError):
        for found in read_client_config(json.dumps(data), Path("/home/me/mcp.json")):
            drafted = draft(found, "mcp.json")
            read_entry("catalog/s.toml", drafted.name, drafted.text)
