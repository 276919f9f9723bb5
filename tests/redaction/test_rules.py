"""Columns, paths, operators, profiles and blobs: what the admin says, whatever the detectors think."""

import json

import pytest

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import Masked, Masking
from mcpgw.redaction.config import Blobs, Operator, Profile, RedactionConfig, profile_hash
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import NoModel
from mcpgw.redaction.paths import parse
from tests.redaction.helpers import json_of, text_of


def engine_of(profile: Profile | None = None, **settings: object) -> Engine:
    profiles = {"default": profile or Profile()}
    return Engine(RedactionConfig(model="none", profiles=profiles, **settings), NoModel())  # type: ignore[arg-type]  # a test's shorthand


def test_a_column_is_masked_in_json_in_json_in_text_and_in_tables(engine: Engine) -> None:
    rule = Masking(columns=("Tier",))
    assert json_of(engine, {"tier": "gold", "n": [{"TIER": 7}]}, rule) == {"tier": "<MASKED>", "n": [{"TIER": "<MASKED>"}]}
    assert json_of(engine, {"tier": {"a": "x"}, "b": ["", True]}, rule) == {"tier": {"a": "<MASKED>"}, "b": ["", True]}
    assert text_of(engine, '{"tier": "gold"}', rule) == '{"tier": "<MASKED>"}'
    assert text_of(engine, "tier,n\ngold,1\nblue,2\n", rule) == "tier,n\n<MASKED>,1\n<MASKED>,2\n"


PATHS = [
    ("rows[*].a", "rows.[0].a", True),
    ("rows[*].a", "rows.[0].b", False),
    ("rows[0].a", "rows.[1].a", False),
    ("rows[1].a", "rows.[1].a", True),
    ("**.a", "x.y.a", True),
    ("**.a", "a", True),
    ("**.a", "x.b", False),
    ("*.a", "x.a", True),
    ("a", "a.b.c", True),
    ("$.a['b c']", "a.b c", True),
    ('$["a"].b', "a.b", True),
    ("a.**", "a.b", True),
    ("a.**", "b", False),
    ("A", "a", True),
]


@pytest.mark.parametrize(("rule", "path", "covered"), PATHS)
def test_a_path_rule_covers_what_it_names_and_everything_below(rule: str, path: str, covered: bool) -> None:
    assert parse(rule).covers(path.split(".")) is covered


@pytest.mark.parametrize("rule", ["", "$", "a[", "a..b", "[x]"])
def test_what_is_no_path_is_refused(rule: str) -> None:
    with pytest.raises(ConfigError):
        parse(rule)


def test_a_path_starts_at_the_root_of_each_document(engine: Engine) -> None:
    rule = Masking(paths=("rows[*].code",))
    assert json_of(engine, {"rows": [{"code": "blue"}], "code": "red"}, rule) == {"rows": [{"code": "<MASKED>"}], "code": "red"}
    assert text_of(engine, '{"rows": [{"code": "blue"}]}', rule) == '{"rows": [{"code": "<MASKED>"}]}'
    bare = engine.redact({"rows": [{"code": "blue"}]}, rule, envelope=False).payload
    assert bare == {"rows": [{"code": "<MASKED>"}]}


def test_operators_say_what_is_written() -> None:
    key = b"k" * 16
    operators = {
        "US_SSN": Operator.PARTIAL,
        "EMAIL": Operator.HASH,
        "PHONE": Operator.DROP,
        "IBAN": Operator.KEEP,
        "CARD_SECURITY": Operator.PARTIAL,
    }
    engine = engine_of(Profile(operators=operators), hash_key=key)
    row = {
        "ssn": "219-09-9999",
        "email": "a@b.example",
        "phone": "212-555-0147",
        "iban": "GB82WEST12345698765432",
        "cvv": "123",
        "dob": "1969-12-31",
    }
    out = json_of(engine, row)
    assert out["ssn"] == "<US_SSN:99>"
    assert out["email"].startswith("<EMAIL:") and out["email"] == json_of(engine, {"email": "A@B.example"})["email"]
    assert (out["phone"], out["iban"], out["cvv"], out["dob"]) == ("", row["iban"], "<CARD_SECURITY>", "<DATE_OF_BIRTH>")
    assert json_of(engine, out) == {**out, "phone": ""}
    kept = engine.redact({"structuredContent": row}, Masking()).masked
    assert Masked("IBAN", "structuredContent.iban", "keep:key@1", 1) in kept


