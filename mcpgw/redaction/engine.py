"""One redaction from payload to clean payload, in the process that calls it: pure computation, no clock, no I/O."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mcpgw.core.answers import INPUT_REQUIRED, OPAQUE
from mcpgw.core.errors import RedactionError
from mcpgw.core.model import (
    Json,
    Masked,
    Masking,
)
from mcpgw.redaction.blobs import Decoded, decoded
from mcpgw.redaction.config import Blobs, Operator, RedactionConfig
from mcpgw.redaction.findings import PLACEHOLDER, Finding
from mcpgw.redaction.judge import Judge, Namer
from mcpgw.redaction.memory import ENTRIES
from mcpgw.redaction.nodes import Node, Unit
from mcpgw.redaction.operators import Writer
from mcpgw.redaction.packs import US_ENTITIES
from mcpgw.redaction.paths import Rules
from mcpgw.redaction.reader import ANYONE, Reader
from mcpgw.redaction.recognizers import Recognizers
from mcpgw.redaction.seams import Seams
from mcpgw.redaction.vocabulary import BARE, meaning
from mcpgw.redaction.walk import Place, Taker, safe_key

_NUMBERS = frozenset({"progressToken", "progress", "total", "ttlMs", "code"})
_WORDS: Mapping[str, frozenset[str]] = {
    "resultType": frozenset({"complete", INPUT_REQUIRED, "task"}),
    "requestState": frozenset({OPAQUE}),
    "cacheScope": frozenset({"public", "private"}),
    "level": frozenset({"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}),
}
"""Fields at the top of MCP's own messages by which the protocol works, and what they hold then, which is no one's words."""
_BLOB_KEYS = frozenset({"image", "audio"})
_CONTENT = re.compile(r"content(?:\[\*\])?$")
"""Where a block of content stands: in a tool's result, or as a prompt's message."""
_ROUNDS = 8
"""How often a payload is redacted at most where values are dropped; nearly always the second round finds nothing."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """A payload after redaction, with what was masked where."""

    payload: Any
    masked: tuple[Masked, ...]
    issued: Mapping[str, Json] = field(default_factory=dict, repr=False)
    """Tokens that stand in it, with their values: for the store of tokens and nobody else."""
    units: tuple[Unit, ...] = field(default=(), repr=False)
    """Everything that was judged, in order, with its findings: for `explain`."""
    operator: Callable[[Finding], Operator] = field(default=lambda finding: Operator.MASK, repr=False)
    """What happened to a finding."""

    def followed_by(self, again: "Redacted") -> "Redacted":
        """Return the outcome of redacting the payload once more: both manifests, without what the second one met again."""
        more = [line for line in again.masked if line.entity != "BLOB" and not line.detector.startswith("keep:")]
        return replace(self, payload=again.payload, masked=(*self.masked, *more), issued={**self.issued, **again.issued})


class Engine:
    """Redacts payloads under a configuration. Not safe for use by several threads at once."""

    def __init__(self, config: RedactionConfig, namer: Namer, *, memory: int = ENTRIES) -> None:
        """`memory`: of how many short texts the decision is remembered."""
        self._config = config
        recognizers = Recognizers(config.all_recognizers, () if "us" in config.packs else US_ENTITIES)
        self._judge = Judge(namer, recognizers, memory)
        self._seams = Seams(recognizers)

    def redact(self, payload: Any, masking: Masking, *, envelope: bool = True, reader: Reader = ANYONE) -> Redacted:
        """Return the payload with every personal value replaced: structure, keys, order and everything else as it was.

        `envelope` says that it is a message of MCP (a result, an error, a notification's params) and not a bare document.

        Raises:
            RedactionError: it is not JSON data, or it is nested too deep.
            ConfigError: the profile does not exist, or a path rule is not one.
        """
        redacted, dropped = self._once(payload, masking, envelope, reader)
        for _ in range(_ROUNDS):
            if not dropped:
                return redacted
            again, _ = self._once(redacted.payload, masking, envelope, replace(reader, before=""))
            dropped = again.payload != redacted.payload
            redacted = redacted.followed_by(again)
        raise RedactionError("what is dropped from it leaves ever more to drop", hint="Use another operator than drop.")

    def _once(self, payload: Any, masking: Masking, envelope: bool, reader: Reader) -> tuple[Redacted, bool]:
        """Redact; tell too whether something was dropped, which brings together what stood apart."""
        profile = self._config.profile(masking.profile).seen_by(reader.members)
        columns, places = (*profile.columns, *masking.columns), (*profile.paths, *masking.paths)
        rules = Rules(columns, places, masking.rules, reader.members)
        writer = Writer(profile, rules.operators, self._config.hash_key, reader)
        counted: Counter[tuple[str, str, str]] = Counter()
        withheld: Counter[str] = Counter()
        taker = Taker(rules, self._config.max_depth, thorough=bool(reader.known))
        if envelope:
            payload = self._blobs(payload, withheld, 0)
            payload = self._seams.closed(payload, writer, reader.before, counted)
            scalars = list(_envelope(payload, taker))
        else:
            scalars = list(taker.json(payload, Place("", BARE, "", (), False)))
        self._judge.decide(taker.units)
        for unit in taker.units:
            if unit.findings or reader.known:
                for finding in writer.write(unit):
                    counted[finding.entity, unit.path, finding.detector] += 1
        new = _rebuild(payload, iter(scalars))
        masked = [Masked(entity, path, detector, count) for (entity, path, detector), count in sorted(counted.items())]
        masked += [
            Masked("BLOB", path, f"blob-{self._config.blobs.value}@1", count) for path, count in sorted(withheld.items())
        ]
        return Redacted(new, tuple(masked), writer.issued, tuple(taker.units), writer.operator), writer.dropped

    def _blobs(self, value: Any, withheld: Counter[str], depth: int, path: str = "") -> Any:
        """Deal with images, audio and binary resources, which nobody here can read; a resource that is text is read as one."""
        if depth > self._config.max_depth or not isinstance(value, dict | list):
            return value
        if isinstance(value, list):
            return [self._blobs(item, withheld, depth + 1, f"{path}[*]") for item in value]
        kind = value.get("type")
        if isinstance(kind, str) and kind in _BLOB_KEYS and _encoded(value.get("data")) and _CONTENT.search(path):
            withheld[path] += 1
            value = self._blob(value, "data", path)
        elif _encoded(value.get("blob")) and isinstance(value.get("uri"), str):
            text = decoded(value["blob"])
            if text is None:
                withheld[path] += 1
            value = self._blob(value, "blob", path) if text is None else {**value, "blob": text}
        return {
            key: self._blobs(item, withheld, depth + 1, f"{path}.{safe_key(key)}" if path else safe_key(key))
            for key, item in value.items()
        }

    def _blob(self, value: dict[str, Any], field: str, path: str) -> dict[str, Any]:
        """Return what stands for a blob: a text that says so; in `structuredContent`, whose shape a schema holds, a mark."""
        if self._config.blobs is Blobs.PASS:
            return value
        if path.startswith("structuredContent"):
            return {**value, field: "<BLOB>"}
        return _withheld_resource(value) if field == "blob" else _withheld_block(value)


def _encoded(value: Any) -> bool:
    """Tell whether a field holds what nobody can read: a text, and none that masking wrote in the place of a number."""
    return isinstance(value, str) and PLACEHOLDER.fullmatch(value) is None


def _withheld_block(block: dict[str, Any]) -> dict[str, Any]:
    size = len(block["data"]) * 3 // 4
    text = f"[{block['type']} of about {size} bytes withheld by the gateway: its content cannot be checked for personal data]"
    kept = {key: value for key, value in block.items() if key in ("annotations", "_meta")}
    return {"type": "text", "text": text, **kept}


def _withheld_resource(resource: dict[str, Any]) -> dict[str, Any]:
    size = len(resource["blob"]) * 3 // 4
    text = f"[binary resource of about {size} bytes withheld by the gateway: its content cannot be checked for personal data]"
    return {
        **{key: value for key, value in resource.items() if key not in ("blob", "mimeType")},
        "mimeType": "text/plain",
        "text": text,
    }


def _envelope(payload: dict[str, Any], taker: Taker) -> Iterator[tuple[Any, Node | None]]:
    """Walk the top of an MCP message; `structuredContent` is a document of its own, where paths start."""
    for key, value in payload.items():
        if _is_protocols_own(key, value):
            yield value, None
        elif key == "structuredContent":
            yield from taker.json(value, Place("", BARE, "structuredContent", (), False))
        else:
            yield from taker.json(value, Place(key, meaning(key), key, (key,), False))


def _is_protocols_own(key: str, value: Any) -> bool:
    """Tell whether a field holds what the protocol puts there. Under the same name a server may write anything else."""
    if isinstance(value, bool):
        return key == "isError"
    if isinstance(value, int | float):
        return key in _NUMBERS
    return isinstance(value, str) and value in _WORDS.get(key, ())


def _rebuild(value: Any, scalars: Iterator[tuple[Any, Node | None]]) -> Any:
    if isinstance(value, dict):
        return {key: _rebuild(item, scalars) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rebuild(item, scalars) for item in value]
    old, node = next(scalars)
    new = None if node is None else node.render()
    if isinstance(old, Decoded):
        return old.encoded(new)
    return old if new is None else new
