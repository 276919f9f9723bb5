"""Under a flood of refusals: one record for the first ones of each caller, exact counts for the rest. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mcpgw.core.entries import (
    Event,
    Refusal,
    Rejection,
)

KIND = "refusals.counted"
_LINES = 50
"""Callers in one counted record, so that it fits a leaf (64 KiB) whatever alphabet their names are written in."""
_MANY = "(many)"
"""Who is blamed where the callers are too many to be told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FloodLimits:
    """When refusals are counted instead of recorded one by one."""

    window_s: float = 10.0
    per_caller: int = 50
    """Own records for one caller and code in a window."""
    in_all: int = 1000
    """Own records for all callers together in a window: a flood from many addresses is one flood."""
    callers: int = 1000
    """How many callers are told apart while counting, which bounds memory."""


class RefusalCounter:
    """Not thread-safe: it lives on the event loop."""

    def __init__(self, limits: FloodLimits) -> None:
        self._limits = limits
        self._recorded: Counter[tuple[str, str]] = Counter()
        self._counted: Counter[tuple[str, str]] = Counter()

    def deserves_record(self, entry: Refusal | Rejection) -> bool:
        """Tell whether the refusal gets a record of its own; if not, it has been counted."""
        key = (_who(entry), entry.refused.code.value)
        if self._recorded[key] < self._limits.per_caller and self._recorded.total() < self._limits.in_all:
            self._recorded[key] += 1
            return True
        self.count(entry)
        return False

    def count(self, entry: Refusal | Rejection) -> None:
        """Count a refusal that has no record of its own."""
        code = entry.refused.code.value
        key = (_who(entry), code)
        known = key in self._counted or len(self._counted) < self._limits.callers
        self._counted[key if known else (_MANY, code)] += 1

    def close_window(self, from_ns: int, to_ns: int) -> Sequence[Event]:
        """Start a new window, and return the records that say what was counted in the old one."""
        lines = [{"who": who, "code": code, "count": count} for (who, code), count in sorted(self._counted.items())]
        self._recorded.clear()
        self._counted.clear()
        span = {"from_ns": str(from_ns), "to_ns": str(to_ns)}
        pages = [lines[at : at + _LINES] for at in range(0, len(lines), _LINES)]
        return [
            Event(kind=KIND, actor="gateway", facts={**span, "page": number, "pages": len(pages), "counts": page})
            for number, page in enumerate(pages, start=1)
        ]

    def restore(self, event: Event) -> None:
        """Take counts back that could not be recorded."""
        for line in event.facts["counts"]:
            self._counted[line["who"], line["code"]] += line["count"]


def _who(entry: Refusal | Rejection) -> str:
    """The principal, or the address where nobody was authenticated; cut, for it may be an attacker's text."""
    if isinstance(entry, Refusal):
        return entry.shown.call.identity.principal[:256]
    return (entry.principal or entry.origin.address)[:256]
