"""Values cut in two: by the end of one text block and the start of the next, or by two notifications of one stream.

Before a message is taken apart, the texts on both sides of each seam are read as one, a bounded stretch of them. What is found
across a seam is written into the first text, and what is left of it in the following ones is taken away. Of a stream, the first
text has left already: there the rest of the value is replaced, so that the whole of it never arrives.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mcpgw.redaction.disguise import view
from mcpgw.redaction.findings import PLACEHOLDER, Finding, resolve
from mcpgw.redaction.judge import judge_prose
from mcpgw.redaction.operators import Writer
from mcpgw.redaction.recognizers import Recognizers

REACH = 512
"""Characters on each side of a seam that are read."""
_STREAMED = ("message", "data")
"""Fields that hold the text of a progress or log notification."""


class Seams:
    def __init__(self, recognizers: Recognizers) -> None:
        self._recognizers = recognizers

    def closed(self, payload: Any, writer: Writer, before: str, counted: Counter[tuple[str, str, str]]) -> Any:
        """Return the message with no value across a seam. `before` is the end of the text that was streamed before it."""
        if before:
            payload = self._continued(payload, writer, before, counted)
        content = payload.get("content")
        if not isinstance(content, list) or len(content) < 2:
            return payload
        texts = [block.get("text") if isinstance(block, dict) else None for block in content]
        new = list(content)
        for run in _runs(texts):
            whole = [content[index]["text"] for index in run]
            cuts = self._cuts(whole, writer, "content[*].text", counted)
            for index, text in zip(run, _cut(whole, cuts), strict=True):
                new[index] = {**content[index], "text": text}
        return {**payload, "content": new}

    def _continued(self, payload: Any, writer: Writer, before: str, counted: Counter[tuple[str, str, str]]) -> Any:
        for field in _STREAMED:
            text = payload.get(field)
            if isinstance(text, str) and text:
                cuts = self._cuts([before, text], writer, field, counted)
                here = [(max(start, len(before)), end, new) for start, end, new in cuts]  # what is before has left already
                return {**payload, field: _cut([before, text], here)[1]}
        return payload

    def _cuts(
        self, texts: Sequence[str], writer: Writer, path: str, counted: Counter[tuple[str, str, str]]
    ) -> list[tuple[int, int, str]]:
        """Return what is found across the ends of texts: from where to where in all of them together, and what replaces it."""
        whole = "".join(texts)
        ends = itertools.accumulate(map(len, texts[:-1]))
        seams = [end for end in dict.fromkeys(ends) if 0 < end < len(whole) and _joins(whole[end - 1], whole[end])]
        cuts: list[tuple[int, int, str]] = []
        read = 0
        for seam in seams:
            if seam < read:
                continue  # the stretch around an earlier one held it, with enough after it
            left, right = max(0, seam - REACH), min(len(whole), seam + REACH)
            read = seam + REACH // 2
            inside = [at - left for at in seams if seam <= at < read]
            for finding in self._across(whole[left:right], inside):
                start, end = finding.start + left, finding.end + left
                new = writer.replacement(finding, whole[start:end])
                if new is not None and not (cuts and start < cuts[-1][1]):
                    counted[finding.entity, path, f"split:{finding.detector}"] += 1
                    cuts.append((start, end, new))
        return cuts

    def _across(self, window: str, seams: Sequence[int]) -> list[Finding]:
        """Return what stands across a seam, together with the values beside the seam that it takes a part of."""
        bounds = [0, *seams, len(window)]
        pieces = [(start, window[start:end]) for start, end in itertools.pairwise(bounds)]
        across = [f for f in self._found(window) if any(f.start < seam < f.end for seam in seams)]
        if not across:
            return []
        beside = [finding.shifted(start) for start, piece in pieces for finding in self._found(piece)]
        return [f for f in resolve([*across, *beside]) if any(f.start < seam < f.end for seam in seams)]

    def _found(self, text: str) -> list[Finding]:
        plain = view(text)
        found = [*self._recognizers.heard(judge_prose(plain.text)), *self._recognizers.find(plain.text, "")]
        marks = [mark.span() for mark in PLACEHOLDER.finditer(plain.text)]
        free = [f for f in resolve(found) if not any(a < f.end and f.start < b for a, b in marks)]
        return [finding.within(plain) for finding in free]


def _joins(last: str, first: str) -> bool:
    """Tell whether the signs beside a seam can be inside one value: none is a line's end, a quote or a bracket."""
    return all(sign.isalnum() or sign in "-+./@_ :=()" for sign in (last, first))


def _runs(texts: Sequence[Any]) -> list[list[int]]:
    """Return the indices of neighbouring texts, where there are two or more."""
    runs: list[list[int]] = [[]]
    for index, text in enumerate(texts):
        if isinstance(text, str):
            runs[-1].append(index)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if len(run) > 1]


def _cut(texts: Sequence[str], cuts: Sequence[tuple[int, int, str]]) -> list[str]:
    """Return the texts with each cut's stretch taken out of all of them, and its replacement where it begins."""
    out: list[str] = []
    offset = 0
    for text in texts:
        pieces: list[str] = []
        position = 0
        for start, end, new in cuts:
            left, right = max(start - offset, 0), min(end - offset, len(text))
            if left >= len(text) or right <= 0 or right < position:
                continue
            pieces += (text[position:left], new if start >= offset else "")
            position = right
        pieces.append(text[position:])
        out.append("".join(pieces))
        offset += len(text)
    return out


def streamed(params: Any) -> str:
    """Return the text that a progress or log notification adds to its stream."""
    return next((params[field] for field in _STREAMED if isinstance(params.get(field), str)), "")
