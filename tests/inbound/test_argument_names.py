"""A key that is the tool's own but for its case is found wherever the tool declares one."""

from typing import Any

import pytest

from mcpgw.inbound.argument_names import MAX_STEPS, has_case_variant

PAYMENT: dict[str, Any] = {"type": "object", "properties": {"amount": {"type": "number"}, "to": {"type": "string"}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"request": PAYMENT}},
        {"properties": {"request": {"$ref": "#/$defs/Payment"}}, "$defs": {"Payment": PAYMENT}},
        {"properties": {"request": {"$ref": "#/definitions/Payment"}}, "definitions": {"Payment": PAYMENT}},
        {"properties": {"request": {"anyOf": [{"type": "null"}, PAYMENT]}}},
        {"properties": {"request": {"oneOf": [{"allOf": [PAYMENT]}]}}},
        {"allOf": [{"properties": {"request": PAYMENT}}]},
        {"additionalProperties": PAYMENT},
    ],
)
def test_within_an_object(schema: dict[str, Any]) -> None:
    assert not has_case_variant({"request": {"amount": 1, "to": "x", "note": "undeclared"}}, schema)
    for variant in ("Amount", "AMOUNT", "To"):
        assert has_case_variant({"request": {"amount": 1, variant: 2}}, schema)
        assert has_case_variant({"request": {variant: 2}}, schema)


@pytest.mark.parametrize("schema", [{"items": PAYMENT}, {"prefixItems": [{}, PAYMENT]}])
def test_within_an_array(schema: dict[str, Any]) -> None:
    wrapped = {"properties": {"all": schema}}
    assert not has_case_variant({"all": [{"amount": 1}, {"amount": 2}]}, wrapped)
    assert has_case_variant({"all": [{"amount": 1}, {"Amount": 2}]}, wrapped)


def test_letters_that_fold_alike() -> None:
    assert has_case_variant({"a": {"acce\u017fs": 1}}, {"properties": {"a": {"properties": {"access": {}}}}})


@pytest.mark.parametrize(
    "schema", [None, True, [], {"properties": 3, "items": 3, "anyOf": 3, "$ref": 3}, {"properties": {"a": True}}]
)
def test_what_declares_nothing_refuses_nothing(schema: object) -> None:
    assert not has_case_variant({"a": {"b": 1, "B": 2}, "c": [1, {"d": []}]}, schema)


def test_schemas_that_refer_to_themselves_end() -> None:
    tree: dict[str, Any] = {"properties": {"name": {}, "children": {"items": {"$ref": "#/$defs/Tree"}}}}
    schema = {"$ref": "#/$defs/Tree", "$defs": {"Tree": tree, "Loop": {"anyOf": [{"$ref": "#/$defs/Loop"}]}}}
    leaf: dict[str, Any] = {"name": "x"}
    for _ in range(60):
        leaf = {"name": "x", "children": [leaf]}
    assert not has_case_variant(leaf, schema)
    assert has_case_variant({"children": [{"children": [{"Name": "x"}]}]}, schema)
    assert not has_case_variant({"a": 1}, {"$ref": "#/$defs/Loop", **schema})


def test_what_cannot_be_compared_within_bounds_counts_as_a_variant() -> None:
    wide = {"items": {"anyOf": [{"properties": {str(number): {}}} for number in range(1_000)]}}
    arguments = {"all": [{"x": 1}] * (MAX_STEPS // 1_000 + 1)}
    assert has_case_variant(arguments, {"properties": {"all": wide}})
    assert not has_case_variant({"all": [{"x": 1}]}, {"properties": {"all": wide}})