def test_a_profile_adds_its_own_columns_and_paths() -> None:
    engine = engine_of(Profile(columns=("tier",), paths=("x.y",)))
    assert json_of(engine, {"tier": "gold", "x": {"y": "blue", "z": "red"}}) == {
        "tier": "<MASKED>",
        "x": {"y": "<MASKED>", "z": "red"},
    }


IMAGE = {"type": "image", "data": "AAAA" * 10, "mimeType": "image/png", "_meta": {"k": 1}}
BLOB = {"type": "resource", "resource": {"uri": "file:///a.pdf", "mimeType": "application/pdf", "blob": "AAAA"}}


def test_blobs_are_withheld_and_say_so() -> None:
    out = engine_of().redact({"content": [IMAGE, BLOB]}, Masking())
    image, resource = out.payload["content"]
    assert image["type"] == "text" and "withheld" in image["text"] and image["_meta"] == {"k": 1}
    assert "withheld" in resource["resource"]["text"] and resource["resource"]["mimeType"] == "text/plain"
    assert {(m.entity, m.detector, m.count) for m in out.masked} == {("BLOB", "blob-withhold@1", 1)}


def test_blobs_pass_where_the_setting_says_so_and_are_counted() -> None:
    out = engine_of(blobs=Blobs.PASS).redact({"content": [IMAGE, BLOB]}, Masking())
    assert out.payload == {"content": [IMAGE, BLOB]}
    assert {m.detector for m in out.masked} == {"blob-pass@1"}


def test_a_blob_in_structured_content_is_withheld_without_a_change_of_shape() -> None:
    structured = {"files": [{"uri": "x://a", "blob": "AAAA", "mimeType": "application/pdf"}], "content": [IMAGE]}
    out = engine_of().redact({"structuredContent": structured}, Masking())
    assert out.payload["structuredContent"] == {
        "files": [{"uri": "x://a", "blob": "<BLOB>", "mimeType": "application/pdf"}],
        "content": [{**IMAGE, "data": "<BLOB>"}],
    }
    assert [(m.path, m.count) for m in out.masked] == [("structuredContent.content[*]", 1), ("structuredContent.files[*]", 1)]


def test_blobs_inside_what_is_left_of_a_blob_are_withheld_too() -> None:
    inner = {"uri": "x://b", "blob": "AAAA"}
    out = engine_of().redact(
        {"content": [{**IMAGE, "_meta": {"a": inner}}], "contents": [{**inner, "_meta": inner}]}, Masking()
    )
    assert "blob" not in json.dumps([out.payload["content"], out.payload["contents"]])


def test_a_key_that_may_be_personal_data_is_in_no_blobs_path() -> None:
    out = engine_of().redact({"data": {"219-09-9999": {"uri": "x://b", "blob": "AAAA"}}}, Masking())
    assert [m.path for m in out.masked] == ["data.*"]


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="default"):
        RedactionConfig(profiles={})
    with pytest.raises(ConfigError, match="workers"):
        RedactionConfig(workers=0)
    with pytest.raises(ConfigError, match="key"):
        RedactionConfig(profiles={"default": Profile(default=Operator.HASH)})
    with pytest.raises(ConfigError, match="no redaction profile 'x'"):
        RedactionConfig().profile("x")


def test_the_profile_hash_names_what_decides_and_nothing_else() -> None:
    config = RedactionConfig()
    same = profile_hash(config, Masking(columns=("A", "b")))
    assert same == profile_hash(RedactionConfig(timeout_s=9, workers=3), Masking(columns=("B", "a")))
    assert same != profile_hash(config, Masking(columns=("a",)))
    assert same != profile_hash(config.replace(model="none"), Masking(columns=("a", "b")))
    assert same != profile_hash(config.replace(model="absent_model"), Masking(columns=("a", "b")))
    assert "secret" not in repr(RedactionConfig(hash_key=b"secret-secret-secret"))
