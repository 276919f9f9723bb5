"""How fast personal data is found and masked, beside Presidio's defaults on raw text and ContextForge's filter in Rust."""

import gc
import json
import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio

from bench.contenders import PEERS, ROOT, peer_version
from bench.report import Cell, Findings, median, percentile, ratio
from bench.texts import Maker, corpora, read_corpus, size_of
from mcpgw.core.model import (
    Call,
    Identity,
    IdentityKind,
    Masking,
    Origin,
    RawJson,
    RawReply,
    ReplyKind,
    Target,
    TargetKind,
)
from mcpgw.redaction import PresidioRedactor, RedactionConfig
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import NoModel
from mcpgw.redaction.presidio import PresidioNamer, model_package

Redact = Callable[[list[str]], float]
"""Redact the texts, one by one, and return the seconds that it took."""
_OURS = ("mcpgw, patterns", "mcpgw, patterns and NER")
_PRESIDIO = "Presidio's defaults on the raw text"
_TEXTS_KB = (4, 64)
"""A page of rows, and a long answer."""
_BLOCK = 10
"""Documents for one redactor before it is the other's turn: one by one, each would find the caches full of the other's."""
_UNITS = {"KB/s": 1e3, "MB/s": 1e6}


def run(folder: Path, *, short: bool, data: Path | None = None) -> Iterator[Findings]:
    folder.mkdir(parents=True)
    rounds, size = (1, 4_000) if short else (3, 192_000)
    made = {f"{kind} {chunk} KB": texts for chunk in _TEXTS_KB for kind, texts in corpora(size, chunk * 1_000).items()}
    with systems() as redactors:
        yield _speeds("made texts", redactors, made, rounds, "MB/s")
        if data is not None:
            yield _speeds("given data", redactors, {data.name: read_corpus(data, size)}, rounds, "KB/s")
    yield anyio.run(_latencies, 3 if short else 40)


