"""JSON text that is put into an answer on its way out: whole, once, and with a length that is true."""

import json
from typing import Any

from starlette.types import Message

from mcpgw.inbound.enclosed import Enclosed

START: dict[str, Any] = {"type": "http.response.start", "status": 200}


async def sent(enclosed: Enclosed, *messages: Message) -> list[Message]:
    out: list[Message] = []

    async def send(message: Message) -> None:
        out.append(message)

    through = enclosed.into(send)
    for message in messages:
        await through(message)
    return out


async def test_the_entries_stand_in_the_place_of_what_stood_for_them_and_the_length_is_theirs() -> None:
    enclosed = Enclosed()
    body = json.dumps({"tools": enclosed.stand_in(b'[{"a":1},{"b":2}]')}).encode()
    start, answer = await sent(
        enclosed,
        {**START, "headers": [(b"Content-Length", str(len(body)).encode()), (b"x", b"y")]},
        {"type": "http.response.body", "body": body},
    )
    assert json.loads(answer["body"]) == {"tools": [{"a": 1}, {"b": 2}]}
    assert start["headers"] == [(b"x", b"y"), (b"content-length", str(len(answer["body"])).encode())]


async def test_an_event_is_filled_in_and_the_stream_around_it_is_passed_on_as_it_comes() -> None:
    enclosed = Enclosed()
    mark = enclosed.stand_in(b"[]")
    event = {"type": "http.response.body", "body": f'data: {{"tools":"{mark}"}}\r\n\r\n'.encode(), "more_body": True}
    ping = {"type": "http.response.body", "body": b": ping\r\n\r\n", "more_body": True}
    out = await sent(enclosed, {**START, "headers": []}, ping, event, event)
    assert [message.get("body") for message in out] == [None, ping["body"], b'data: {"tools":[]}\r\n\r\n', event["body"]]


async def test_an_answer_without_a_stand_in_is_not_touched() -> None:
    messages: list[Message] = [
        {**START, "headers": [(b"content-length", b"2")]},
        {"type": "http.response.body", "body": b"{}"},
    ]
    assert await sent(Enclosed(), *messages) == messages


async def test_who_guesses_at_a_stand_in_gets_nothing_put_in() -> None:
    mine, yours = Enclosed(), Enclosed()
    body = {"type": "http.response.body", "body": f'"{yours.stand_in(b"[1]")}"'.encode()}
    assert mine.stand_in(b"[2]") not in str(body)
    assert await sent(mine, {**START, "headers": []}, body) == [{**START, "headers": []}, body]
