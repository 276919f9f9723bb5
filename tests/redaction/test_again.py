"""What a second redaction would find is found by the first, whatever masking sets apart and dropping brings together."""

import json
from typing import Any

import pytest

from mcpgw.core.errors import RedactionError
from mcpgw.core.model import Masked, Masking
from mcpgw.redaction import Operator, Profile, RedactionConfig
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import NoModel
from mcpgw.redaction.reader import Reader
from tests.redaction import fuzz
from tests.redaction.helpers import json_of, text_of


def engine_of(operator: Operator) -> Engine:
    profiles = {"default": Profile(default=operator)}
    return Engine(RedactionConfig(model="none", profiles=profiles, hash_key=b"k" * 32), NoModel())


NEXT_TO_OTHERS = [
    ("4111 1111 1111 1111,7\n219-09-9999,8", "<CREDIT_CARD>,7\n<US_SSN>,8"),
    ("212-555-0147,4111111111111111,5500005555555559", "<PHONE>,<CREDIT_CARD>,<CREDIT_CARD>"),
    ("paid 4111111111,50 in all", "paid 4111111111,50 in all"),
    ("version 219-09-9999.5", "version 219-09-9999.5"),
]


@pytest.mark.parametrize(("text", "clean"), NEXT_TO_OTHERS)
def test_the_next_number_of_a_list_is_no_decimal_of_the_one_before(engine: Engine, text: str, clean: str) -> None:
    assert text_of(engine, text) == clean


@pytest.mark.parametrize("operator", Operator)
def test_a_number_that_ran_into_a_found_one_is_found(operator: Operator) -> None:
    engine = engine_of(operator)
    text = "SSN 219-09-9999 219099998219-09-9999 and 4111 1111 1111 11114111 1111 1111 1111 then\n441123987\n"
    once = engine.redact({"content": [{"type": "text", "text": text}]}, Masking(), reader=Reader(scope="s")).payload
    assert engine.redact(once, Masking(), reader=Reader(scope="s")).payload == once


ACCENT, SLASH = "\u0301", "\u0338"
DISGUISED = [
    f"word 4111 1111 1111 11114111 1111 1111 1111{ACCENT}4111 1111 1111 1111{ACCENT}",
    f"4111 1111 1111 1111{ACCENT}4111 1111 1111 11114111 1111 1111 11114111 1111 1111 1111336883257",
    f"call 212-555-01470{ACCENT}212-555-0147{ACCENT}212-555-0147212-555-0147{ACCENT}, 212-555-0147{ACCENT}0212-555-0147",
    f"call &#50;12-555-014&#55;{SLASH} and 212-555-0147{ACCENT}%32212-555-0147",
    "SSN %32%31%39-09-9999 %32%31%39-09-9999%34%34%31%31%32%33%39%38%37 and \u0032\u200b19-09-9999",
]
"""Signs that stand between numbers in the plain view, and go with what is masked in the original, or the reverse."""


@pytest.mark.parametrize("operator", Operator)
@pytest.mark.parametrize("text", DISGUISED)
def test_what_disguise_held_together_is_read_as_masking_leaves_it(text: str, operator: Operator) -> None:
    engine = engine_of(operator)
    once = engine.redact({"content": [{"type": "text", "text": text}]}, Masking(), reader=Reader(scope="s"))
    assert once.masked
    assert engine.redact(once.payload, Masking(), reader=Reader(scope="s")).payload == once.payload


@pytest.mark.parametrize("seed", [100467, 100613, 301616, 339814, 422967])
def test_a_search_s_findings_stay_found(seed: int) -> None:
    assert fuzz.run(1, seed).refused == 0


def test_what_dropping_brings_together_is_dropped_too() -> None:
    engine = engine_of(Operator.DROP)
    answer = engine.redact({"content": [{"type": "text", "text": "4111 1111(212) 555-0147 1111 1111"}]}, Masking())
    assert answer.payload["content"][0]["text"] == ""
    assert answer.masked == (
        Masked("PHONE", "content[*].text", "patterns@1", 1),
        Masked("CREDIT_CARD", "content[*].text", "patterns@1", 1),
    )


def test_what_goes_on_being_dropped_is_refused() -> None:
    text = "(212) 555-0147"
    for _ in range(12):
        text = f"(212) 555{text}-0147"
    with pytest.raises(RedactionError, match="ever more to drop"):
        engine_of(Operator.DROP).redact({"content": [{"type": "text", "text": text}]}, Masking())


def test_what_was_kept_and_withheld_is_counted_once_where_something_is_dropped() -> None:
    profiles = {"default": Profile(operators={"US_SSN": Operator.DROP, "EMAIL": Operator.KEEP})}
    engine = Engine(RedactionConfig(model="none", profiles=profiles), NoModel())
    row = {"ssn": "219-09-9999", "email": "a@b.example", "uri": "x://y", "blob": "AAAA"}
    assert [(line.entity, line.count) for line in engine.redact({"structuredContent": row}, Masking()).masked] == [
        ("EMAIL", 1),
        ("US_SSN", 1),
        ("BLOB", 1),
    ]


@pytest.mark.parametrize("mark", ["<US_SSN>", "<US_SSN:99>", "<US_SSN:9f2c41d08a7be315>", "<US_SSN_7q2mk4zt9xab>"])
def test_every_operators_mark_is_read_alike(engine: Engine, mark: str) -> None:
    text = f"account of the customer whose number {mark} we asked about, as agreed: 441123987"
    assert text_of(engine, text) == text_of(engine, text.replace(mark, "<US_SSN>")).replace("<US_SSN>", mark)


def test_what_masking_wrote_does_not_name_the_value_beside_it(engine: Engine) -> None:
    row: dict[str, Any] = {"type": "4111 1111 1111 1111", "value": "Batch 20240131 of 441123"}
    once = json_of(engine, row)
    assert once == {**row, "type": "<CREDIT_CARD>"} and json_of(engine, json.loads(json.dumps(once))) == once
