"""What lists show of a tool: the upstream's definition, but for personal data in its words and room for masked answers."""

import copy
from typing import Any

import pytest

from mcpgw.core.model import (
    Masking,
    Target,
    TargetKind,
)
from mcpgw.redaction import Operator, Profile, RedactionConfig, ShownDefinitions

OPEN = Profile(operators={"EMAIL": Operator.KEEP})
CONFIG = RedactionConfig(profiles={"default": Profile(), "open": OPEN})


def target(definition: dict[str, Any], profile: str = "default", hash_: str = "h") -> Target:
    return Target(
        kind=TargetKind.TOOL,
        name="bank__rows",
        server="bank",
        server_fingerprint="f",
        upstream_name="rows",
        definition=definition,
        definition_hash=hash_,
        annotations={"title": "Rows", "readOnlyHint": True},
        masking=Masking(profile=profile),
    )


def test_a_definition_is_the_upstreams_but_for_what_the_gateway_answers_for() -> None:
    definition = {
        "name": "rows",
        "x-unknown": None,
        "annotations": {"title": "Old"},
        "outputSchema": {"type": "object", "properties": {"born": {"type": "string", "format": "date"}}},
    }
    before = copy.deepcopy(definition)
    shown = ShownDefinitions(CONFIG).shown(target(definition))
    assert shown == {
        **definition,
        "name": "bank__rows",
        "annotations": {"title": "Rows", "readOnlyHint": True},
        "outputSchema": {"type": "object", "properties": {"born": {"type": "string"}}},
    }
    assert list(shown) == list(definition) and definition == before


def test_a_definition_is_read_once() -> None:
    definitions = ShownDefinitions(CONFIG)
    first, second = definitions.shown(target(SAID)), definitions.shown(target(SAID))
    assert first == second and first["inputSchema"] is second["inputSchema"]


SAID = {
    "title": "Rows of Mr. Richard Roe",
    "description": "Looks up a customer. Questions: jo@dept.example, (212) 555-0147.",
    "inputSchema": {
        "properties": {
            "title": {"type": "string", "title": "SSN", "description": "As in 219-09-9999", "default": "a@b.example"},
            "who": {"oneOf": [{"const": "a@b.example", "description": "c@d.example"}], "enum": ["e@f.example"]},
            "count": {"type": "integer", "description": "At most 100 rows; 10 by default."},
        }
    },
}


def test_personal_data_in_words_is_masked_and_data_that_a_client_sends_stays() -> None:
    shown = ShownDefinitions(CONFIG).shown(target(SAID))
    assert shown["title"] == "Rows of Mr. <PERSON>"
    assert shown["description"] == "Looks up a customer. Questions: <EMAIL>, <PHONE>."
    told = shown["inputSchema"]["properties"]
    assert told["title"] == {"type": "string", "title": "SSN", "description": "As in <US_SSN>", "default": "a@b.example"}
    assert told["who"] == {"oneOf": [{"const": "a@b.example", "description": "<EMAIL>"}], "enum": ["e@f.example"]}
    assert told["count"] == SAID["inputSchema"]["properties"]["count"]  # type: ignore[index]  # a test's literal


def test_a_tools_profile_says_what_stays_in_its_words() -> None:
    definitions = ShownDefinitions(CONFIG)
    assert "jo@dept.example, <PHONE>" in definitions.shown(target(SAID, "open"))["description"]
    assert "<EMAIL>, <PHONE>" in definitions.shown(target(SAID))["description"], "each profile has its own"


def test_without_its_profile_a_tool_has_no_words() -> None:
    shown = ShownDefinitions(CONFIG).shown(target({"description": "Rows", "inputSchema": {"type": "object"}}, "absent"))
    assert shown["description"] == "" and shown["inputSchema"] == {"type": "object"}


def test_a_new_definition_is_read_anew() -> None:
    definitions = ShownDefinitions(CONFIG)
    for text in ("One.", "Two."):
        assert definitions.shown(target({"description": text}, hash_=text))["description"] == text


@pytest.mark.parametrize(
    "schema", [None, True, [], "x", {"type": 5}, {"type": [{}, "integer"]}, {"$ref": 1}, {"properties": 3}]
)
def test_an_output_schema_that_is_none_does_no_harm(schema: object) -> None:
    assert "outputSchema" in ShownDefinitions(CONFIG).shown(target({"outputSchema": schema}))
