"""Secrets by reference: resolved when used, never seen anywhere else."""

import logging
from pathlib import Path

import pytest

from mcpgw.catalog.load import read_entry
from mcpgw.catalog.problems import CatalogError
from mcpgw.catalog.references import MAX_SECRET_BYTES, literal_secret, telling_name

ENTRY = """\
transport = "http"
url = "https://bank.example/mcp?tenant=${env:TENANT}"
bearer = "${env:TOKEN}"
headers = { X-Api-Key = "${file:secrets/key}", X-Plain = "plain" }
"""


def test_references_are_filled_in_at_use_and_shown_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text("s3cret-key\n")
    entry = read_entry("catalog/bank.toml", "bank", ENTRY)

    with caplog.at_level(logging.DEBUG):
        access = entry.resolve(tmp_path, {"TENANT": "t-1", "TOKEN": "s3cret-token"})

    assert access.url == "https://bank.example/mcp?tenant=t-1"
    assert access.headers == {"X-Api-Key": "s3cret-key", "X-Plain": "plain", "Authorization": "Bearer s3cret-token"}
    assert "s3cret" not in f"{access!r} {access} {entry!r} {caplog.text}"


def test_a_started_server_gets_its_variables_and_the_inherited_ones_that_exist(tmp_path: Path) -> None:
    text = (
        'transport = "stdio"\ncommand = "bank"\nargs = ["--db", "postgres://u:${env:PW}@h/d"]\ncwd = "work"\n'
        'inherit_env = ["HTTPS_PROXY", "NO_PROXY", "MODE"]\nenv = { MODE = "live", TOKEN = "${env:PW}" }\n'
    )
    entry = read_entry("catalog/bank.toml", "bank", text)

    access = entry.resolve(tmp_path, {"PW": "pw", "HTTPS_PROXY": "http://proxy", "MODE": "theirs", "OTHER": "stays out"})

    assert access.args == ("--db", "postgres://u:pw@h/d")
    assert access.cwd == tmp_path / "work"
    assert access.env == {"HTTPS_PROXY": "http://proxy", "MODE": "live", "TOKEN": "pw"}


def test_every_reference_that_cannot_be_resolved_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    entry = read_entry("catalog/bank.toml", "bank", ENTRY)

    with pytest.raises(CatalogError) as refused:
        entry.resolve(tmp_path, {"TENANT": ""})

    assert [str(problem) for problem in refused.value.problems] == [
        "catalog/bank.toml:2: `url`: the environment variable TENANT is empty. Set it, or name another one.",
        "catalog/bank.toml:4: `headers.X-Api-Key`: the file secrets/key cannot be read: No such file or directory."
        " Set it, or name another one.",
        "catalog/bank.toml:3: `bearer`: the environment variable TOKEN is not set. Set it, or name another one.",
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"s" * (MAX_SECRET_BYTES + 1), f"is longer than {MAX_SECRET_BYTES} bytes"),
        (b"s3cret\nX-Evil: 1", "its value holds a line break or NUL, which cannot be sent"),
        (b"s3cret\0", "its value holds a line break or NUL, which cannot be sent"),
    ],
)
def test_a_file_that_cannot_be_a_header_is_refused_without_its_content(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "key").write_bytes(content)
    entry = read_entry("catalog/x.toml", "x", 'transport = "http"\nurl = "https://x.example"\nbearer = "${file:key}"')

    with pytest.raises(CatalogError, match=expected) as refused:
        entry.resolve(tmp_path, {})

    assert "s3cret" not in str(refused.value)


def test_one_line_break_at_the_end_of_a_file_is_no_part_of_the_secret(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b" two words \r\n")
    entry = read_entry("catalog/x.toml", "x", 'transport = "stdio"\ncommand = "x"\nenv = { A = "${file:key}" }')

    assert entry.resolve(tmp_path, {}).env == {"A": " two words "}


def test_an_environment_cannot_carry_nul(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"a\0b")
    entry = read_entry("catalog/x.toml", "x", 'transport = "stdio"\ncommand = "x"\nenv = { A = "${file:key}" }')

    with pytest.raises(CatalogError, match=r"`env\.A`: its value holds a NUL character"):
        entry.resolve(tmp_path, {})


def test_the_fingerprint_follows_the_way_to_a_server_and_not_its_secrets(tmp_path: Path) -> None:
    def fingerprint(text: str) -> str:
        return read_entry("catalog/x.toml", "x", text).fingerprint

    stdio = 'transport = "stdio"\ncommand = "x"\nargs = ["==1"]\n'
    http = 'transport = "http"\nurl = "https://x.example"\n'
    assert fingerprint(stdio) == fingerprint(stdio + "enabled = false\n[tools.a]\nrisk = 'high'")
    different = [stdio, stdio.replace("1", "2"), stdio + 'env = { MODE = "a" }', http, http.replace('http"', 'sse"')]
    assert len({fingerprint(text) for text in different}) == len(different)


@pytest.mark.parametrize(
    ("name", "tells"),
    [
        ("BANK_TOKEN", True),
        ("X-Api-Key", True),
        ("githubToken", True),
        ("PGPASSWORD", True),
        ("OPENAI_API_KEY", True),
        ("Authorization", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("SECRET_2", False),
        ("MAX_TOKENS", False),
        ("TOKEN_LIMIT", False),
        ("PUBLIC_KEY", False),
        ("KEY", True),
        ("API_KEY_FILE", False),
        ("MONKEY", False),
        ("__", False),
    ],
)
def test_names_tell_secrets_by_their_last_word(name: str, tells: bool) -> None:
    assert telling_name(name) is tells


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("sk-abcdefghijklmnop1234", "known kind"),
        ("ghp_" + "a" * 36, "known kind"),
        ("AKIA" + "ABCDEFGHIJKLMNOP", "known kind"),
        ("x eyJhbGciOiJI.eyJzdWIiOiIx.c2ln", "known kind"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAAA", "private key"),
        ("Bearer abcdef123", "login header"),
        ("redis://:hunter2@cache/0", "address with a password"),
        ("API_KEY=abc", "gives a secret its value"),
        ("Authorization: Bearer abc", "gives a secret its value"),
        ("API_KEY=${env:X}", ""),
        ("Authorization: Bearer ${env:X}", ""),
        ("REGION=eu", ""),
        ("note: two words", ""),
        ("https://u:sk-abcdefghijklmnop1234@h/", "known kind"),
        ("9f86d081884c7d659a2feaa0c55ad015", "looks random"),
        ("q8Zr1Xw0bT5vKp2LmN7sYd4H", "looks random"),
        ("mcp-server-time-production-2", ""),
        ("/usr/lib/python3/dist-packages/x1y2z3", ""),
        ("https://bank.example/mcp", ""),
        ("/etc/ssl/ca.pem", ""),
        ("eu-central-1", ""),
        ("", ""),
    ],
)
def test_values_tell_secrets_by_their_shape(value: str, why: str) -> None:
    found = literal_secret("SETTING", value)

    assert [why in one.why for one in found] == ([True] if why else [])
