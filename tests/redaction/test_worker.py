"""The worker's loop: settings first, then one answer to each job, whatever the job is."""

import io
import json
import os
import resource
import signal
import sys
from typing import Any

import pytest

from mcpgw.core.model import Masking, MaskingRule
from mcpgw.redaction import Blobs, Operator, Profile, RedactionConfig, wire, worker
from mcpgw.redaction.reader import Reader
from mcpgw.redaction.worker import serve


def answers(config: RedactionConfig, *bodies: bytes) -> list[Any]:
    """Return what a worker answers: first to the settings, then to each body."""
    source = io.BytesIO(b"".join(map(wire.frame, (wire.settings(config), *bodies))))
    sink = io.BytesIO()
    serve(source, sink, lambda memory_mb: None)
    data, found = sink.getvalue(), []
    while data:
        size = int.from_bytes(data[: wire.LENGTH_BYTES], "big")
        found.append(json.loads(data[wire.LENGTH_BYTES : wire.LENGTH_BYTES + size]))
        data = data[wire.LENGTH_BYTES + size :]
    return found


def test_settings_survive_the_pipe() -> None:
    profile = Profile(default=Operator.PARTIAL, operators={"PERSON": Operator.HASH}, columns=("a",), paths=("b.c",))
    config = RedactionConfig(
        model="none", profiles={"default": profile}, hash_key=b"\x00" * 32, blobs=Blobs.PASS, timeout_s=1.25
    )
    assert wire.read_settings(wire.settings(config)) == config


def test_a_job_survives_the_pipe() -> None:
    rule = MaskingRule(path="c", unmasked_for=("group:a",), operator="partial")
    masking = Masking(profile="p", columns=("a",), paths=("b",), rules=(rule,))
    reader = Reader(members=frozenset({"group:a"}), scope="s", known={"<PERSON_000000000000>": "v"}, before="b")
    assert wire.read_job(wire.job(masking, b'{"x": 1}', envelope=False, reader=reader)) == (masking, False, reader, {"x": 1})


def test_each_job_has_one_answer_in_order() -> None:
    job = wire.job(Masking(), b'{"ssn": "219-09-9999"}', envelope=False)
    ready, first, second = answers(RedactionConfig(model="none"), job, job)
    assert ready == {}
    assert first == second == {"payload": {"ssn": "<US_SSN>"}, "masked": [["US_SSN", "ssn", "key@1", 1]]}


DEEP = b"[" * 150 + b"]" * 150
FAILING = [
    (b"no job at all", "the redactor failed"),
    (wire.job(Masking(), b"\xff", envelope=False), "the redactor failed"),
    (wire.job(Masking(profile="absent"), b"{}", envelope=False), "no redaction profile"),
    (wire.job(Masking(), DEEP, envelope=False), "nested deeper"),
    (wire.job(Masking(), b"[" * 100_000, envelope=False), "nested too deep"),
]


@pytest.mark.parametrize(("body", "reason"), FAILING)
def test_what_goes_wrong_withholds_the_answer_and_the_next_job_works(body: bytes, reason: str) -> None:
    job = wire.job(Masking(), b"{}", envelope=False)
    _, failed, following = answers(RedactionConfig(model="none"), body, job)
    assert reason in failed["error"] and "payload" not in failed
    assert following == {"payload": {}, "masked": []}


def test_a_missing_model_is_answered_with_what_to_install() -> None:
    (refused,) = answers(RedactionConfig(model="absent_model"))
    assert "not installed" in refused["error"] and "pip install" in refused["hint"]


def test_a_package_that_is_no_model_is_answered_in_words() -> None:
    (refused,) = answers(RedactionConfig(model="json"))
    assert "could not be loaded" in refused["error"]


def test_the_process_answers_on_its_own_pipe_whatever_a_library_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda what, bounds: limits.append((what, bounds)))
    handler = signal.getsignal(signal.SIGINT)
    frames = io.BytesIO(wire.frame(wire.settings(RedactionConfig(model="none", memory_mb=256))))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(frames))
    kept, (reading, writing) = os.dup(1), os.pipe()
    try:
        os.dup2(writing, 1)
        worker.main()
        os.write(1, b"printed by a library")
    finally:
        os.dup2(kept, 1)
        signal.signal(signal.SIGINT, handler)
        for descriptor in (kept, writing):
            os.close(descriptor)
    with os.fdopen(reading, "rb") as answered:
        assert answered.read(6) == wire.frame(b"{}"), "ready, and nothing else"
    assert (resource.RLIMIT_CORE, (0, 0)) in limits
    assert sys.platform != "linux" or (resource.RLIMIT_AS, (256 << 20, 256 << 20)) in limits
