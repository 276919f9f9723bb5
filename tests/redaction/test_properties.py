"""Whatever an upstream sends: structure and untouched values stay, twice is once, and nothing but RedactionError is raised."""

import json
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpgw.core.model import Masking
from mcpgw.redaction.config import RedactionConfig
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import NoModel
from mcpgw.redaction.lists import listed

ENGINE = Engine(RedactionConfig(model="none"), NoModel())

keys = st.one_of(
    st.sampled_from(["ssn", "name", "memo", "f1", "account_no", "email", "columns", "rows", "value", "field"]),
    st.text(max_size=8),
)
snippets = st.sampled_from(
    ["SSN 219-09-9999", "Jane Doe", "<PERSON>", "a@b.example", '{"ssn": 1}', "a,b\n1,2\n3,4", "| a |\n|---|\n| 1 |",
     "&#45;", "%40", "\\u0031", "<td>1</td>",
     "key=value", "4111111111111111", "\u200b", "\ud800", "VALUES ('",
     "Mr. ", "\n\n", '"', "bmFtZT1KYW5lIERvZTtzc249MjE5LTA5LTk5OTk="]
)  # fmt: skip
texts = st.one_of(
    st.text(max_size=40), st.lists(snippets, max_size=5).map(" ".join), st.lists(snippets, max_size=5).map("".join)
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts)
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)), max_leaves=12
)
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def redacted(value: object) -> object:
    return ENGINE.redact({"structuredContent": value}, Masking()).payload["structuredContent"]


def shape(value: object) -> object:
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    return [shape(item) for item in value] if isinstance(value, list) else None


@quick
@given(values)
def test_keys_order_and_structure_stay(value: object) -> None:
    assert shape(redacted(value)) == shape(value)


@quick
@given(values)
def test_redacting_twice_is_redacting_once(value: object) -> None:
    once = redacted(value)
    assert redacted(once) == once


@quick
@given(values)
def test_text_that_holds_json_agrees_with_structured_content(value: object) -> None:
    payload = {"content": [{"type": "text", "text": json.dumps({"r": [value]})}], "structuredContent": {"r": [value]}}
    out = ENGINE.redact(payload, Masking()).payload
    assert json.loads(out["content"][0]["text"]) == out["structuredContent"]


@quick
@given(st.lists(st.sampled_from(["status", "count", "created_at", "currency"]), max_size=4), st.integers(0, 999))
def test_harmless_values_stay_byte_for_byte(names: list[str], number: int) -> None:
    text = json.dumps(dict.fromkeys(names, number), indent=number % 4)
    assert ENGINE.redact({"content": [{"type": "text", "text": text}]}, Masking()).payload["content"][0]["text"] == text


said = st.sampled_from(
    sorted(
        listed("""
            Jordan Ellery Amara Bianchi Kwame Goldstein Rochus Mandal April Moore Dover Chestnut Acme Widgets Pay Refund Dr. Ms.
            and of with from to called met by who said , . ; 's on Friday the card was blocked 219-09-9999 a@b.example
        """)
    )
)


@settings(quick, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(said, min_size=3, max_size=25).map(" ".join))
def test_with_a_model_too_redacting_twice_is_redacting_once(named_engine: Engine, text: str) -> None:
    once = named_engine.redact({"content": [{"type": "text", "text": text}]}, Masking()).payload
    assert named_engine.redact(once, Masking()).payload == once


HOSTILE = [
    "1 " * 50_000,
    "1-" * 50_000,
    "A " * 50_000,
    "a@" * 50_000,
    "a." * 50_000,
    "%41" * 30_000,
    "&#65;" * 20_000,
    "(" * 100_000,
    '{"a":' * 20_000,
    "Mr. " * 20_000,
    "a=" * 50_000,
    '"' * 100_000,
    "|" * 50_000 + "\n" + "-|" * 50_000,
    "a,b\n" * 20_000,
    "<a>" * 30_000,
    "</a>" * 30_000,
    "1 A " * 30_000,
    "DE89" * 30_000,
    "+1 " * 40_000,
    "12:" * 40_000,
    "\u0301" * 50_000,
    "QUJD" * 20_000,
    "-----BEGIN PRIVATE KEY-----" * 4_000,
    "x" * 200_000,
    "VALUES (" * 10_000,
    "(a) VALUES (1,",
    "1 Aa" * 30_000,
    "John Smith " * 10_000,
    "[{" * 30_000,
    "\n" * 100_000,
    "eyJ" * 40_000,
]


def test_no_hostile_text_takes_more_than_linear_time() -> None:
    for text in HOSTILE:
        began = time.process_time()
        ENGINE.redact({"content": [{"type": "text", "text": text}]}, Masking())
        assert time.process_time() - began < 5, text[:20]
