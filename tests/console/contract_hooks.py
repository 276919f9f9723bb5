"""What schemathesis loads for `contract.py`: each request comes from an address of its own, and every answer is tallied.

An address whose credentials were wrong too often has to wait, and schemathesis sends wrong ones on purpose.
"""

import itertools
import os
from pathlib import Path
from typing import Any

import schemathesis

TALLY = "MCPGW_CONTRACT_TALLY"
"""Names the variable that names the file to which each answer's operation and status is written."""
_numbers = itertools.count(1)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    number = next(_numbers)
    case.headers["X-Forwarded-For"] = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    with Path(os.environ[TALLY]).open("a", encoding="utf-8") as file:
        file.write(f"{case.operation.definition.raw['operationId']} {response.status_code}\n")
