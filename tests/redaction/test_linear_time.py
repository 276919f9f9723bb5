"""Time is linear in the text, whichever pattern or reader it was made for: four times as much, about four times as long."""

import json
import time

import pytest

from mcpgw.core.model import Masking
from mcpgw.redaction import Recognizer, RedactionConfig
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import NoModel

SIZE = 8_000
"""Characters of the smaller text; the larger has four times as many."""
MOST = 12
"""Times as long as the smaller: 4 where time is linear, 16 where it is quadratic. In between is what a busy machine adds."""

UNITS = {
    "digits": "7",
    "digits apart": "1 ",
    "digits dashed": "1-",
    "groups of digits": "1234 ",
    "long groups": "1234567890-",
    "dates": "12/",
    "times": "12:",
    "decimals": "1.",
    "signs of phones": "+1 ",
    "brackets of phones": "(212) ",
    "IBAN": "DE89",
    "IBAN apart": "DE89 ",
    "cards": "4111 1111 1111 1111 ",
    "addresses of mail": "a@",
    "domains": "a.",
    "mail at dots": "a [at] b [dot] ",
    "capitals": "A ",
    "names": "John Smith ",
    "titles": "Mr. ",
    "titled": "Dr. Al Ms Bo ",
    "greetings": "Dear ",
    "signatures": "Regards,\n",
    "streets": "1 Main ",
    "numbers of houses": "1 Aa",
    "PO boxes": "po box 1 ",
    "months": "1 May ",
    "keys": "a=",
    "labels": "Name: ",
    "pairs": "name=Jo ",
    "fields": '"a": ',
    "secrets": "bearer ",
    "private keys": "-----BEGIN PRIVATE KEY-----",
    "JWTs": "eyJ",
    "dots of JWTs": "eyJhbGciOi.",
    "URLs": "a://b:c",
    "IPv6": "a1:",
    "IPv4": "1.1.1.",
    "MAC": "a1-",
    "accents": "e\u0301",
    "marks alone": "\u0301",
    "entities": "&#65;",
    "open entities": "&#",
    "percents": "%41",
    "escapes": "\\u0041",
    "backslashes": "\\",
    "quotes": '"',
    "single quotes": "'",
    "braces": '{"a":',
    "brackets": "[",
    "objects in a list": "[{",
    "tags": "<a>",
    "closing tags": "</a>",
    "open tags": "<a ",
    "pipes": "|",
    "rules of tables": "-|",
    "rows": "a,b\n",
    "quoted cells": '"a\n',
    "tabs": "a\t",
    "values": "VALUES (",
    "inserts": "(a) VALUES (1,",
    "base64": "QUJD",
    "hex": "4142",
    "lines": "\n",
    "paragraphs": "a\n\n",
    "spaces": " ",
    "placeholders": "<PERSON>",
    "open placeholders": "<PERSON",
    "account words": "account ",
    "account numbers": "acct 12345 ",
    "words": "word ",
    "one word": "x",
    "sentences": "We met. ",
    "codes": "AB-12-",
    "own": "LN-1",
}
"""What each detector, reader and view has to try again at every character of."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    own = Recognizer(name="loan", entity="LOAN_ID", pattern=r"\b(?:LN-?)+(?:[0-9]+-?)*[0-9]$", context=("loan",))
    return Engine(RedactionConfig(model="none", packs=("us", "eu", "uk"), recognizers=(own,)), NoModel(), memory=0)


def seconds(engine: Engine, text: str) -> float:
    """Return the processor time of redacting a text: the least of three, for a busy machine can only add."""
    taken: list[float] = []
    for _ in range(3):
        began = time.process_time()
        engine.redact({"content": [{"type": "text", "text": text}]}, Masking())
        taken.append(time.process_time() - began)
        if taken[-1] < 0.02:
            break
    return min(taken)


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_four_times_the_text_takes_about_four_times_as_long(engine: Engine, unit: str) -> None:
    small, large = (seconds(engine, unit * (size // len(unit))) for size in (SIZE, 4 * SIZE))
    assert large < max(MOST * small, 0.1), f"{small:.3f} s and {large:.3f} s"


def test_the_same_inside_json_and_inside_one_line_of_a_megabyte(engine: Engine) -> None:
    for text in ("219-09-9999 " * 90_000, json.dumps({"memo": "4111-" * 50_000, "rows": [["1 " * 40_000]]}), "7" * 1_000_000):
        assert seconds(engine, text) < 20
