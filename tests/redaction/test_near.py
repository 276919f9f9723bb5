"""Small payloads stay in the gateway's process: the answer is the worker's to the letter, or the worker is asked."""

import json
from typing import Any

import pytest

from mcpgw.core.errors import RedactionError
from mcpgw.core.model import Masking
from mcpgw.redaction import Operator, Profile, RedactionConfig, wire
from mcpgw.redaction.answer import answered
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import NoModel
from mcpgw.redaction.near import Near
from mcpgw.redaction.payload import payload_bytes
from mcpgw.redaction.presidio import PresidioNamer
from mcpgw.redaction.reader import ANYONE
from tests.redaction import fuzz

MODEL = RedactionConfig()


def text(value: str) -> bytes:
    return payload_bytes({"content": [{"type": "text", "text": value}]})


def near(payload: bytes, config: RedactionConfig = MODEL) -> dict[str, Any] | None:
    return Near(config).answer(payload, Masking(), ANYONE, envelope=True)


def test_no_arguments_and_plain_answers_need_no_worker() -> None:
    assert Near(MODEL).answer(b"{}", Masking(), ANYONE, envelope=False) == {"payload": {}, "masked": []}
    assert near(text("Done 7.")) == {"payload": json.loads(text("Done 7.")), "masked": []}


def test_what_patterns_and_keys_decide_is_masked_without_a_worker() -> None:
    answer = near(text('{"ssn": "219-09-9999", "name": "Jane Doe"}'))
    assert answer is not None and answer["payload"] == json.loads(text('{"ssn": "<US_SSN>", "name": "<PERSON>"}'))


ASK = {
    "a sentence with a name": "We met Jordan Ellery yesterday.",
    "a value like a name": '{"field_7": "Jordan Ellery"}',
    "more than the limit": "x " * 1_500,
}


@pytest.mark.parametrize("value", ASK.values(), ids=ASK)
def test_what_a_model_has_to_read_or_what_is_large_goes_to_a_worker(value: str) -> None:
    assert near(text(value)) is None


def test_without_a_model_names_in_sentences_are_nobodys_to_read() -> None:
    assert near(text(ASK["a sentence with a name"]), RedactionConfig(model="none")) is not None


def test_a_limit_of_nothing_sends_everything_to_a_worker() -> None:
    assert near(b"{}", RedactionConfig(model="none", inline_bytes=0)) is None


@pytest.mark.parametrize(
    ("payload", "masking", "reason"),
    [
        (b"[" * 150 + b"]" * 150, Masking(), "nested deeper than 100 levels"),
        (b"{}", Masking(profile="absent"), "no redaction profile"),
    ],
)
def test_what_cannot_be_redacted_is_refused_in_words(payload: bytes, masking: Masking, reason: str) -> None:
    answer = Near(MODEL).answer(payload, masking, ANYONE, envelope=False)
    assert answer is not None and reason in answer["error"] and "payload" not in answer


def test_no_text_is_remembered_after_its_call() -> None:
    told = Near(RedactionConfig(model="none"))
    for number in range(3):
        told.answer(text(f"Pay {number} to account 4412345{number}."), Masking(), ANYONE, envelope=True)
        told.answer(text(f'{{"f{number}": "219-09-999{number}"}}'), Masking(), ANYONE, envelope=True)
    judge = told._engine._judge
    assert not judge._cells and not judge._prose


def test_the_answer_is_what_a_worker_would_answer(namer: PresidioNamer) -> None:
    profiles = {"default": Profile(), "tokens": Profile(default=Operator.TOKEN)}
    config = RedactionConfig(profiles=profiles, hash_key=b"k" * 32, packs=("us", "eu", "uk"))
    here, there = Near(config), Engine(config, namer)
    decided = 0
    for seed in range(300):
        payload, masking, reader = fuzz.made(seed)
        try:
            raw = payload_bytes(payload)
        except RedactionError:
            continue
        answer = here.answer(raw, masking, reader, envelope=True)
        if answer is not None:
            decided += 1
            again, envelope, who, received = wire.read_job(wire.job(masking, raw, envelope=True, reader=reader))
            worker = answered(there, received, again, who, envelope=envelope)
            assert json.dumps(answer) == json.dumps(worker), f"seed {seed}"
    assert decided > 50


class Broken(NoModel):
    reads = True

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def votes(self, values: object) -> list[int]:
        raise self._error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RecursionError(), "nested too deep"),
        (MemoryError(), "more memory than"),
        (ZeroDivisionError("219-09-9999"), "the redactor failed (ZeroDivisionError)"),
    ],
)
def test_whatever_goes_wrong_withholds_the_answer_and_names_nothing_of_it(error: BaseException, reason: str) -> None:
    engine = Engine(RedactionConfig(), Broken(error))
    answer = answered(engine, {"structuredContent": {"f": "Jordan Ellery"}}, Masking(), ANYONE, envelope=True)
    assert reason in answer["error"] and "219" not in json.dumps(answer)
