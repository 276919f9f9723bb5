"""A masked answer satisfies the schema that is published."""

import copy

import jsonschema_rs
import pytest

from mcpgw.redaction import relaxed_output_schema
from mcpgw.redaction.engine import Engine
from tests.redaction.helpers import json_of

STRICT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "title": "Customers",
    "required": ["rows"],
    "additionalProperties": False,
    "$defs": {"ssn": {"type": "string", "pattern": r"^\d{3}-\d{2}-\d{4}$", "minLength": 11, "maxLength": 11}},
    "properties": {
        "rows": {
            "type": "array",
            "uniqueItems": True,
            "items": {
                "type": "object",
                "required": ["ssn", "account_no"],
                "properties": {
                    "ssn": {"$ref": "#/$defs/ssn"},
                    "account_no": {"type": "integer", "minimum": 1},
                    "limit": {"type": ["number", "null"]},
                    "email": {"type": "string", "format": "email"},
                    "dob": {"oneOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
                    "kind": {"enum": ["a", "b"]},
                    "flag": {"const": True},
                    "version": {"const": 1},
                    "active": {"type": "boolean", "enum": [True]},
                },
            },
        }
    },
}
ROW = {"ssn": "219-09-9999", "account_no": 441123987, "limit": None, "email": "a@b.example", "dob": "1969-12-31", "kind": "a",
       "flag": True, "version": 1, "active": True}  # fmt: skip


def test_an_answer_validates_before_and_after_masking(engine: Engine) -> None:
    jsonschema_rs.validator_for(STRICT).validate({"rows": [ROW]})
    relaxed = jsonschema_rs.validator_for(relaxed_output_schema(STRICT), validate_formats=True)
    relaxed.validate({"rows": [ROW]})
    clean = json_of(engine, {"rows": [ROW, {**ROW, "ssn": "219-09-9998"}]})
    assert clean["rows"][0]["account_no"] == "<BANK_ACCOUNT>"
    relaxed.validate(clean)


def test_structure_stays_as_strict_as_it_was() -> None:
    relaxed = jsonschema_rs.validator_for(relaxed_output_schema(STRICT))
    for broken in ({}, {"rows": 1}, {"rows": [], "more": 1}, {"rows": [{"ssn": "1"}]}, {"rows": [{**ROW, "active": False}]}):
        assert not relaxed.is_valid(broken)


def test_the_schema_given_is_not_changed() -> None:
    before = copy.deepcopy(STRICT)
    relaxed_output_schema(STRICT)
    assert before == STRICT


RELAXED = [
    ({"oneOf": [{"type": "integer"}], "anyOf": [{}]}, {"anyOf": [{}], "allOf": [{"anyOf": [{"type": ["integer", "string"]}]}]}),
    ({"enum": [True, None]}, {"enum": [True, None]}),
    ({"const": {"a": [1]}}, {}),
    ({"const": None}, {"const": None}),
    ({"items": True, "contains": {"const": "x"}}, {"items": True, "contains": {}}),
    ({"items": [{"type": "integer"}], "not": {"type": "string"}}, {"items": [{"type": ["integer", "string"]}]}),
    ({"propertyNames": {"pattern": "^a"}}, {"propertyNames": {"pattern": "^a"}}),
    ({"properties": {"format": {"format": "date"}}}, {"properties": {"format": {}}}),
    ({"type": ["number", "string"], "x-own": 1}, {"type": ["number", "string"], "x-own": 1}),
]


@pytest.mark.parametrize(("strict", "relaxed"), RELAXED)
def test_each_keyword_is_relaxed_exactly_where_masking_may_touch_it(
    strict: dict[str, object], relaxed: dict[str, object]
) -> None:
    assert relaxed_output_schema(strict) == relaxed


