"""Values cut in two: neighbouring text blocks of one result, and notifications of one stream."""

from collections.abc import Callable
from typing import Any

import pytest

from mcpgw.core.model import (
    Call,
    Masked,
    Masking,
    RawJson,
    RawNotice,
    RawReply,
    ReplyKind,
)
from mcpgw.redaction import Operator, PresidioRedactor, Profile, RedactionConfig
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import NoModel
from mcpgw.redaction.seams import streamed


def blocks(*texts: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text} for text in texts]}


def shown(engine: Engine, *texts: str) -> list[str]:
    content = engine.redact(blocks(*texts), Masking()).payload["content"]
    return [block["text"] for block in content]


CUT = [
    (("his SSN 219-09", "-9999 is on file"), ["his SSN <US_SSN>", " is on file"]),
    (("card 4111 1111 11", "11 1111 ok"), ["card <CREDIT_CARD>", " ok"]),
    (("mail a.lang", "ley@bank.exa", "mple today"), ["mail <EMAIL>", "", " today"]),
    (("a", "b", "c"), ["a", "b", "c"]),
    (("total 12\n", "34"), ["total 12\n", "34"]),
    (('{"ssn": "219-09-9999"}', '{"ssn": "219-09-9998"}'), ['{"ssn": "<US_SSN>"}', '{"ssn": "<US_SSN>"}']),
    (("SSN 219-09-9999", "x"), ["SSN <US_SSN>", "x"]),
    (("SSN 219-09-99", "99 and 219-09-99", "98."), ["SSN <US_SSN>", " and <US_SSN>", "."]),
    (("<US_S", "SN>"), ["<US_S", "SN>"]),
    (("", "SSN 219-09-9999"), ["", "SSN <US_SSN>"]),
]


@pytest.mark.parametrize(("given", "wanted"), CUT)
def test_a_value_over_two_blocks_is_masked_whole(engine: Engine, given: tuple[str, ...], wanted: list[str]) -> None:
    assert shown(engine, *given) == wanted


def test_a_cut_value_is_counted_and_blocks_between_others_keep_their_place(engine: Engine) -> None:
    payload = blocks("SSN 219-0", "9-9999")
    payload["content"].insert(0, {"type": "resource_link", "uri": "a://b", "name": "n"})
    payload["content"].append({"type": "text", "text": 5})
    out = engine.redact(payload, Masking())
    assert [block.get("text") for block in out.payload["content"]] == [None, "SSN <US_SSN>", "", 5]
    assert Masked("US_SSN", "content[*].text", "split:patterns@1", 1) in out.masked


def test_a_cut_value_that_is_kept_stays() -> None:
    profiles = {"default": Profile(default=Operator.KEEP)}
    engine = Engine(RedactionConfig(model="none", profiles=profiles), NoModel())
    assert shown(engine, "SSN 219-0", "9-9999") == ["SSN 219-0", "9-9999"]


def test_a_thousand_small_blocks_take_linear_time(engine: Engine) -> None:
    assert "".join(shown(engine, *["ab1"] * 3_000)) == "ab1" * 3_000


def note(text: Any, method: str = "notifications/progress") -> RawNotice:
    field = "message" if method.endswith("progress") else "data"
    return RawNotice(method=method, params=RawJson({"progressToken": 1, "progress": 1, field: text}))


async def test_the_rest_of_a_value_never_follows_its_beginning(make_call: Callable[..., Call]) -> None:
    redactor = PresidioRedactor(RedactionConfig(model="none"))
    await redactor.start()
    call = make_call()
    first = await redactor.clean_notice(call, note("the SSN is 219-09"))
    assert first.params["message"] == "the SSN is 219-09"
    other = await redactor.clean_notice(call, note("-9999 elsewhere", "notifications/message"))
    assert other.params["data"] == "-9999 elsewhere", "another stream is another text"
    second = await redactor.clean_notice(call, note("-9999 it is"))
    assert second.params["message"] == "<US_SSN> it is"
    assert (await redactor.clean_notice(call, note({"ssn": "219-09-9999"}, "notifications/message"))).params["data"] == {
        "ssn": "<US_SSN>"
    }
    await redactor.clean_notice(call, note("and 219-09"))
    await redactor.clean(call, RawReply(kind=ReplyKind.RESULT, payload=RawJson({})))
    after = await redactor.clean_notice(call, note("-9999 later"))
    assert after.params["message"] == "-9999 later", "a call that ended leaves nothing behind"
    await redactor.aclose()


def test_what_is_no_text_adds_nothing_to_a_stream() -> None:
    assert (streamed({"data": {"a": 1}}), streamed({"message": "m", "data": "d"}), streamed({})) == ("", "m", "")


def test_a_value_that_one_across_the_seam_takes_a_part_of_is_masked_with_it(engine: Engine) -> None:
    content = [{"type": "text", "text": text} for text in ("Write to a@b.example", "c@d.example today")]
    first, second = engine.redact({"content": content}, Masking()).payload["content"]
    assert (first["text"], second["text"]) == ("Write to <EMAIL>", " today")
