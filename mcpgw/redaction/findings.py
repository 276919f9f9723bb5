"""What a detector says: from where to where, what it is, and who says so."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mcpgw.redaction.disguise import View

PLACEHOLDER = re.compile(r"<(?P<entity>[A-Z][A-Z0-9_]{1,40}?)(?::[0-9A-Za-z]{1,32}|_[0-9a-z]{12})?>")
"""What masking writes. It is never looked into again, so that redaction of a redacted text changes nothing."""


class Finding(NamedTuple):
    """A span of a text, in code points."""

    start: int
    end: int
    entity: str
    detector: str
    score: float

    def within(self, view: View) -> "Finding":
        """Return a finding in a view as one in its original."""
        start, end = view.back(self.start, self.end)
        return self._replace(start=start, end=end)

    def shifted(self, by: int) -> "Finding":
        return Finding(self.start + by, self.end + by, self.entity, self.detector, self.score)


def resolve(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings without overlap, in order of position, covering every character that any of them covers.

    Where two overlap, the better score names the whole (the longer one, if scores are equal), and the span is their union: a
    value is masked whole even if two detectors disagree on where it ends.
    """
    ordered = sorted(findings)
    if len(ordered) == 1:
        return ordered if ordered[0].end > ordered[0].start else []
    merged: list[Finding] = []
    for finding in ordered:
        if finding.end <= finding.start:
            continue
        if not merged or finding.start >= merged[-1].end:
            merged.append(finding)
            continue
        last = merged[-1]
        better = max(last, finding, key=lambda f: (f.score, f.end - f.start))
        merged[-1] = better._replace(start=last.start, end=max(last.end, finding.end))
    return merged


def masked(text: str, findings: Sequence[Finding] = ()) -> View:
    """Return a text as it is once its findings, which are in order, are masked; what masking wrote earlier is written alike.

    So a model is shown the same sentence however values are written, and at a second redaction the one it was shown last.
    """
    marks = [(*mark.span(), mark["entity"]) for mark in PLACEHOLDER.finditer(text)] if "<" in text else []
    spans = sorted([*marks, *((finding.start, finding.end, finding.entity) for finding in findings)])
    if not spans:
        return View(text, (), ())
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    for start, end, entity in [*spans, (len(text), len(text), "")]:
        plain, mark = text[position:start], f"<{entity}>" if entity else ""
        pieces += (plain, mark)
        starts += (*range(position, start), *[start] * len(mark))
        ends += (*range(position + 1, start + 1), *[end] * len(mark))
        position = end
    return View("".join(pieces), starts, ends)
