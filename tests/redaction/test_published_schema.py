"""Whatever an upstream's schema says and its answers hold: the schema that is published accepts every redacted answer.

Schemas are made together with a value that conforms to them, so that each keyword really decides on what is in it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jsonschema
import jsonschema_rs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpgw.core.model import (
    Masking,
    Target,
    TargetKind,
)
from mcpgw.redaction import Operator, Profile, RedactionConfig, ShownDefinitions
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import NoModel
from mcpgw.redaction.presidio import PresidioNamer
from mcpgw.redaction.reader import Reader

DIALECT = "https://json-schema.org/draft/2020-12/schema"
EVERYTHING = Masking(paths=("**",))
"""Masks all that can be masked at all."""
MASKINGS = (Masking(), EVERYTHING, Masking(columns=("kind", "f1")), Masking(paths=("rows[*]", "**.ssn")))


def config(operator: Operator) -> RedactionConfig:
    return RedactionConfig(model="none", profiles={"default": Profile(default=operator)}, hash_key=b"k" * 32)


ENGINES = {operator: Engine(config(operator), NoModel()) for operator in Operator}
READER = Reader(scope="s")
DEFINITIONS = ShownDefinitions(RedactionConfig(model="none"))


def published(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema as a client reads it in a list."""
    target = Target(
        kind=TargetKind.TOOL,
        name="bank__rows",
        server="bank",
        server_fingerprint="f",
        upstream_name="rows",
        definition={"name": "rows", "inputSchema": {"type": "object"}, "outputSchema": schema},
        definition_hash=repr(schema),
        masking=Masking(),
    )
    shown: dict[str, Any] = DEFINITIONS.shown(target)["outputSchema"]
    return shown


def accepts(schema: dict[str, Any], value: object) -> bool:
    """Tell what two validators make of it, which have to agree."""
    jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    python = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)(schema).is_valid(value)
    rust = jsonschema_rs.validator_for(schema, validate_formats=True).is_valid(value)
    assert python == rust, f"the validators disagree: {python} and {rust}"
    return python


def assert_accepted(schema: dict[str, Any], value: object, engine: Engine, masking: Masking) -> None:
    relaxed = published(schema)
    assert accepts(relaxed, value), "before redaction"
    clean = engine.redact({"structuredContent": value}, masking, reader=READER).payload["structuredContent"]
    assert accepts(relaxed, clean), clean


# --- schemas with a value that conforms to them --------------------------------------------------------------------------

TEXTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("219-09-9999", {"pattern": r"^\d{3}-\d{2}-\d{4}$", "minLength": 11, "maxLength": 11}),
    ("a@b.example", {"format": "email"}),
    ("1969-12-31", {"format": "date", "maxLength": 10}),
    ("203.0.113.9", {"format": "ipv4"}),
    ("bank://a/a%40b.example", {"format": "uri"}),
    ("Jane Doe", {"pattern": "^Jane", "minLength": 3}),
    ("Mr. Richard Roe called from 212-555-0147", {"minLength": 20, "maxLength": 60}),
    ("4111111111111111", {"pattern": "^4[0-9]{15}$"}),
    ("219099999", {"contentEncoding": "base16"}),
    ("bmFtZT1KYW5lIERvZTtzc249MjE5LTA5LTk5OTk=", {"contentEncoding": "base64", "contentMediaType": "text/plain"}),
    ('{"ssn": "219-09-9999"}', {"contentMediaType": "application/json", "contentSchema": {"required": ["ssn"]}}),
    ("active", {}),
    ("", {"maxLength": 0}),
)
NUMBERS: tuple[tuple[int | float, dict[str, Any]], ...] = (
    (219099999, {"type": "integer", "minimum": 1, "maximum": 999_999_999}),
    (4111111111111111, {"type": "integer", "multipleOf": 1}),
    (2125550147, {"type": "integer", "exclusiveMinimum": 2125550146}),
    (441123987, {"type": "number"}),
    (1000.5, {"type": "number", "exclusiveMaximum": 1001}),
    (7, {"type": ["integer", "null"], "enum": [7, None]}),
    (0, {"const": 0}),
)
KEYS = [
    "ssn",
    "name",
    "account_no",
    "email",
    "dob",
    "tin",
    "memo",
    "f1",
    "kind",
    "flag",
    "uri",
    "blob",
    "type",
    "data",
    "rows",
    "columns",
]
Made = tuple[dict[str, Any], Any]


@dataclass
class Document:
    """What a schema being drawn refers to."""

    definitions: dict[str, Any] = field(default_factory=dict)
    components: dict[str, Any] = field(default_factory=dict)


@st.composite
def texts(draw: st.DrawFn) -> Made:
    value, rules = draw(st.sampled_from(TEXTS))
    kind = draw(st.sampled_from(["rules", "enum", "const", "bare"]))
    told: dict[str, dict[str, Any]] = {
        "rules": rules,
        "enum": {"enum": [value, "other"]},
        "const": {"const": value},
        "bare": {},
    }
    return {"type": "string", **told[kind]}, value


@st.composite
def numbers(draw: st.DrawFn) -> Made:
    value, rules = draw(st.sampled_from(NUMBERS))
    return draw(st.sampled_from([rules, {**rules, "enum": [value, None]}, {"enum": [value, True]}, {"const": value}])), value


