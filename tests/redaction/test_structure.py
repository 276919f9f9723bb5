"""Structure is read before text, and written back byte for byte."""

import json

import pytest

from mcpgw.core.errors import RedactionError
from mcpgw.core.model import Masking
from mcpgw.redaction.engine import Engine
from tests.redaction.helpers import json_of, text_of

READ = [
    ("csv", "acct_no,city\n00441123987,Rome\n00441123988,Oslo\n", "acct_no,city\n<BANK_ACCOUNT>,Rome\n<BANK_ACCOUNT>,Oslo\n"),
    ("quoted csv", 'full_name,n\n"Doe, Jane",1\n"Roe, ""R""",2\n', 'full_name,n\n"<PERSON>",1\n"Roe, ""R""",2\n'),
    ("tsv", "dob\tn\n1969-12-31\t1\n1970-01-01\t2\n", "dob\tn\n<DATE_OF_BIRTH>\t1\n<DATE_OF_BIRTH>\t2\n"),
    ("markdown", "| ssn | n |\n|---|---|\n| 219099999 | 7 |\n\nend", "| ssn | n |\n|---|---|\n| <US_SSN> | 7 |\n\nend"),
    (
        "pipes without a rule",
        "| ssn | n |\n| 219099999 | 7 |\n| 219099998 | 8 |",
        "| ssn | n |\n| <US_SSN> | 7 |\n| <US_SSN> | 8 |",
    ),
    ("psql", " dob | n\n-----+---\n 1969-12-31 | 1\n(1 row)", " dob | n\n-----+---\n <DATE_OF_BIRTH> | 1\n(1 row)"),
    (
        "mysql",
        "+-----------+---+\n| ssn       | n |\n+-----------+---+\n| 219099999 | 1 |\n+-----------+---+\n",
        "+-----------+---+\n| ssn       | n |\n+-----------+---+\n| <US_SSN> | 1 |\n+-----------+---+\n",
    ),
    ("log", 'ts=1 name="Jane Doe" acct=441123987 ok=true', 'ts=1 name="<PERSON>" acct=<BANK_ACCOUNT> ok=true'),
    ("query", "GET /x?email=a%40b.example&name=Jane%20Doe&n=1", "GET /x?email=<EMAIL>&name=<PERSON>&n=1"),
    ("pydict", "{'ssn': '219-09-9999', 'n': 1}", "{'ssn': '<US_SSN>', 'n': 1}"),
    ("yaml", "customer:\n  full_name: Jane Doe\n  n: 1\n", "customer:\n  full_name: <PERSON>\n  n: 1\n"),
    ("json lines", '{"dob":"1969-12-31"}\n{"dob" : null}\n', '{"dob":"<DATE_OF_BIRTH>"}\n{"dob" : null}\n'),
    ("json in words", 'Result: {"ssn": 219099999} (1)', 'Result: {"ssn": "<US_SSN>"} (1)'),
    ("json in json", r'{"p": "{\"ssn\": \"219-09-9999\"}"}', r'{"p": "{\"ssn\": \"<US_SSN>\"}"}'),
    ("duplicate keys", '{"ssn": "219099999", "ssn": "219099998"}', '{"ssn": "<US_SSN>", "ssn": "<US_SSN>"}'),
    (
        "html",
        "<table><tr><th>SSN</th></tr><tr><td>219099999</td></tr></table>",
        "<table><tr><th>SSN</th></tr><tr><td>&lt;US_SSN&gt;</td></tr></table>",
    ),
    (
        "html without heads",
        "<table><tr><td>SSN</td><td>219099999</td></tr></table>",
        "<table><tr><td>SSN</td><td>&lt;US_SSN&gt;</td></tr></table>",
    ),
    (
        "html row heads",
        "<table><tr><td>x</td></tr><tr><th>SSN</th><td>219099999</td></tr></table>",
        "<table><tr><td>x</td></tr><tr><th>SSN</th><td>&lt;US_SSN&gt;</td></tr></table>",
    ),
    ("terms", "<dl><dt>SSN</dt><dd>219099999</dd></dl> end", "<dl><dt>SSN</dt><dd>&lt;US_SSN&gt;</dd></dl> end"),
    (
        "xml",
        '<c><ns:SSN>219099999</ns:SSN><a email="x@y.example">1</a></c>',
        '<c><ns:SSN>&lt;US_SSN&gt;</ns:SSN><a email="&lt;EMAIL&gt;">1</a></c>',
    ),
    (
        "sql",
        "INSERT INTO t (id, ssn) VALUES (1, '219099999'), (2, '219099998');",
        "INSERT INTO t (id, ssn) VALUES (1, '<US_SSN>'), (2, '<US_SSN>');",
    ),
    (
        "mail",
        "From: Jane Doe <jane@x.example>\nSubject: Hi\n\nHello Richard,\n\nBye\n",
        "From: <PERSON> <<EMAIL>>\nSubject: Hi\n\nHello <PERSON>,\n\nBye\n",
    ),
    (
        "form",
        "Account Holder: Jane Doe\nMailing Address: 12 Elm Street\nStatus: open",
        "Account Holder: <PERSON>\nMailing Address: <ADDRESS>\nStatus: open",
    ),
]


