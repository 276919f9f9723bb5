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
from dataclasses import astuple
from typing import BinaryIO

from mcpgw.core.errors import GatewayError
from mcpgw.core.model import Masking
from mcpgw.redaction import wire
from mcpgw.redaction.config import NO_MODEL, RedactionConfig
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import Namer, NoModel
from mcpgw.redaction.presidio import PresidioNamer

_WARMING = (
    "Dear Jane Doe, welcome.",
    """[{"id": 7, "name": "Jane Doe", "email": "jane.doe@mail.example", "ssn": "900-00-0000", "card": "4111 1111 1111 1111",
    "phone": "+1 (212) 555-0100", "address": "1 Main Street, Springfield, IL 60000", "iban": "GB00MIDL00000000000000",
    "opened": "2020-01-31T10:00:00Z", "balance": 1000.5, "memo": "Call 212-555-0100 about account 1234567890."}]""",
    "id,name,ssn,city\n1,Jane Doe,900-00-0000,Ashford\n2,John Smith,900-00-0001,Dover\n",
    "| name | phone |\n|---|---|\n| Jane Doe | 212-555-0100 |\n",
    "2020-01-31 10:00:00,000 INFO api: user=jane.doe@mail.example ip=192.0.2.1 token=abc ref=AB-123456 amount=10.00 USD",
)
"""Read once before the first job: automata are built as they are needed, and the first callers would wait for it."""


def namer(config: RedactionConfig) -> Namer:
    """Load what finds names under these settings.

    Raises:
        ConfigError: the model is not installed.
    """
    return NoModel() if config.model == NO_MODEL else PresidioNamer(config.model, config.language, config.score_threshold)


def main() -> None:
    """Serve one gateway process until it closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which finishes its calls first
    sink = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not end up between the frames
    serve(sys.stdin.buffer, sink, limit)


def serve(source: BinaryIO, sink: BinaryIO, limit: Callable[[int], None]) -> None:
    """Read settings and jobs until the source ends; write one answer to each, the first when the model is loaded."""
    config = wire.read_settings(_read(source))
    limit(config.memory_mb)
    try:
        engine = Engine(config, namer(config))
        engine.redact({"content": [{"type": "text", "text": text} for text in _WARMING]}, Masking())
    except GatewayError as error:
        sink.write(wire.frame(_problem(error)))
        return
    except Exception as error:  # whatever a model's package raises: the gateway is told, and does not start
        sink.write(wire.frame(_withheld(f"the model could not be loaded ({type(error).__name__})")))
        return
    gc.freeze()  # the model's objects live as long as the process: no collection has to look at them again
    sink.write(wire.frame(b"{}"))
    while body := _read(source):
        sink.write(wire.frame(_answer(engine, body)))


def _answer(engine: Engine, body: bytes) -> bytes:
    """Redact one job. Whatever goes wrong becomes an answer that withholds the payload and names no part of it."""
    try:
        masking, envelope, reader, payload = wire.read_job(body)
        redacted = engine.redact(payload, masking, envelope=envelope, reader=reader)
        answer = {"payload": redacted.payload, "masked": [astuple(line) for line in redacted.masked]}
        if redacted.issued:
            answer["issued"] = redacted.issued
        return json.dumps(answer, separators=(",", ":")).encode("ascii")
    except GatewayError as error:
        return _problem(error)
    except RecursionError:
        return _withheld("it is nested too deep")
    except MemoryError:
        return _withheld("it needs more memory than a redaction worker has", "Raise redaction.memory_mb.")
    except Exception as error:  # the one broad except of the worker: the answer is withheld, and names no part of the payload
        return _withheld(f"the redactor failed ({type(error).__name__})")


def _withheld(reason: str, hint: str = "") -> bytes:
    return json.dumps({"error": reason, "hint": hint}).encode()


def _problem(error: GatewayError) -> bytes:
    return _withheld(str(error), error.hint)


def _read(source: BinaryIO) -> bytes:
    """Return the next frame's body, or nothing at the end of the pipe."""
    head = source.read(wire.LENGTH_BYTES)
    return source.read(int.from_bytes(head, "big")) if len(head) == wire.LENGTH_BYTES else b""


def limit(memory_mb: int) -> None:
    """Bound the process's memory, and keep what it holds out of core dumps."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))


if __name__ == "__main__":
    main()
