"""The worker process: `python -m mcpgw.redaction.worker`. Reads its settings and jobs from stdin, answers on stdout.

It holds the language model, and it is the only process that looks into payloads. It is given no environment but what Python
needs, no files and no network of ours; it can be killed at any moment without harm.
"""

import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from mcpgw.core.errors import GatewayError
from mcpgw.redaction import wire
from mcpgw.redaction.answer import answered, refusal, warm
from mcpgw.redaction.config import NO_MODEL, RedactionConfig
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import Namer, NoModel
from mcpgw.redaction.presidio import PresidioNamer


def namer(config: RedactionConfig) -> Namer:
    """Load what finds names under these settings.

    Raises:
        ConfigError: the model is not installed.
    """
    return NoModel() if config.model == NO_MODEL else PresidioNamer(config.model, config.language, config.score_threshold)


def main() -> None:
    """Serve one gateway process until it closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which finishes its calls first
    with os.fdopen(os.dup(1), "wb", buffering=0) as sink, Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # what a library prints must not end up between the frames
        serve(sys.stdin.buffer, sink, limit)


def serve(source: BinaryIO, sink: BinaryIO, limit: Callable[[int], None]) -> None:
    """Read settings and jobs until the source ends; write one answer to each, the first when the model is loaded."""
    config = wire.read_settings(_read(source))
    limit(config.memory_mb)
    loaded = load(config)
    if isinstance(loaded, bytes):
        sink.write(loaded)
        return
    gc.freeze()  # the model's objects live as long as the process: no collection has to look at them again
    sink.write(_written({}))
    work(loaded, source, sink)


def load(config: RedactionConfig) -> Engine | bytes:
    """Return an engine with its model loaded, or the frame that says why there is none."""
    try:
        engine = Engine(config, namer(config))
        warm(engine)
    except GatewayError as error:
        return _written(refusal(str(error), error.hint))
    except Exception as error:  # whatever a model's package raises: the gateway is told, and does not start
        return _written(refusal(f"the model could not be loaded ({type(error).__name__})"))
    return engine


def work(engine: Engine, source: BinaryIO, sink: BinaryIO) -> None:
    """Write one answer to each job until the source ends."""
    while body := _read(source):
        sink.write(_answer(engine, body))
        sink.flush()


def _answer(engine: Engine, body: bytes) -> bytes:
    """Return the frame that answers a job, whatever the job is."""
    try:
        masking, envelope, reader, payload = wire.read_job(body)
        return _written(answered(engine, payload, masking, reader, envelope=envelope))
    except RecursionError:
        return _written(refusal("it is nested too deep"))
    except Exception as error:  # a job or an answer that is not JSON: it is withheld, and no part of it is named
        return _written(refusal(f"the redactor failed ({type(error).__name__})"))


def _written(answer: dict[str, Any]) -> bytes:
    return wire.frame(json.dumps(answer, separators=(",", ":")).encode("ascii"))


def _read(source: BinaryIO) -> bytes:
    """Return the next frame's body, or nothing at the end of the pipe."""
    head = source.read(wire.LENGTH_BYTES)
    return source.read(int.from_bytes(head, "big")) if len(head) == wire.LENGTH_BYTES else b""


def limit(memory_mb: int) -> None:
    """Bound the process's memory, and keep what it holds out of core dumps."""
    bounds = {resource.RLIMIT_CORE: 0, **({resource.RLIMIT_AS: memory_mb << 20} if sys.platform == "linux" else {})}
    for what, most in bounds.items():
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