REFERRED = [
    (
        {"$ref": "#/components/a~1b", "components": {"a/b": {"items": {"$ref": "#/components/a~1b"}, "type": "integer"}}},
        {
            "$ref": "#/$defs/~1components~1a~01b",
            "components": {"a/b": {"items": {"$ref": "#/components/a~1b"}, "type": "integer"}},
            "$defs": {"/components/a~1b": {"items": {"$ref": "#/$defs/~1components~1a~01b"}, "type": ["integer", "string"]}},
        },
    ),
    ({"$ref": "#/oneOf/0", "oneOf": [{"const": 1}]}, {"$ref": "#/$defs/~1oneOf~10", "anyOf": [{}], "$defs": {"/oneOf/0": {}}}),
    ({"$ref": "#/$defs", "$defs": {}}, {"$ref": "#/$defs/~1%24defs", "$defs": {"/$defs": {}}}),
    ({"$ref": "#/oneOf/7"}, {"$ref": "#/$defs/~1oneOf~17", "$defs": {"/oneOf/7": True}}),
    ({"$ref": "#/%24defs/a", "$defs": {"a": {"const": 1}}}, {"$ref": "#/%24defs/a", "$defs": {"a": {}}}),
    ({"$ref": "#/items/0/items", "items": [{"items": True}]}, {"$ref": "#/items/0/items", "items": [{"items": True}]}),
    ({"$ref": "#a", "$defs": {"x": {"$anchor": "a"}}}, {"$ref": "#a", "$defs": {"x": {"$anchor": "a"}}}),
]


@pytest.mark.parametrize(("strict", "relaxed"), REFERRED)
def test_a_reference_leads_to_a_relaxed_schema(strict: dict[str, object], relaxed: dict[str, object]) -> None:
    assert relaxed_output_schema(strict) == relaxed


def test_a_reference_inside_an_embedded_schema_is_looked_up_there() -> None:
    inner = {"$id": "https://a.example/in", "x": {"const": 1}, "$ref": "#/x"}
    relaxed = relaxed_output_schema({"$defs": {"in": inner, "ref": {"$ref": "in"}}, "$id": "https://a.example/out", "x": {}})
    assert relaxed["$defs"]["in"] == {**inner, "$ref": "#/$defs/~1x", "$defs": {"/x": {}}}
    assert relaxed["$defs"]["ref"] == {"$ref": "in"} and "/x" not in relaxed["$defs"]


@pytest.mark.parametrize("out", ["https://a.example/s.json", "http://[", "other#/properties/a", "https://a.example/in#/x"])
def test_what_stands_in_another_document_may_insist_on_nothing(out: str) -> None:
    schema = {
        "$defs": {"a": {"$ref": out, "type": "integer", "title": "t"}, "in": {"$id": "https://a.example/in"}},
        "properties": {"b": {"type": "boolean"}},
        "unevaluatedProperties": False,
    }
    relaxed = relaxed_output_schema(schema)
    assert relaxed == {
        "$defs": {"a": {"title": "t"}, "in": {"$id": "https://a.example/in"}},
        "properties": schema["properties"],
    }


def test_an_address_that_is_none_leads_out() -> None:
    assert relaxed_output_schema({"$id": "https://a.example/x", "$ref": "http://[", "type": "object"}) == {
        "$id": "https://a.example/x"
    }


CONDITION = {"if": {"properties": {"kind": {"const": "a"}}}, "then": {"required": ["a"]}, "else": {"required": ["b"]}}


@pytest.mark.parametrize(
    ("value", "accepted"), [({"kind": "<MASKED>", "a": 1}, True), ({"b": 1}, True), ({"kind": "a"}, False)]
)
def test_of_a_condition_one_way_must_have_been_gone(value: object, accepted: bool) -> None:
    assert jsonschema_rs.validator_for(relaxed_output_schema(CONDITION)).is_valid(value) is accepted


def test_more_may_be_contained_when_masked_than_was() -> None:
    schema = {"contains": {"const": "a"}, "maxContains": 1, "minContains": 1}
    relaxed = jsonschema_rs.validator_for(relaxed_output_schema(schema))
    assert relaxed.is_valid(["<MASKED>", "<MASKED>"]) and not relaxed.is_valid([])
