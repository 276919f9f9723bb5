"""docs/policy.md is built, decided and held against the code."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from mcpgw import settings as settings_module
from mcpgw.app import convert
from mcpgw.core.model import Identity
from mcpgw.policy import Policy
from mcpgw.policy.cel import VARIABLES
from mcpgw.policy.grants import SIGN_IN_SCOPES
from mcpgw.policy.plain import MAX_DEPTH, MAX_TEXT, MAX_VALUES
from mcpgw.policy.rule import RESERVED
from mcpgw.policy.sql_parser import DIALECTS, MAX_CHARACTERS, MAX_TOKENS
from mcpgw.policy.sql_words import STATEMENTS
from mcpgw.settings import from_text
from tests.policy.samples import call, identity, target

DOCS = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
ROWS = re.findall(r"^\| `(\w+:[^`]+)` \| `(\w+)` \| `([^`]+)` \| (allow|hold|deny) \| `([^`]+)` \|$", DOCS, re.MULTILINE)


def build(text: str) -> Policy:
    return convert.policy(from_text(text, Path()))


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_example_is_a_policy(block: str) -> None:
    assert build(block).policy_hash


@pytest.mark.parametrize(("member", "tool", "arguments", "decision", "rule"), ROWS)
def test_the_first_example_decides_as_its_table_says(member: str, tool: str, arguments: str, decision: str, rule: str) -> None:
    decided = build(BLOCKS[0]).decide(call(json.loads(arguments), by=_caller(member), to=target(tool)))
    assert (type(decided).__name__.lower(), decided.ruling.rule_ids) == (decision, (rule,))


def test_the_table_and_the_examples_were_found() -> None:
    assert len(BLOCKS) == DOCS.count("```toml") >= 6
    assert len(ROWS) == 11


@pytest.mark.parametrize("section", ["Role", "Scope", "Rule", "Sql"])
def test_every_key_of_the_settings_is_documented(section: str) -> None:
    for key in getattr(settings_module, section).model_fields:
        assert re.search(rf"^\| `{key}` \|", DOCS, re.MULTILINE), key


@pytest.mark.parametrize(
    "word",
    sorted(
        (
            *VARIABLES,
            *STATEMENTS,
            *RESERVED,
            *SIGN_IN_SCOPES,
            *(f"{n:,}" for n in (MAX_VALUES, MAX_TEXT, MAX_CHARACTERS, MAX_TOKENS)),
        )
    ),
)
def test_every_name_and_limit_is_documented(word: str) -> None:
    assert re.search(rf"(`|\b){re.escape(word)}(`|\b)", DOCS), word
    assert f"{MAX_DEPTH} levels" in DOCS


def test_the_dialects_that_are_named_exist() -> None:
    row = next(line for line in DOCS.splitlines() if line.startswith("| `dialect`"))
    assert set(re.findall(r"`(\w+)`", row)) - {"dialect"} <= set(DIALECTS)


def _caller(member: str) -> Identity:
    form, _, name = member.partition(":")
    if form == "group":
        return identity(groups=frozenset({name}))
    claim, _, value = name.partition("=")
    return dataclasses.replace(identity(groups=frozenset()), claims={claim: value})
