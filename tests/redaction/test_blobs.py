"""Resources that come encoded: what is text is redacted like text and stays encoded, everything else is withheld."""

import base64
from typing import Any

import pytest

from mcpgw.core.model import Masking, MaskingRule
from mcpgw.redaction.blobs import decoded
from mcpgw.redaction.config import Blobs
from tests.redaction.test_rules import IMAGE, engine_of


def reading(data: bytes, **more: Any) -> dict[str, Any]:
    return {"contents": [{"uri": "x:y", "blob": base64.b64encode(data).decode(), **more}]}


@pytest.mark.parametrize("blobs", list(Blobs))
@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Call 219-09-9999 today, please.", "Call <US_SSN> today, please."),
        ("name,ssn\nJane Doe,219-09-9999\n", "name,ssn\n<PERSON>,<US_SSN>\n"),
        ('{"ssn": "219-09-9999", "n": 1}', '{"ssn": "<US_SSN>", "n": 1}'),
        ("ünïcödé\tand\r\nbreaks: 219-09-9999", "ünïcödé\tand\r\nbreaks: <US_SSN>"),
    ],
)
def test_a_blob_that_is_text_is_redacted_and_encoded_again(text: str, clean: str, blobs: Blobs) -> None:
    out = engine_of(blobs=blobs).redact(reading(text.encode(), mimeType="application/octet-stream"), Masking())
    (contents,) = out.payload["contents"]
    assert base64.b64decode(contents["blob"], validate=True).decode() == clean
    assert (contents["uri"], contents["mimeType"]) == ("x:y", "application/octet-stream")
    assert {line.entity for line in out.masked} <= {"US_SSN", "PERSON"}


def test_a_blob_in_which_nothing_is_found_stays_to_the_letter() -> None:
    given = reading(b"Nothing to see here.")
    assert engine_of().redact(given, Masking()).payload == given


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", b"\xff\xfe", b"219-09-9999\x00", "219-09-9999\u202e".encode()])
def test_what_is_no_plain_text_is_withheld(data: bytes) -> None:
    (contents,) = engine_of().redact(reading(data), Masking()).payload["contents"]
    assert "blob" not in contents and "withheld" in contents["text"]


@pytest.mark.parametrize("blob", ["A", "Y2Fs\nbA==", "Y2F!", "Ünï", "219-09-9999"])
def test_what_is_not_base64_is_no_text(blob: str) -> None:
    assert decoded(blob) is None
    (contents,) = engine_of().redact({"contents": [{"uri": "x:y", "blob": blob}]}, Masking()).payload["contents"]
    assert blob not in str(contents)


def test_a_path_rule_reaches_it() -> None:
    masking = Masking(rules=(MaskingRule(path="contents[*].blob"),))
    (contents,) = engine_of().redact(reading(b"blue"), masking).payload["contents"]
    assert base64.b64decode(contents["blob"]) == b"<MASKED>"


def test_an_image_in_a_prompts_message_is_withheld_like_a_tools() -> None:
    payload = {"messages": [{"role": "user", "content": IMAGE}, {"role": "user", "content": [IMAGE]}]}
    one, many = engine_of().redact(payload, Masking()).payload["messages"]
    assert one["content"]["type"] == "text" and "withheld" in one["content"]["text"]
    assert many["content"][0]["type"] == "text"


def test_prompts_and_completions_are_redacted() -> None:
    text = {"type": "text", "text": "Write to 219-09-9999."}
    got = engine_of().redact({"messages": [{"role": "user", "content": text}]}, Masking()).payload
    assert got["messages"][0] == {"role": "user", "content": {"type": "text", "text": "Write to <US_SSN>."}}
    done = engine_of().redact({"completion": {"values": ["219-09-9999", "plain"], "total": 2000, "hasMore": True}}, Masking())
    assert done.payload == {"completion": {"values": ["<US_SSN>", "plain"], "total": 2000, "hasMore": True}}
