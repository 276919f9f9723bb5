"""Small payloads decided in the gateway's own process, by the same engine: a trip to a worker costs more than they do.

Only what needs no language model is decided here. Time is bounded by size, for all that runs is linear in it; no text is
remembered after its call. `docs/adr/0005-small-payloads-stay.md` has the reasons.
"""

import json
from collections.abc import Sequence
from typing import Any

from mcpgw.core.model import Masking
from mcpgw.redaction.answer import ModelNeeded, answered, warm
from mcpgw.redaction.config import NO_MODEL, RedactionConfig
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.findings import Finding
from mcpgw.redaction.judge import Namer, NoModel
from mcpgw.redaction.reader import Reader


class _Elsewhere:
    """Stands for a model that is in another process."""

    reads = True

    def people(self, texts: Sequence[str], keys: Sequence[str]) -> list[list[Finding]]:
        return _nothing_for(texts)

    def votes(self, values: Sequence[str]) -> list[int]:
        return _nothing_for(values)


def _nothing_for(texts: Sequence[str]) -> list[Any]:
    if texts:
        raise ModelNeeded
    return []


class Near:
    """Redacts payloads of at most `config.inline_bytes` that no model has to read."""

    def __init__(self, config: RedactionConfig) -> None:
        self._limit = config.inline_bytes
        namer: Namer = NoModel() if config.model == NO_MODEL else _Elsewhere()
        self._engine = Engine(config, namer, memory=0)

    def warm(self) -> None:
        warm(self._engine)

    def answer(self, payload: bytes, masking: Masking, reader: Reader, *, envelope: bool) -> dict[str, Any] | None:
        """Return what a worker would answer, or None where one has to be asked."""
        if len(payload) > self._limit:
            return None
        try:
            return answered(self._engine, json.loads(payload), masking, reader, envelope=envelope)
        except ModelNeeded:
            return None
