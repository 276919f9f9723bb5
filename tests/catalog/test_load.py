"""Catalog files: what they mean, and what an admin reads when they are wrong."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mcpgw.app import network
from mcpgw.catalog.entry import Rules, Transport, WhenDown
from mcpgw.catalog.load import load_catalog, read_entry
from mcpgw.catalog.problems import CatalogError
from mcpgw.core.answers import Question
from mcpgw.core.model import (
    Masking,
    Risk,
    Target,
    TargetKind,
)
from mcpgw.upstream import HttpServer, StdioServer

BANK = """\
transport = "http"
url = "https://bank.example/mcp"
headers = { X-Api-Key = "${file:secrets/bank.key}" }
bearer = "${env:BANK_TOKEN}"
unavailable = "list"

[defaults]
scope = "bank"
tags = ["money"]
risk = "high"
timeout_s = 10
redaction = { columns = ["ssn"], profile = "strict" }

[tools.transfer]
name = "pay"
tags = ["write"]
max_result_bytes = 2000
truncate = true
questions = ["form", "url"]
annotations = { readOnlyHint = false, title = "Pay" }

[tools.lookup]
risk = "low"
scope = "lookups"
timeout_s = 2.5
[tools.lookup.redaction]
columns = ["email", "ssn"]
paths = ["rows[*].name"]
profile = "default"