FIXED: tuple[Made, ...] = (
    ({"type": "boolean", "enum": [True]}, True),
    ({"const": None}, None),
    ({"type": "null"}, None),
    ({"enum": [False, None]}, False),
)


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Made]) -> Made:
    kind = draw(st.sampled_from(["same", "prefix", "contains", "any"]))
    if kind == "same":
        schema, value = draw(inner)
        count = draw(st.integers(1, 3))
        return {"type": "array", "items": schema, "minItems": 1, "maxItems": count}, [value] * count
    made = draw(st.lists(inner, min_size=1, max_size=3))
    values = [value for _, value in made]
    if kind == "prefix":
        return {"prefixItems": [schema for schema, _ in made], "items": False}, values
    if kind == "contains":
        held = {
            "contains": {"const": values[0]},
            "minContains": 1,
            "maxContains": values.count(values[0]),
            "uniqueItems": False,
        }
        return {"type": "array", **held, "unevaluatedItems": True}, values
    return {"type": "array", "items": {"anyOf": [schema for schema, _ in made]}}, values


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Made]) -> Made:
    made = draw(st.dictionaries(st.sampled_from(KEYS), inner, max_size=4))
    value = {key: item for key, (_, item) in made.items()}
    schemas = {key: schema for key, (schema, _) in made.items()}
    strict: dict[str, Any] = {"type": "object", "required": list(made), "minProperties": len(made), "maxProperties": len(made)}
    strict |= {"propertyNames": {"enum": [*made, "x"]}, "dependentRequired": {key: list(made) for key in made}}
    kind = draw(st.sampled_from(["properties", "patterns", "additional", "unevaluated", "dependent"]))
    match kind:
        case "patterns":
            return {**strict, "patternProperties": {f"^{key}$": schema for key, schema in schemas.items()}}, value
        case "additional" if schemas:
            return {**strict, "additionalProperties": {"anyOf": list(schemas.values())}}, value
        case "unevaluated":
            parts = [{"properties": {key: schema}} for key, schema in schemas.items()]
            return {**strict, **({"allOf": parts} if parts else {}), "unevaluatedProperties": False}, value
        case "dependent":
            whole = {"properties": schemas}
            return {**strict, "dependentSchemas": dict.fromkeys(made, whole), "dependencies": {"nobody": ["ssn"]}}, value
    return {**strict, "properties": schemas, "additionalProperties": False}, value


@st.composite
def combined(draw: st.DrawFn, inner: st.SearchStrategy[Made], document: Callable[[], Document]) -> Made:
    """One schema said in another way that accepts the same value."""
    schema, value = draw(inner)
    own = {"const": value}
    kinds = ["oneOf", "anyOf", "allOf", "both", "if", "else", "no if", "not", "definition", "component", "branch", "embedded"]
    match draw(st.sampled_from(kinds)):
        case "oneOf":
            return {"oneOf": [{"allOf": [schema, own]}, {"not": own}]}, value
        case "both":
            return {"oneOf": [own], "anyOf": [schema, {"type": "null"}]}, value
        case "anyOf":
            return {"anyOf": [{"type": "null"}, schema]}, value
        case "allOf":
            return {"allOf": [schema, {"title": "Mr. Roe"}], "default": "Jane Doe"}, value
        case "if":
            return {"if": own, "then": schema, "else": False}, value
        case "else":
            return {"if": {"not": own}, "then": False, "else": schema}, value
        case "no if":
            return {"allOf": [schema], "then": False, "else": False}, value
        case "not":
            return {**schema, "not": {"enum": [one for one in ("<PERSON>", "<MASKED>", "<US_SSN>", "") if one != value]}}, value
        case "definition":
            name = f"d{len(document().definitions)}"
            document().definitions[name] = schema
            return {"$ref": f"#/$defs/{name}"}, value
        case "component":
            name = f"a/c~{len(document().components)}"
            document().components[name] = schema
            return {"$ref": f"#/components/schemas/{name.replace('~', '~0').replace('/', '~1')}", "description": "x"}, value
        case "branch":
            name = f"d{len(document().definitions)}"
            document().definitions[name] = {"oneOf": [schema]}
            return {"$ref": f"#/$defs/{name}/oneOf/0"}, value
    name = f"https://a.example/{len(document().definitions)}"
    document().definitions[f"e{len(document().definitions)}"] = {"$id": name, "$ref": "#/$defs/x", "$defs": {"x": {}}}
    return {"allOf": [schema, {"$ref": name}]}, value


@st.composite
def documents(draw: st.DrawFn) -> Made:
    """Draw a whole output schema and a value that conforms to it."""
    document = Document()
    leaves = st.one_of(texts(), numbers(), st.sampled_from(FIXED))
    made = st.recursive(
        leaves,
        lambda inner: st.one_of(arrays(inner), objects(inner), objects(inner), combined(inner, lambda: document)),
        max_leaves=8,
    )
    rows, value = draw(arrays(objects(made)))
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["rows"],
        "properties": {"rows": rows},
        "additionalProperties": False,
    }
    if draw(st.booleans()):
        schema["$schema"] = DIALECT
    if document.definitions:
        schema["$defs"] = document.definitions
    if document.components:
        schema["components"] = {"schemas": document.components}
    return schema, {"rows": value}


many = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


@many
@given(documents(), st.sampled_from(list(Operator)), st.sampled_from(MASKINGS))
def test_the_published_schema_accepts_every_redacted_answer(made: Made, operator: Operator, masking: Masking) -> None:
    schema, value = made
    assert accepts(schema, value), "the test's own schema accepts its value"
    assert_accepted(schema, value, ENGINES[operator], masking)


@settings(many, max_examples=40)
@given(documents(), st.sampled_from(MASKINGS))
def test_with_a_model_too_the_published_schema_accepts_every_redacted_answer(
    namer: PresidioNamer, made: Made, masking: Masking
) -> None:
    schema, value = made
    assert_accepted(schema, value, Engine(RedactionConfig(), namer), masking)
