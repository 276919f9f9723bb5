"""One redaction as an answer: the clean payload with what was masked in it, or why it is withheld. For workers and gateway."""

from dataclasses import astuple
from typing import Any

from mcpgw.core.errors import GatewayError
from mcpgw.core.model import Masking
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.reader import Reader

_WARMING = (
    "Dear Jane Doe, welcome.",
    """[{"id": 7, "name": "Jane Doe", "email": "jane.doe@mail.example", "ssn": "900-00-0000", "card": "4111 1111 1111 1111",
    "phone": "+1 (212) 555-0100", "address": "1 Main Street, Springfield, IL 60000", "iban": "GB00MIDL00000000000000",
    "opened": "2020-01-31T10:00:00Z", "balance": 1000.5, "memo": "Call 212-555-0100 about account 1234567890."}]""",
    "id,name,ssn,city\n1,Jane Doe,900-00-0000,Ashford\n2,John Smith,900-00-0001,Dover\n",
    "| name | phone |\n|---|---|\n| Jane Doe | 212-555-0100 |\n",
    "2020-01-31 10:00:00,000 INFO api: user=jane.doe@mail.example ip=192.0.2.1 token=abc ref=AB-123456 amount=10.00 USD",
)


class ModelNeeded(Exception):
    """A text may hold a name that only a language model can tell, and there is none in this process."""


def warm(engine: Engine) -> None:
    """Read a text of each kind: automata are built as they are needed, and the first callers would wait for it.

    None of the texts holds a name that only a model can tell.
    """
    for text in _WARMING:
        engine.redact({"content": [{"type": "text", "text": text}]}, Masking())


def answered(engine: Engine, payload: Any, masking: Masking, reader: Reader, *, envelope: bool) -> dict[str, Any]:
    """Redact a payload. Whatever goes wrong becomes an answer that withholds it and names no part of it.

    Raises:
        ModelNeeded: by a namer that has no model.
    """
    try:
        redacted = engine.redact(payload, masking, envelope=envelope, reader=reader)
    except ModelNeeded:
        raise
    except GatewayError as error:
        return refusal(str(error), error.hint)
    except RecursionError:
        return refusal("it is nested too deep")
    except MemoryError:
        return refusal("it needs more memory than a redaction worker has", "Ask for less.")
    except Exception as error:  # the one broad except of a redaction: the answer is withheld, and names no part of the payload
        return refusal(f"the redactor failed ({type(error).__name__})")
    answer: dict[str, Any] = {"payload": redacted.payload, "masked": [astuple(line) for line in redacted.masked]}
    return {**answer, "issued": dict(redacted.issued)} if redacted.issued else answer


def refusal(reason: str, hint: str = "") -> dict[str, Any]:
    return {"error": reason, "hint": hint}