[tools.drop]
enabled = false
"""


def test_a_file_becomes_an_entry_with_defaults_worked_in() -> None:
    entry = read_entry("catalog/bank.toml", "bank", BANK)

    assert (entry.name, entry.transport, entry.unavailable) == ("bank", Transport.HTTP, WhenDown.LIST)
    assert entry.rules(TargetKind.TOOL, "transfer") == Rules(
        name="pay",
        scope="bank",
        tags=frozenset({"money", "write"}),
        risk=Risk.HIGH,
        masking=Masking(profile="strict", columns=("ssn",)),
        timeout_s=10,
        max_result_bytes=2000,
        questions=frozenset({Question.FORM, Question.URL}),
        truncate=True,
        annotations={"readOnlyHint": False, "title": "Pay"},
    )
    lookup = entry.rules(TargetKind.TOOL, "lookup")
    assert lookup.masking == Masking(profile="default", columns=("ssn", "email"), paths=("rows[*].name",))
    assert (lookup.risk, lookup.scope) == (Risk.LOW, "lookups")
    assert not entry.rules(TargetKind.TOOL, "drop").enabled


def test_a_tool_that_the_file_does_not_name_has_the_defaults_and_so_do_prompts_of_the_same_name() -> None:
    entry = read_entry("catalog/bank.toml", "bank", BANK)

    assert entry.rules(TargetKind.TOOL, "unheard_of") == entry.defaults
    assert entry.rules(TargetKind.PROMPT, "transfer") == entry.defaults
    assert entry.rules(TargetKind.TOOL, "transfer").name == "pay"


def test_a_tool_without_rules_has_the_limits_of_the_model() -> None:
    rules, limits = Rules(), {field.name: field.default for field in fields(Target)}

    assert (rules.timeout_s, rules.max_result_bytes) == (limits["timeout_s"], limits["max_result_bytes"])
    assert (rules.truncate, rules.risk, rules.scope) == (limits["truncate"], limits["risk"], limits["scope"])


STDIO = 'transport = "stdio"\ncommand = "uvx"\n'
HTTP = 'transport = "http"\nurl = "https://bank.example/mcp"\n'

WRONG: list[tuple[str, str]] = [
    # keys
    (STDIO + 'comand = "x"', "3: unknown key `comand`. Did you mean `command`?"),
    (STDIO + 'xyzzy = "x"', "3: unknown key `xyzzy`. Known here: `addresses`, `args`"),
    (STDIO + "[tool]\n", "3: unknown key `tool`. Did you mean `tools`?"),
    (STDIO + "[defaults]\nrisc = 'high'", "4: unknown key `risc`. Did you mean `risk`?"),
    (STDIO + "[defaults]\nname = 'x'", "4: unknown key `name`."),
    (STDIO + "[defaults]\ncolumns = ['ssn']", "4: unknown key `columns`. It belongs into `redaction = { columns = … }`."),
    (STDIO + "[tools.a]\n\ntimeout = 3", "5: unknown key `timeout`. Did you mean `timeout_s`?"),
    (STDIO + "[tools.a]\nreadOnlyHint = true", "4: unknown key `readOnlyHint`. It belongs into `annotations = {"),
    (
        STDIO + "[[defaults.redaction.rules]]\npath = 'a'\noperater = 'mask'",
        "5: unknown key `operater`. Did you mean `operator`?",
    ),
    (STDIO + "[[defaults.redaction.rules]]\nunmasked_for = ['group:a']", "3: a rule needs `path`. Write it like"),
    (STDIO + "[[tools.a.redaction.rules]]\npath = 'a'\nunmasked_for = ['fraud']", "5: `unmasked_for` must be a list of"),
    (STDIO + "[defaults]\nredaction = { rules = 'a' }", "4: `rules` must be a list of tables, not this string."),
    (STDIO + '[tools."a.b"]\nredaction = { colums = ["x"] }', "4: unknown key `colums`. Did you mean `columns`?"),
    (STDIO + "[tools.a.annotations]\nreadonlyHint = true", "4: unknown key `readonlyHint`. Did you mean `readOnlyHint`?"),
    # types
    (STDIO + "args = 'x'", "3: `args` must be a list of strings, not this string."),
    (STDIO + "args = [1]", "3: `args` must be a list of strings, not a list."),
    (STDIO + "env = { A = 1 }", "3: `env` must be a table of strings, not a table."),
    (STDIO + "enabled = 'yes'", "3: `enabled` must be true or false, not this string."),
    (STDIO + "cwd = ''", "3: `cwd` must be a string that is not empty, not an empty string."),
    (STDIO + "inherit_env = ['']", "3: `inherit_env` must be a list of strings, none of them empty, not a list with an empty"),
    (STDIO + "unavailable = 'shw'", '3: `unavailable` must be "hide" or "list", not this string.'),
    (STDIO + "tools = 3", "3: `tools` must be a table, not a whole number."),
    (STDIO + "tools.a = 3", "3: `a` must be a table. Write `[tools.a]`."),
    (STDIO + "defaults = []", "3: `defaults` must be a table, not a list."),
    (STDIO + "[defaults]\nredaction = 1", "4: `redaction` must be a table, not a whole number."),
    (STDIO + "[defaults]\ntimeout_s = 0", "4: `timeout_s` must be a number of seconds above 0, not this number."),
    (STDIO + "[defaults]\ntimeout_s = inf", "4: `timeout_s` must be a number of seconds above 0, not this number."),
    (STDIO + "[defaults]\ntimeout_s = true", "4: `timeout_s` must be a number of seconds above 0, not true or false."),
    (STDIO + "[defaults]\nmax_result_bytes = 1.5", "4: `max_result_bytes` must be a whole number above 0, not a number."),
    (STDIO + "[defaults]\nmax_result_bytes = true", "4: `max_result_bytes` must be a whole number above 0, not true or false."),
    (STDIO + "[defaults]\nrisk = 'medium'", '4: `risk` must be "low" or "high", not this string.'),
    (STDIO + "[defaults]\nscope = 2026-11-21", "4: `scope` must be a string that is not empty, not a date or time."),
    # transports
    ('command = "x"', '1: `transport` is missing. Add `transport = "stdio"`'),
    ('transport = "htp"', '1: `transport` must be "stdio" or "http" or "sse", not this string.'),
    ('\ntransport = "stdio"', '2: `transport = "stdio"` needs `command`.'),
    ('transport = "sse"', '1: `transport = "sse"` needs `url`.'),
    (HTTP + "command = 'x'", '3: `command` means nothing to `transport = "http"`. Remove it.'),
    (STDIO + "url = 'https://x.example'", '3: `url` means nothing to `transport = "stdio"`.'),
    ('transport = "http"\nurl = "bank.example"', "2: `url` must be an address that begins with https:// or http://."),
    (f"{STDIO}limits = {{ memory = 1 }}", "3: unknown key `memory`."),
    (f"{STDIO}limits = {{ memory_mb = 0 }}", "3: `memory_mb` must be a whole number above 0, not"),
    (f'{STDIO}addresses = "private"', '3: `addresses` means nothing to `transport = "stdio"`.'),
    (f"{HTTP}limits = {{ cpu_s = 1 }}", '3: `limits` means nothing to `transport = "http"`.'),
    (f'{HTTP}addresses = "any"', '3: `addresses` must be "public" or "private", not this'),
    ('transport = "http"\nurl = "http://[::1"', "2: `url` must be an address"),
    (HTTP + '[headers]\n"X Key" = "a"', "4: this is no name of a header. Use letters, digits and hyphens."),
    (
        HTTP + 'bearer = "${env:T}"\nheaders = { authorization = "Basic ${env:T}" }',
        "3: `headers` give Authorization already. Keep one of the two.",
    ),
    # names
    (STDIO + 'name = "My Bank"', '3: "My Bank" cannot name a server. Use up to 31 of a-z'),
    (STDIO + 'name = "mcpgw"', '3: "mcpgw" cannot name a server.'),
    (STDIO + '[tools.t]\nname = "a.b"', "4: no client accepts the published name s__a_b. Use letters, digits, _ and -"),
    (STDIO + f'[tools.t]\nname = "{"x" * 62}"', "4: no client accepts the published name s__xxx"),
    # references and secrets
    (STDIO + 'cwd = "${env:HOME}/x"', "3: `cwd`: references are not understood here. Write it out."),
    ('transport = "http"\nurl = "https://x.example/mcp?api_key=hunter2"', "2: `url` is a secret written out (it is an address"),
    ('transport = "http"\nurl = "https://x.example/s/q8Zr1Xw0bT5vKp2LmN7sYd4H/mcp"', "2: `url` is a secret written out"),
    (STDIO + 'env = { A = "${HOME}" }', "3: `env.A`: only ${env:NAME} and ${file:path} are understood after ${."),
    (STDIO + 'env = { A = "${env:A-B}" }', "3: `env.A`: ${env:…} needs the name of an environment variable"),
    (STDIO + 'env = { BANK_TOKEN = "hunter2" }', "3: `env.BANK_TOKEN` is a secret written out (its name says it is a secret)."),
    (STDIO + 'env = { DB = "postgres://u:hunter2@h/d" }', "3: `env.DB` is a secret written out (it is an address with a"),
    (STDIO + 'args = ["ok", "--api-key", "hunter2"]', "3: `args.2` is a secret written out (it follows the option for one)."),
    (STDIO + 'args = ["--token=hunter2"]', "3: `args.0` is a secret written out (it follows the option for one)."),
    (HTTP + 'bearer = "hunter2"', "3: `bearer` is a secret written out (a bearer token always is one)."),
    (HTTP + 'headers = { X-Api-Key = "hunter2" }', "3: `headers.X-Api-Key` is a secret written out"),
    ('transport = "http"\nurl = "https://u:hunter2@x.example"', "2: `url` is a secret written out"),
    # TOML itself
    (STDIO + 'args = "x', "3: this is not TOML: "),
    (STDIO + 'command = "x"', "3: this is not TOML: Cannot overwrite a value."),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_a_wrong_file_is_refused_with_its_line_and_what_to_do(text: str, expected: str) -> None:
    with pytest.raises(CatalogError) as refused:
        read_entry("catalog/s.toml", "s", text)

    messages = [str(problem) for problem in refused.value.problems]
    assert any(message.startswith(f"catalog/s.toml:{expected}") for message in messages), messages
    assert "hunter2" not in str(refused.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(CatalogError) as refused:
        read_entry("catalog/s.toml", "s", STDIO + "enabld = true\nargs = 1\n[defaults]\nrisk = 1\n")

    assert [problem.where for problem in refused.value.problems] == ["catalog/s.toml:3", "catalog/s.toml:4", "catalog/s.toml:6"]


RIGHT: list[tuple[str, dict[str, Any]]] = [
    (STDIO + 'args = ["--token", "${env:T}", "--api-key=${file:k}", "--secret", "--verbose", ""]', {}),
    (STDIO + 'env = { MAX_TOKENS = "4096", AUTH_MODE = "none", KEY_FILE = "/etc/key", EMPTY_TOKEN = "" }', {}),
    (STDIO + 'env = { PUBLIC_KEY = "pem", TENANT = "b2c3d4e5-0000-4000-8000-1a2b3c4d5e6f" }', {}),
    (STDIO + 'env = { DB = "postgres://u:${env:PW}@h/d" }', {}),
    (HTTP + 'headers = { Authorization = "Basic ${env:LOGIN}" }', {}),
    ('transport = "sse"\nurl = "http://127.0.0.1:9/sse"\nenabled = false', {"enabled": False}),
]


@pytest.mark.parametrize(("text", "expected"), RIGHT)
def test_a_right_file_is_taken(text: str, expected: dict[str, Any]) -> None:
    entry = read_entry("catalog/s.toml", "s", text)

    assert {key: getattr(entry, key) for key in expected} == expected


def test_the_folder_is_read_file_by_file_and_files_of_editors_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    folder.mkdir()
    (folder / "time.toml").write_text(STDIO)
    (folder / "b.toml").write_text(HTTP + 'name = "bank"')
    (folder / ".#time.toml").write_text("not TOML")
    (folder / "notes.md").write_text("not TOML")

    assert list(load_catalog(folder).entries) == ["bank", "time"]


def test_one_wrong_file_refuses_the_folder_and_names_all_that_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    folder.mkdir()
    (folder / "a.toml").write_text(STDIO)
    (folder / "b.toml").write_text(STDIO + 'name = "a"')
    (folder / "c.toml").write_bytes(b"\xff")
    (folder / "d.toml").mkdir()
    (folder / "catalog.lock").write_text("{")

    with pytest.raises(CatalogError) as refused:
        load_catalog(folder)

    messages = [str(problem) for problem in refused.value.problems]
    assert messages == [
        'catalog/b.toml:3: the server "a" is described in catalog/a.toml already. Give one of them another name.',
        "catalog/c.toml: is not UTF-8 text.",
        "catalog/d.toml: cannot be read: Is a directory.",
        "catalog/catalog.lock: is not JSON. Restore it from your version control, or remove it and accept again.",
    ]


def test_a_missing_folder_is_an_error_and_not_an_empty_catalog(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"catalog/: there is no such folder\. Run mcpgw init\."):
        load_catalog(tmp_path / "catalog")


def test_limits_and_reach_are_for_the_connection_and_not_for_who_is_connected_to() -> None:
    plain, limited = read_entry("a.toml", "a", STDIO), read_entry("a.toml", "a", f"{STDIO}limits = {{ memory_mb = 512 }}")
    assert (plain.limits.memory_mb, limited.limits.memory_mb, limited.limits.open_files) == (4096, 512, 1024)
    public, private = read_entry("b.toml", "b", HTTP), read_entry("b.toml", "b", f'{HTTP}addresses = "private"')
    assert (public.private, private.private) == (False, True)
    for one, other in ((plain, limited), (public, private)):
        assert one.fingerprint == other.fingerprint and one.connection != other.connection
    config = network.server(private, Path(), {})
    assert isinstance(config, HttpServer) and config.private
    config = network.server(limited, Path(), {})
    assert isinstance(config, StdioServer) and (config.memory_mb, config.open_files, config.cpu_s) == (512, 1024, 0)