@contextmanager
def systems() -> Iterator[dict[str, Redact]]:
    """Load everybody once; models stay in memory, as they do in a gateway."""
    config = RedactionConfig()
    namer = PresidioNamer(config.model, config.language, config.score_threshold)
    fast, named = Engine(config, NoModel()), Engine(config, namer)
    gc.freeze()  # as in a redaction worker: no collection looks at the models' objects while somebody is measured
    redactors = {_OURS[0]: _engine(fast), _OURS[1]: _engine(named), _PRESIDIO: _presidio(config)}
    if not (PEERS / "python").exists() or peer_version("cpex-pii-filter") == "?":
        yield redactors
        return
    command = [str(PEERS / "python"), str(ROOT / "bench/cpex.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        redactors[f"cpex-pii-filter {peer_version('cpex-pii-filter')} (Rust, regular expressions)"] = _child(process)
        yield redactors
        if process.stdin is not None:
            process.stdin.close()


def _engine(engine: Engine) -> Redact:
    def redact(texts: list[str]) -> float:
        began = time.perf_counter()
        for text in texts:
            engine.redact({"content": [{"type": "text", "text": text}]}, Masking())
        return time.perf_counter() - began

    return redact


def _presidio(config: RedactionConfig) -> Redact:
    # lazy: heavy, and only here
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    package = model_package(config.model)
    models = [{"lang_code": "en", "model_name": package}]
    engine = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
    logging.getLogger("tldextract").disabled = True  # it would like to download a list, and says so; then it uses its own
    analyzer.analyze("Write to someone@mail.example.", language="en")

    def redact(texts: list[str]) -> float:
        began = time.perf_counter()
        for text in texts:
            analyzer.analyze(text, language="en")
        return time.perf_counter() - began

    return redact


def _child(process: "subprocess.Popen[str]") -> Redact:
    def redact(texts: list[str]) -> float:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the peer has no pipes")
        process.stdin.write(json.dumps(texts) + "\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    return redact


def _speeds(of: str, redactors: dict[str, Redact], texts: dict[str, list[str]], rounds: int, unit: str) -> Findings:
    taken: dict[tuple[str, str], list[float]] = {}
    for kind, all_of_kind in texts.items():
        for round_ in range(rounds):  # each round has texts of its own: memories of decisions do not help
            some = all_of_kind[round_::rounds] or all_of_kind
            for name, redact in redactors.items():
                taken.setdefault((name, kind), []).append(size_of(some) / redact(some) / _UNITS[unit])
    rows: list[tuple[Cell, ...]] = []
    for name in redactors:
        speeds = [median(taken[name, kind]) for kind in texts]
        base = [median(taken[_PRESIDIO, kind]) for kind in texts]
        cells = [cell for speed, of in zip(speeds, base, strict=True) for cell in (speed, ratio(speed, of))]
        rows.append((name, *cells))
    columns = [column for kind in texts for column in (f"{kind}, {unit}", "of Presidio's")]
    note = f"One core, in process, no text twice; medians of {rounds} interleaved rounds."
    return Findings(title=f"redaction: speed on {of}", columns=("system", *columns), rows=tuple(rows), note=note)


def _call() -> Call:
    target = Target(
        kind=TargetKind.TOOL,
        name="bank__lookup",
        server="bank",
        server_fingerprint="f",
        upstream_name="lookup",
        definition={},
        definition_hash="h",
        masking=Masking(),
    )
    identity = Identity(subject="teller", issuer="bench", kind=IdentityKind.HUMAN, method="api_key")
    origin = Origin(transport="http", protocol_version="2026-07-28")
    return Call(id="1", identity=identity, target=target, arguments={"branch": "0417", "limit": 50}, origin=origin)


def _reply(document: str) -> RawReply:
    return RawReply(kind=ReplyKind.RESULT, payload=RawJson({"content": [{"type": "text", "text": document}]}))


async def _latencies(repeats: int) -> Findings:
    """What redaction adds to a call: its arguments and its reply, through the doors that the gateway uses."""
    maker = Maker()
    sizes = {"60 B": 60, "1 KB": 1_000, "100 KB": 100_000}
    payloads: dict[str, list[Any]] = {}
    for name, size in sizes.items():
        documents = [maker.json(size) for _ in range(repeats)] if size > 100 else [f"Done {n}." for n in range(repeats)]
        payloads[name] = documents
    redactors = {
        _OURS[0]: PresidioRedactor(RedactionConfig(model="none", timeout_s=60)),
        _OURS[1]: PresidioRedactor(RedactionConfig(timeout_s=60)),
    }
    taken: dict[tuple[str, str], list[float]] = {}
    try:
        for redactor in redactors.values():
            await redactor.start()
        for size_name, documents in payloads.items():
            some = documents[: 10 if size_name == "100 KB" else repeats]
            for name, redactor in (each for _ in range(0, len(some), _BLOCK) for each in redactors.items()):
                done = taken.setdefault((name, size_name), [])
                for document in some[len(done) : len(done) + _BLOCK]:
                    call, reply = _call(), _reply(document)
                    began = time.perf_counter()
                    await redactor.show(call)
                    await redactor.clean(call, reply)
                    done.append(time.perf_counter() - began)
    finally:
        for redactor in redactors.values():
            await redactor.aclose()
    rows: list[tuple[Cell, ...]] = []
    for name in redactors:
        cells = [cell for size in sizes for cell in (median(taken[name, size]) * 1e3, percentile(taken[name, size], 0.9) * 1e3)]
        rows.append((name, *cells))
    columns = [column for size in sizes for column in (f"{size} p50 ms", "p90 ms")]
    columns[0:1] = ["short text p50 ms"]
    return Findings(
        title="redaction: what it adds to a call whose reply is one JSON document",
        columns=("system", *columns),
        rows=tuple(rows),
        note=f"Arguments of two values, and the reply; in turns of {_BLOCK}, and every document is a new one.",
    )