@pytest.mark.parametrize(("text", "clean"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_text_is_read_by_its_structure(engine: Engine, text: str, clean: str) -> None:
    assert text_of(engine, text) == clean


def test_rows_are_read_under_the_columns_that_stand_beside_them(engine: Engine) -> None:
    out = json_of(engine, {"columns": ["ssn", "city"], "rows": [["219099999", "Rome"]]})
    assert out == {"columns": ["ssn", "city"], "rows": [["<US_SSN>", "Rome"]]}
    out = json_of(engine, {"fields": [{"name": "ssn"}, {"name": "city"}], "data": [[219099999, "Rome"], [None, "Oslo"]]})
    assert out["data"] == [["<US_SSN>", "Rome"], [None, "Oslo"]]
    assert json_of(engine, [["ssn", "city"], ["219099999", "Rome"]]) == [["ssn", "city"], ["<US_SSN>", "Rome"]]


def test_a_value_is_read_by_the_name_beside_it(engine: Engine) -> None:
    assert json_of(engine, {"field": "DOB", "value": "1969-12-31"}) == {"field": "DOB", "value": "<DATE_OF_BIRTH>"}
    assert json_of(engine, {"type": "passport", "number": "X1234567"}) == {"type": "passport", "number": "<PASSPORT>"}
    assert json_of(engine, {"name": {"first": "Jane", "last": "Doe"}}) == {"name": {"first": "<PERSON>", "last": "<PERSON>"}}
    nested = {"address": {"line1": "12 Elm Street", "country": "US", "unitBlock": "East wing"}}
    assert json_of(engine, nested) == {"address": {"line1": "<ADDRESS>", "country": "US", "unitBlock": "<ADDRESS>"}}
    eight = {**{f"k{n}": n for n in range(9)}, "field": "DOB", "value": "1969-12-31"}
    assert json_of(engine, eight)["value"] == "1969-12-31"


def test_text_and_structured_content_agree(named_engine: Engine) -> None:
    rows = {
        "rows": [
            {"f1": "Antonia Petrosyan", "n": 219099999, "ssn": 219099999, "memo": "for John Smith"},
            {"f1": "Kim Lee", "n": 2},
        ]
    }
    payload = {"content": [{"type": "text", "text": json.dumps(rows, indent=2)}], "structuredContent": rows}
    out = named_engine.redact(payload, Masking()).payload
    assert json.loads(out["content"][0]["text"]) == out["structuredContent"]
    assert out["structuredContent"]["rows"][0]["f1"] == "<PERSON>"


def test_disguised_values_are_masked_whole(engine: Engine) -> None:
    disguised = [
        ("SSN \uff12\uff11\uff19-\uff10\uff19-\uff19\uff19\uff19\uff19!", "SSN <US_SSN>!"),
        ("SSN 2\u200b1\u200b9\u200b-09-9999!", "SSN <US_SSN>!"),
        ("SSN 219\u201109\u20139999!", "SSN <US_SSN>!"),
        ("SSN 219&#45;09&#x2d;9999!", "SSN <US_SSN>!"),
        ("SSN 2 1 9 0 9 9 9 9 9!", "SSN <US_SSN>!"),
        ("SSN \\u0032\\u0031\\u0039-09-9999!", "SSN <US_SSN>!"),
        ("a 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 b", "a <CREDIT_CARD> b"),
        ("a 2.1.9.0.9.9.9.9.9 b", "a <US_SSN> b"),
        ("a 2 1 2 5 5 5 0 1 4 7 b", "a <PHONE> b"),
        ("a 1 2 3 4 5 6 7 8 b", "a 1 2 3 4 5 6 7 8 b"),
        ("blob bmFtZT1KYW5lIERvZTtzc249MjE5LTA5LTk5OTk= end", "blob <ENCODED> end"),
        ("blob 73736e3d3231392d30392d39393939 end", "blob <ENCODED> end"),
        ("bmFtZT1KYW5lIERvZTtzc249MjE5LTA5LTk5OTk=", "<ENCODED>"),
        ("plain SGVsbG8gd29ybGQsIGhvdyBhcmUgeW91Pw== stays", "plain SGVsbG8gd29ybGQsIGhvdyBhcmUgeW91Pw== stays"),
        ("mail a\ud800b@c.example \ud800", "mail <EMAIL> \ud800"),
    ]
    for text, clean in disguised[:-1]:
        assert text_of(engine, text) == clean
    assert "\ud800" in text_of(engine, disguised[-1][0])


def test_redaction_of_a_redacted_text_changes_nothing(engine: Engine) -> None:
    once = text_of(engine, "Mr. Roe, SSN 219-09-9999, <PERSON> name=Jane Doe, mail <EMAIL>x@y.example")
    assert text_of(engine, once) == once


def test_deep_nesting_is_refused_clearly(engine: Engine) -> None:
    deep: object = "x"
    for _ in range(150):
        deep = [deep]
    with pytest.raises(RedactionError, match="nested deeper than 100"):
        json_of(engine, deep)
    assert text_of(engine, "[" * 100_000) == "[" * 100_000


def test_what_is_not_json_is_refused(engine: Engine) -> None:
    with pytest.raises(RedactionError, match="holds a set"):
        json_of(engine, {"a": {1}})


def test_long_texts_are_judged_in_pieces(engine: Engine) -> None:
    words = "lorem ipsum dolor " * 400
    assert text_of(engine, f"{words}SSN 219-09-9999\n{words}") == f"{words}SSN <US_SSN>\n{words}"
    assert text_of(engine, f"{words}\n\n{words}\n\nSSN 219-09-9999") == f"{words}\n\n{words}\n\nSSN <US_SSN>"
    assert text_of(engine, "x" * 10_000) == "x" * 10_000
    assert json_of(engine, {"memo": words * 2}) == {"memo": words * 2}


def test_a_manifest_names_what_where_and_by_whom_and_never_a_value(engine: Engine) -> None:
    payload = {"content": [{"type": "text", "text": '{"rows": [{"ssn": "219-09-9999"}, {"ssn": "219-09-9998"}]}'}],
               "structuredContent": {"rows": [{"ssn": "219-09-9999", "jane@x.example": {"dob": "1969-12-31"}}]}}  # fmt: skip
    masked = {(m.entity, m.path, m.detector, m.count) for m in engine.redact(payload, Masking()).masked}
    assert masked == {
        ("US_SSN", "content[*].text:rows[*].ssn", "key@1", 2),
        ("US_SSN", "structuredContent.rows[*].ssn", "key@1", 1),
        ("DATE_OF_BIRTH", "structuredContent.rows[*].*.dob", "key@1", 1),
    }


def test_fields_that_the_protocol_needs_stay(engine: Engine) -> None:
    params = {"progressToken": 219099999, "progress": 4111111111111111, "message": "for SSN 219-09-9999"}
    assert engine.redact(params, Masking()).payload == {**params, "message": "for SSN <US_SSN>"}


@pytest.mark.parametrize(
    "field",
    ["resultType", "requestState", "cacheScope", "level", "nextCursor", "isError", "code", "total", "progressToken", "ttlMs"],
)
def test_what_a_server_writes_into_a_field_of_the_protocol_is_read_like_all_else(engine: Engine, field: str) -> None:
    payload = {"content": [], field: "of 219-09-9999"}
    assert engine.redact(payload, Masking()).payload == {"content": [], field: "of <US_SSN>"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("resultType", "input_required"), ("requestState", "(opaque)"), ("cacheScope", "private"), ("level", "error"),
     ("isError", True), ("code", -32603), ("ttlMs", 4111111111111111)],
)  # fmt: skip
def test_what_the_protocol_works_by_stays_even_under_a_rule_for_its_name(engine: Engine, field: str, value: object) -> None:
    payload = {"content": [], field: value}
    assert engine.redact(payload, Masking(columns=(field,))).payload == payload
