"""The API's description (OpenAPI 3.1), made from the table and the shapes that requests are checked against."""

import re
from collections.abc import Iterable
from typing import Any, Final, Protocol

from mcpgw.console.api import evidence, shapes
from mcpgw.console.api.entrance import PROBLEM, Shape
from mcpgw.console.reading import SEQ
from mcpgw.core.model import JsonObject

VERSION: Final = "1"
"""Of the API, as in its paths. Fields and operations may be added under it; what is there keeps its meaning."""
_ERRORS: Final = {
    "400": "It cannot be read in one way only.",
    "401": "No credential, or one that is not good.",
    "403": "Not a person's own credential, not theirs to decide, or not an auditor's.",
    "404": "There is no such thing for you.",
    "409": "It is in no state for that, or `shown` is not what it binds.",
    "410": "The cursor is none of yours.",
    "413": "The body, or what it asks for, is too large.",
    "415": "The body is not JSON.",
    "422": "Something is missing, unknown or out of range; `detail` says what.",
    "429": "Too many wrong credentials came from this address.",
    "503": "The record cannot be written or read now.",
}
"""All that an operation can answer beside 200, by status."""
_TEXT: Final = {"type": "string"}
_PLACES: Final = {"seq": {"type": "string", "pattern": SEQ}}
"""What placeholders of paths take, where it is not any text."""
_ZIP: Final[dict[str, Any]] = {"application/zip": {}}


class Way(Protocol):
    """A row of the table."""

    @property
    def path(self) -> str: ...

    @property
    def method(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> str: ...

    @property
    def shape(self) -> Shape: ...

    @property
    def answer(self) -> str: ...


def document(ways: Iterable[Way]) -> JsonObject:
    """Return the description: the same bytes for the same program, whatever the gateway's settings."""
    paths: dict[str, dict[str, Any]] = {}
    for way in ways:
        paths.setdefault(way.path, {})[way.method.lower()] = _operation(way)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mcpgw: verdicts on held calls, and evidence",
            "version": VERSION,
            "description": "For people, each with a credential of their own. See docs/approvals.md and docs/auditors.md.",
        },
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Approval": shapes.APPROVAL,
                "Page": shapes.PAGE,
                "Sheet": shapes.SHEET,
                "Problem": shapes.PROBLEM,
                "Found": evidence.FOUND,
                "Record": evidence.RECORD,
                "Session": evidence.STEPS,
            },
            "responses": {
                status: {"description": why, "content": {PROBLEM: {"schema": _named("Problem")}}}
                for status, why in _ERRORS.items()
            },
        },
    }


def _operation(way: Way) -> dict[str, Any]:
    placeholders = re.findall(r"{(\w+)}", way.path)
    parameters = [
        *({"name": name, "in": "path", "required": True, "schema": _PLACES.get(name, _TEXT)} for name in placeholders),
        *({"name": name, "in": "query", "schema": schema} for name, schema in way.shape.query.items()),
    ]
    told: dict[str, Any] = {"operationId": way.name, "summary": way.about, "parameters": parameters}
    if way.method == "POST":
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": _body(way.shape)}}}
    answer = {"description": "Done.", "content": {"application/json": {"schema": _named(way.answer)}} if way.answer else _ZIP}
    refused = {status: {"$ref": f"#/components/responses/{status}"} for status in _ERRORS}
    return {**told, "responses": {"200": answer, **refused}}


def _body(shape: Shape) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": shape.body,
        "required": list(shape.required),
        "additionalProperties": False,
    }


def _named(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}
