"""What the guard refuses: whatever is no JSON-RPC message, or is one that two parsers could read in two ways."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.inbound.guard import INVALID_REQUEST, PARSE_ERROR, MalformedMessage, check

CALL = '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":%s}'


def refusal(raw: str | bytes, *, max_bytes: int = 100_000, max_depth: int = 32) -> MalformedMessage:
    with pytest.raises(MalformedMessage) as caught:
        check(raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogatepass"), max_bytes=max_bytes, max_depth=max_depth)
    return caught.value


def accepted(raw: str) -> dict[str, object]:
    return check(raw.encode(), max_bytes=100_000, max_depth=32)


REFUSED = [
    # (message, code, id that is answered to, a word of the reason)
    ("", PARSE_ERROR, None, "not JSON"),
    ("{", PARSE_ERROR, None, "not JSON"),
    (b"\xff\xfe{\x00}\x00", PARSE_ERROR, None, "UTF-8"),
    (b'\xef\xbb\xbf{"jsonrpc":"2.0","method":"ping","id":1}', PARSE_ERROR, None, "not JSON"),
    ("[]", INVALID_REQUEST, None, "Batches"),
    ('[{"jsonrpc":"2.0","method":"ping","id":1}]', INVALID_REQUEST, None, "Batches"),
    ("7", INVALID_REQUEST, None, "JSON object"),
    ('"ping"', INVALID_REQUEST, None, "JSON object"),
    ("null", INVALID_REQUEST, None, "JSON object"),
    (CALL % '{"name":"a","name":"b"}', INVALID_REQUEST, None, "same key twice"),
    (CALL % '{"name":"a","arguments":{"x":1,"x":1}}', INVALID_REQUEST, None, "same key twice"),
    (CALL % '{"name":"a","\\u006eame":"b"}', INVALID_REQUEST, None, "same key twice"),
    (CALL % '{"name":"a","Name":"b"}', INVALID_REQUEST, 7, "differ in case"),
    (CALL % '{"Name":"b"}', INVALID_REQUEST, 7, "but for its case"),
    (CALL % '{"argument\u017f":{}}', INVALID_REQUEST, 7, "but for its case"),
    (CALL % '{"name":"a","_meta":{"ProgressToken":1}}', INVALID_REQUEST, 7, "but for its case"),
    (CALL % '{"name":"a","_meta":{"IO.modelcontextprotocol/protocolVersion":"x"}}', INVALID_REQUEST, 7, "but for its case"),
    ('{"jsonrpc":"2.0","id":7,"method":"ping","Method":"x"}', INVALID_REQUEST, 7, "differ in case"),
    (CALL % '{"x":NaN}', PARSE_ERROR, None, "NaN"),
    (CALL % '{"x":-Infinity}', PARSE_ERROR, None, "NaN"),
    (CALL % '{"x":1e999}', PARSE_ERROR, None, "double"),
    (CALL % ('{"x":' + "9" * 5000 + "}"), PARSE_ERROR, None, "too long"),
    (CALL % '{"x":"\\ud800"}', PARSE_ERROR, None, "surrogate"),
    (CALL % '{"x\\udfff":1}', PARSE_ERROR, None, "surrogate"),
    ('{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}', PARSE_ERROR, None, "surrogate"),
    (CALL % ('{"x":' + "[" * 40 + "]" * 40 + "}"), INVALID_REQUEST, 7, "nested deeper than 32"),
    ("[" * 90_000, INVALID_REQUEST, None, "nested too deeply"),
    (" " * 100_001, INVALID_REQUEST, None, "larger than 100000"),
    ('{"id":7,"method":"ping"}', INVALID_REQUEST, 7, "jsonrpc"),
    ('{"jsonrpc":"1.0","id":7,"method":"ping"}', INVALID_REQUEST, 7, "jsonrpc"),
    ('{"jsonrpc":"2.0","id":null,"method":"ping"}', INVALID_REQUEST, None, "id must be"),
    ('{"jsonrpc":"2.0","id":true,"method":"ping"}', INVALID_REQUEST, None, "id must be"),
    ('{"jsonrpc":"2.0","id":1.5,"method":"ping"}', INVALID_REQUEST, None, "id must be"),
    ('{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}', INVALID_REQUEST, None, "id must be"),
    ('{"jsonrpc":"2.0","id":"%s","method":"ping"}' % ("x" * 257), INVALID_REQUEST, None, "id must be"),
    ('{"jsonrpc":"2.0","id":"a\\nb","method":"ping"}', INVALID_REQUEST, None, "id must be"),
    ('{"jsonrpc":"2.0","id":7,"method":5}', INVALID_REQUEST, 7, "method must be"),
    ('{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}', INVALID_REQUEST, 7, "params must be"),
    ('{"jsonrpc":"2.0","id":7,"method":"ping","params":{"_meta":[]}}', INVALID_REQUEST, 7, "_meta must be"),
    ('{"jsonrpc":"2.0","id":7,"result":{},"params":{"_meta":5}}', INVALID_REQUEST, 7, "_meta must be"),
    ('{"jsonrpc":"2.0","id":7,"method":"ping","result":{}}', INVALID_REQUEST, 7, "neither result nor error"),
    ('{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}', INVALID_REQUEST, None, "needs an id"),
    ('{"jsonrpc":"2.0","method":"ping"}', INVALID_REQUEST, None, "needs an id"),
    ('{"jsonrpc":"2.0","method":""}', INVALID_REQUEST, None, "needs an id"),
    ('{"jsonrpc":"2.0"}', INVALID_REQUEST, None, "neither a request"),
    ('{"jsonrpc":"2.0","id":7}', INVALID_REQUEST, 7, "neither a request"),
    ('{"jsonrpc":"2.0","result":{}}', INVALID_REQUEST, None, "neither a request"),
    ('{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1,"message":""}}', INVALID_REQUEST, 7, "neither a request"),
    ('{"jsonrpc":"2.0","id":7,"result":5}', INVALID_REQUEST, 7, "result object"),
    ('{"jsonrpc":"2.0","id":7,"error":{"code":true,"message":""}}', INVALID_REQUEST, 7, "result object"),
    ('{"jsonrpc":"2.0","id":7,"error":{"message":""}}', INVALID_REQUEST, 7, "result object"),
]


@pytest.mark.promise("message-one-meaning")
@pytest.mark.parametrize(("raw", "code", "request_id", "reason"), REFUSED)
def test_a_message_that_could_be_read_in_two_ways_is_refused(
    raw: str | bytes, code: int, request_id: int | None, reason: str
) -> None:
    defect = refusal(raw)
    assert (defect.code, defect.request_id) == (code, request_id)
    assert reason in str(defect)


ACCEPTED = [
    '{"jsonrpc":"2.0","id":7,"method":"ping"}',
    '{"jsonrpc":"2.0","id":"seven","method":"ping","params":null}',
    '{"jsonrpc":"2.0","method":"notifications/initialized"}',
    '{"jsonrpc":"2.0","id":0,"result":{}}',
    '{"jsonrpc":"2.0","id":0,"error":{"code":-1,"message":"no"}}',
    CALL % '{"name":"a","arguments":{"Name":1,"name":2,"NAME":3}}',  # what is inside arguments is the tool's own affair
    CALL % '{"name":"a","arguments":{"emoji":"\\ud83d\\ude00","big":123456789012345678901234567890,"e":1e308}}',
    CALL % '{"name":"a","_meta":{"progressToken":1,"vendor/Thing":1}}',
]


@pytest.mark.parametrize("raw", ACCEPTED)
def test_a_plain_message_passes_unchanged(raw: str) -> None:
    assert accepted(raw) == json.loads(raw)


def test_a_refusal_says_nothing_of_the_payload() -> None:
    for raw, *_ in REFUSED:
        text = raw if isinstance(raw, str) else raw.decode("latin-1")
        secret = text.replace('"x"', '"hunter2"')
        with pytest.raises(MalformedMessage) as caught:
            check(secret.encode("utf-8", "surrogatepass"), max_bytes=100_000, max_depth=32)
        assert "hunter2" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_any_arguments_that_are_json_pass_whatever_they_hold(value: object) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a", "arguments": {"v": value}}}
    for ascii_only in (True, False):
        raw = json.dumps(message, ensure_ascii=ascii_only).encode()
        assert check(raw, max_bytes=1_000_000, max_depth=64) == message


@pytest.mark.promise("message-no-batch")
@given(st.binary(max_size=200))
def test_any_bytes_are_either_one_message_or_refused(raw: bytes) -> None:
    try:
        assert check(raw, max_bytes=100, max_depth=8)["jsonrpc"] == "2.0"
    except MalformedMessage as defect:
        assert defect.code in (PARSE_ERROR, INVALID_REQUEST)
