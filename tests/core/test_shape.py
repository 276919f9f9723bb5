"""Shapes of the gateway's own making: every complaint, and the same verdict as a whole JSON Schema validator has."""

from typing import Any

import jsonschema_rs
import pytest

from mcpgw.core.shape import misfits

PROPERTIES: dict[str, Any] = {
    "id": {"type": "string", "pattern": "^[a-z_]{1,8}$", "description": "An id."},
    "state": {"enum": ["pending", "done"]},
    "comment": {"type": "string", "minLength": 1, "maxLength": 5},
    "wait": {"type": "integer", "minimum": 0, "maximum": 45},
    "sure": {"type": "boolean"},
    "arguments": {"type": "object"},
}
CASES: list[tuple[dict[str, Any], str]] = [
    ({"id": "apr_x"}, ""),
    ({"id": "a", "state": "done", "comment": "12345", "wait": 45, "sure": True}, ""),
    ({"id": "a", "wait": 0, "sure": False, "comment": "1"}, ""),
    ({"id": "a", "arguments": {}}, ""),
    ({"id": "a", "arguments": []}, "`arguments` must be an object."),
    ({}, "`id` is missing."),
    ({"id": 7}, "`id` must be a string."),
    ({"id": "A"}, "`id` must look like ^[a-z_]{1,8}$."),
    ({"id": "abc\n"}, "`id` must look like ^[a-z_]{1,8}$."),
    ({"id": "a", "state": "open"}, "`state` must be one of pending, done."),
    ({"id": "a", "state": ["done"]}, "`state` must be one of pending, done."),
    ({"id": "a", "comment": ""}, "`comment` must have at least 1 characters."),
    ({"id": "a", "comment": "123456"}, "`comment` has 6 characters; 5 are the most."),
    ({"id": "a", "wait": True}, "`wait` must be an integer."),
    ({"id": "a", "wait": 1.5}, "`wait` must be an integer."),
    ({"id": "a", "wait": -1}, "`wait` must be at least 0."),
    ({"id": "a", "wait": 46}, "`wait` must be at most 45."),
    ({"id": "a", "sure": "yes"}, "`sure` must be a boolean."),
    ({"id": "a", "stat": "done"}, "There is no 'stat' here. Did you mean `state`?"),
]


@pytest.mark.parametrize(("value", "complaint"), CASES)
def test_what_does_not_fit_is_said(value: dict[str, Any], complaint: str) -> None:
    assert " ".join(misfits(value, PROPERTIES, ("id",))) == complaint
    schema = {"type": "object", "properties": PROPERTIES, "required": ["id"], "additionalProperties": False}
    assert jsonschema_rs.validator_for(schema).is_valid(value) is (not complaint)


def test_everything_that_is_wrong_is_said_at_once_and_long_names_are_cut() -> None:
    found = misfits({"x" * 1_000: 1, "state": "open"}, PROPERTIES, ("id",))
    assert len(found) == 3 and len(found[0]) < 200
    assert misfits({"a": 1}, {}) == ("There is no 'a' here.",)


def test_a_keyword_that_would_not_be_checked_is_an_error_of_the_program() -> None:
    with pytest.raises(NotImplementedError, match="'multipleOf'"):
        misfits({"n": 1}, {"n": {"type": "integer", "multipleOf": 2}})
