"""Recognizers as data: a linear-time pattern, words that must stand near it, and arithmetic. Packs and settings use the same.

Every pattern is run on the plain view of a text (see `disguise`). A match counts if its score, raised where a context word
stands before it or in its key, reaches `THRESHOLD`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mcpgw.core.errors import ConfigError
from mcpgw.redaction import national
from mcpgw.redaction.findings import Finding
from mcpgw.redaction.linear import Linear, PatternError

THRESHOLD = 0.5
CONTEXT_GAIN = 0.4
"""Added to the score where a context word is near: Presidio's enhancer adds 0.35, and 0.4 lets 0.1 suffice."""
VALID_GAIN = 0.3
"""Added to a match's score where its arithmetic is right, so that it names a value that other patterns fit too."""
REACH = 60
"""Characters before a match in which a context word must stand."""
LONGEST_PATTERN = 1_000
_ENTITY = re.compile(r"[A-Z][A-Z0-9_]{1,40}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z\u00df-\u00ff]+|[A-Z]+|\d+|[^\W\d_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognizer:
    """One kind of value. Valid by construction.

    Raises:
        ConfigError: naming the key that is wrong.
    """

    name: str
    """For manifests: `custom.NAME@VERSION`, or the pack's."""
    entity: str
    pattern: str
    """RE2 syntax. A group named `value` is what is masked; without one, the whole match is."""
    context: tuple[str, ...] = ()
    """Words or short phrases, compared without case."""
    validator: str = ""
    """A name in `national.VALIDATORS`; empty where the form is all there is to check."""
    score: float = 0.5
    """Between 0 and 1. Below `THRESHOLD`, a context word is needed."""
    version: str = "1"
    origin: str = "custom"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"{self.name!r} cannot name a recognizer", where="name", hint="Use a-z, 0-9, - and _.")
        if not _ENTITY.fullmatch(self.entity):
            raise ConfigError(f"{self.entity!r} cannot name an entity", where="entity", hint="Write it like EMPLOYEE_ID.")
        if self.validator and self.validator not in national.VALIDATORS:
            hint = f"Validators: {', '.join(sorted(national.VALIDATORS))}."
            raise ConfigError(f"there is no validator {self.validator!r}", where="validator", hint=hint)
        if not 0 < self.score <= 1:
            raise ConfigError(f"a score of {self.score:g} is not above 0 and at most 1", where="score")
        if self.score < THRESHOLD and not self.context:
            hint = f"Raise it to {THRESHOLD} or more, or give context words."
            raise ConfigError(f"with a score of {self.score:g} and no context it can never be found", where="score", hint=hint)
        if any(not _phrase(text).strip() for text in self.context):
            raise ConfigError("a context of no letters is found nowhere", where="context", hint="Write words.")
        _checked(self.pattern)

    @property
    def detector(self) -> str:
        return f"{self.origin}.{self.name}@{self.version}"

    @property
    def facts(self) -> dict[str, Any]:
        """What is hashed: everything, the score as text."""
        return {**asdict(self), "context": list(self.context), "score": str(self.score)}


def _checked(pattern: str) -> None:
    if len(pattern) > LONGEST_PATTERN:
        raise ConfigError(f"a pattern has at most {LONGEST_PATTERN} characters", where="pattern")
    try:
        compiled = Linear(pattern)
    except PatternError as error:
        reason = str(error).strip("b'\"")
        hint = "Patterns are RE2: there are no look-arounds and no back references."
        raise ConfigError(f"the pattern does not compile: {reason}", where="pattern", hint=hint) from None
    if compiled.matches(""):
        raise ConfigError("the pattern matches nothing at all, and so everywhere", where="pattern", hint="Drop a * or ?.")


class Recognizers:
    """Recognizers, compiled. `bool()` tells whether there is anything to look for."""

    __slots__ = ("_compiled", "_silent")

    def __init__(self, recognizers: Sequence[Recognizer] = (), silent: Iterable[str] = ()) -> None:
        self._compiled = [(r, Linear(r.pattern), tuple(map(_phrase, r.context))) for r in recognizers]
        self._silent = frozenset(silent)

    def __bool__(self) -> bool:
        return bool(self._compiled or self._silent)

    def find(self, text: str, key: str) -> Iterator[Finding]:
        """Yield what the recognizers find in a plain text that stands under `key`."""
        named = _phrase(key) if key else ""
        for recognizer, pattern, phrases in self._compiled:
            for start, end in pattern.spans(text):
                score = recognizer.score
                if phrases and any(
                    phrase in named or phrase in _phrase(text[max(0, start - REACH) : start]) for phrase in phrases
                ):
                    score = min(1.0, score + CONTEXT_GAIN)
                if score < THRESHOLD:
                    continue
                left, right = pattern.groups(text[start:end]).get("value", (0, end - start))
                if recognizer.validator:
                    if not national.VALIDATORS[recognizer.validator](text[start + left : start + right]):
                        continue
                    score = min(1.0, score + VALID_GAIN)
                yield Finding(start + left, start + right, recognizer.entity, recognizer.detector, score)

    def heard(self, findings: Iterable[Finding]) -> list[Finding]:
        """Return the findings without those of packs that are not on."""
        return [f for f in findings if f.entity not in self._silent or not f.detector.startswith("patterns@")]


def _phrase(text: str) -> str:
    """Return a text's words in lower case between spaces, camel case taken apart: what phrases are looked for in."""
    return f" {' '.join(_WORD.findall(text)).casefold()} "
