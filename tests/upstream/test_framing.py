"""Bytes become lines, events and messages the same way however they are chunked, and nothing gets lost or invented."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.core.model import ReplyKind
from mcpgw.upstream.framing import LineBuffer, Oversize, SseEvent, SseParser
from mcpgw.upstream.jsonrpc import (
    Malformed,
    Notification,
    Response,
    ServerRequest,
    Stray,
    decode,
    encode,
    guess_id,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b""))), st.lists(st.integers(min_value=0)))
def test_lines_do_not_depend_on_the_chunks_they_come_in(lines: list[bytes], cuts: list[int]) -> None:
    buffer = LineBuffer(cap=20)
    data = b"".join(line + b"\n" for line in lines)
    assert [line for chunk in chunks(data, cuts) for line in buffer.feed(chunk)] == lines


@given(st.lists(st.integers(min_value=0)))
def test_events_do_not_depend_on_the_chunks_they_come_in(cuts: list[int]) -> None:
    stream = (
        b": a comment\n\nevent: endpoint\r\ndata: /x\r\n\r\nid: 7\nretry: 25\nretry: soon\ndata: one\ndata:two\n\n"
        b"event: lonely\n\ndata\n\nunknown: field\ndata: last\n\ndata: unfinished"
    )
    parser = SseParser(cap=100)
    events = [event for chunk in chunks(stream, cuts) for event in parser.feed(chunk)]
    assert events == [
        SseEvent("endpoint", b"/x"),
        SseEvent("message", b"one\ntwo"),
        SseEvent("message", b""),
        SseEvent("message", b"last"),
    ]
    assert parser.last_id == "7"
    assert parser.retry_ms == 25


def test_an_event_id_that_could_not_be_sent_back_is_forgotten() -> None:
    parser = SseParser(cap=100)
    parser.feed(b"id: a\x00b\ndata: x\n\n")
    assert parser.last_id == ""


@pytest.mark.parametrize("data", [b"x" * 11, b"x" * 11 + b"\n", b"ok\n" + b"x" * 11 + b"\n", b"ok\n" + b"x" * 11])
def test_a_line_beyond_the_cap_is_refused_wherever_it_stands(data: bytes) -> None:
    with pytest.raises(Oversize):
        LineBuffer(cap=10).feed(data)


def test_an_event_of_many_small_lines_is_capped_as_a_whole() -> None:
    with pytest.raises(Oversize):
        SseParser(cap=10).feed(b"data: 123456\ndata: 123456\n\n")


@pytest.mark.promise("message-payload-whole")
@given(JSON)
def test_a_payload_comes_back_as_it_was_written(value: object) -> None:
    message = decode(encode({"jsonrpc": "2.0", "id": 1, "result": {"value": value}}))
    assert isinstance(message, Response)
    assert repr(message.reply.payload["value"]) == repr(value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"id": 1, "result": {}}', Response),
        ('{"id": 1, "error": {"code": 1, "message": "m", "data": null}}', Response),
        ('{"id": 1, "result": {}, "error": null}', Response),
        ('{"id": "1", "result": {}}', Stray),
        ('{"id": 1.0, "result": {}}', Stray),
        ('{"id": true, "result": {}}', Stray),
        ('{"id": null, "error": {"code": 1, "message": "m"}}', Stray),
        ('{"result": {}}', Stray),
        ('{"method": "m"}', Notification),
        ('{"method": "m", "params": {"a": 1}}', Notification),
        ('{"id": 0, "method": "m"}', ServerRequest),
        ('{"id": "q", "method": "m", "params": {}}', ServerRequest),
    ],
)
def test_a_message_is_one_of_four_shapes(line: str, expected: type) -> None:
    assert isinstance(decode(line.encode()), expected)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b'"x"',
        b"{}",
        b"{]",
        b'{"id":1}',
        b'{"id":1,"result":null}',
        b'{"id":1,"result":[]}',
        b'{"id":1,"error":"no"}',
        b'{"id":1,"error":{"code":"1","message":"m"}}',
        b'{"id":1,"error":{"code":true,"message":"m"}}',
        b'{"id":1,"error":{"code":1}}',
        b'{"method":1}',
        b'{"method":"m","params":[]}',
        b'{"method":"m","id":[]}',
        b'{"method":"m","id":false}',
        b'{"id":1,"result":{"x":NaN}}',
        b'{"id":1,"result":{"x":"\xff"}}',
        b'{"id":1,"result":{"x":"\\ud800"}}',
        b'{"id":1,"result":{"x":' + b"9" * 5000 + b"}}",
        b'{"id":1,"result":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_everything_else_is_malformed(line: bytes) -> None:
    with pytest.raises(Malformed):
        decode(line)


def test_an_error_keeps_its_data() -> None:
    error = {"code": -1, "message": "m", "data": {"a": None}, "more": [1]}
    message = decode(json.dumps({"id": 3, "error": error}).encode())
    assert isinstance(message, Response)
    assert message.reply.kind is ReplyKind.ERROR
    assert message.reply.payload == error


@pytest.mark.parametrize(
    ("line", "guess"),
    [
        (b'{"jsonrpc":"2.0","id":12,"result":{]}', 12),
        (b'{"id": 12, "result": {"x": NaN}}', 12),
        (b'{"result":{"x":NaN},"jsonrpc":"2.0","id":12}', 12),
        (b'{"result":{"x":NaN}, "id":12, "jsonrpc":"2.0"}', 12),
        (b'{"result":{"x":NaN,"id":12}}', None),
        (b'{"result":{"x":"\\"id\\":12}"}', None),
        (b'{"jsonrpc":"2.0","id":"12","result":{]}', None),
        (b"Listening on port 12", None),
    ],
)
def test_the_id_of_a_malformed_answer_is_guessed_at_its_edges_only(line: bytes, guess: int | None) -> None:
    assert guess_id(line) == guess
