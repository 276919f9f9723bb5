"""docs/catalog.md lists every key there is, and none that is not; its examples load."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from mcpgw.app import convert
from mcpgw.catalog import keys
from mcpgw.catalog.keys import Kind
from mcpgw.catalog.load import read_entry
from mcpgw.core.model import TargetKind
from mcpgw.settings import from_text

PAGE = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text()
RULES = "## Rules: `[defaults]`, `[tools.NAME]`, `[prompts.NAME]` and `[resources.URI]`"
TABLES: dict[str, Mapping[str, Kind]] = {
    "## Keys of a file": keys.SERVER,
    "### A server that the gateway starts (`stdio`)": keys.STDIO,
    "### A server that the gateway calls (`http`, `sse`)": keys.REMOTE,
    RULES: keys.TOOL,
    "### `redaction`": keys.REDACTION,
    "### `annotations`": keys.ANNOTATIONS,
}


def section(heading: str) -> str:
    return re.split(r"^#+ ", PAGE.partition(f"{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize(("heading", "table"), TABLES.items(), ids=[*TABLES])
def test_every_key_is_documented_and_every_documented_key_exists(heading: str, table: Mapping[str, Kind]) -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", section(heading), re.MULTILINE)) == set(table)


def test_the_keys_that_defaults_lack_stand_in_a_table_of_their_own() -> None:
    common, _, single = section(RULES).partition("Only for single tools and prompts:")

    assert set(re.findall(r"^\| `(\w+)` \|", common, re.MULTILINE)) == set(keys.DEFAULTS)
    assert set(re.findall(r"^\| `(\w+)` \|", single, re.MULTILINE)) == set(keys.TOOL) - set(keys.DEFAULTS)
    assert set(re.findall(r"^\| `(\w+)` \| .* \| .*prompt", single, re.MULTILINE)) == set(keys.PROMPT) - set(keys.DEFAULTS)
    assert keys.RESOURCE == keys.DEFAULTS


def test_the_examples_load() -> None:
    example, profiles = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

    policy = convert.policy(from_text(profiles, Path()))
    assert [policy.searches(role) for role in ("analysts", "tellers")] == [True, False]
    entry = read_entry("catalog/bank.toml", "bank", example)

    assert entry.rules(TargetKind.TOOL, "transfer").masking.columns == ("ssn", "iban")
