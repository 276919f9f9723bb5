"""Short ways to see what an engine makes of one text or value."""

from typing import Any

from mcpgw.core.model import Masking
from mcpgw.redaction import RedactionConfig
from mcpgw.redaction.engine import Engine


def in_workers(**settings: Any) -> RedactionConfig:
    """Return settings under which everything goes to a worker process, which has no model and starts at once."""
    return RedactionConfig(model="none", inline_bytes=0, **settings)


def text_of(engine: Engine, text: str, masking: Masking | None = None) -> str:
    """Return a text as a client would get it in a tool's result."""
    payload = {"content": [{"type": "text", "text": text}]}
    out: str = engine.redact(payload, masking or Masking()).payload["content"][0]["text"]
    return out


def json_of(engine: Engine, value: Any, masking: Masking | None = None) -> Any:
    """Return a JSON value as a client would get it as structured content."""
    return engine.redact({"structuredContent": value}, masking or Masking()).payload["structuredContent"]


def cell(engine: Engine, key: str, value: Any) -> Any:
    """Return one value as a client would get it under a key."""
    return json_of(engine, {key: value})[key]
