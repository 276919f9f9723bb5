"""Why a sample is redacted as it is: for every value that was judged, the rule or detector that decided, and what is seen."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mcpgw.core.model import Masking
from mcpgw.redaction.config import Operator
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One decision. `value` and `seen` may be personal data; the rest never is."""

    path: str
    entity: str
    """Empty where nothing was found."""
    detector: str
    """Rule or detector with its version; empty where none spoke."""
    operator: Operator
    size: int
    """Of the value, in characters."""
    value: str = field(repr=False)
    seen: str = field(repr=False)
    """The whole field or text that it stands in, as the reader sees it."""


def explained(engine: Engine, payload: Any, masking: Masking, reader: Reader, *, envelope: bool = True) -> Iterator[Explained]:
    """Yield every decision on a payload, in the order of the text. A value that nothing was found in is kept by nobody.

    Values that cannot be personal data whatever their key (truth values, UUIDs, timestamps, short numbers) are not judged.

    Raises:
        RedactionError, ConfigError: as `Engine.redact`.
    """
    redacted = engine.redact(payload, masking, envelope=envelope, reader=reader)
    for unit in redacted.units:
        seen = unit.text if unit.masked is None else unit.masked
        for finding in unit.findings:
            start, end = unit.plain.back(finding.start, finding.end)
            yield Explained(
                path=unit.path,
                entity=finding.entity,
                detector=finding.detector,
                operator=redacted.operator(finding),
                size=end - start,
                value=unit.text[start:end],
                seen=seen,
            )
        if not unit.findings:
            yield Explained(
                path=unit.path, entity="", detector="", operator=Operator.KEEP, size=len(unit.text), value=unit.text, seen=seen
            )
    for line in redacted.masked:
        if line.detector.startswith(("split:", "blob-")):  # decided before the message was taken apart
            operator = Operator.KEEP if line.detector.startswith("blob-pass") else Operator.MASK
            yield Explained(
                path=line.path, entity=line.entity, detector=line.detector, operator=operator, size=0, value="", seen=""
            )
