"""A payload taken apart: units that are judged, and nodes that put the judged units back together.

A node knows how to write itself again. What was not masked is written with the very characters that were read.
"""

from collections.abc import Sequence
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Protocol

from mcpgw.redaction.disguise import View, view
from mcpgw.redaction.findings import PLACEHOLDER, Finding, masked
from mcpgw.redaction.vocabulary import Meaning


class Node(Protocol):
    def render(self) -> str | None:
        """Return the text after masking, or None where it is unchanged."""
        ...


class Unit:
    """One string or number under judgement, with all that is known of where it stands."""

    __slots__ = (
        "findings",
        "forced",
        "key",
        "masked",
        "meaning",
        "number",
        "path",
        "personal",
        "plain",
        "prose",
        "record",
        "text",
    )

    def __init__(
        self,
        text: str,
        key: str,
        path: str,
        meaning: Meaning,
        personal: bool = False,
        record: int = 0,
        *,
        prose: bool = False,
        number: bool = False,
        forced: str = "",
    ) -> None:
        self.text = text
        self.key = key
        self.path = path
        self.meaning = meaning
        self.prose = prose
        self.number = number
        self.personal = personal
        """Its record holds other personal data, so that a name here is a person's."""
        self.record = record
        """Number of the object or row that it is part of; 0 where it is part of none."""
        self.forced = forced
        """The detector that masks it whatever it is: a column or path rule."""
        self.plain: View = reading(text)
        self.findings: list[Finding] = []
        """In code points of `plain.text`."""
        self.masked: str | None = None

    def redacted(self) -> View:
        """Return what a second redaction would read once the findings are masked, over `plain`.

        Masking cuts the original, in which accents, entities and escapes belong to the signs beside them, so it is the original
        that is masked and read anew.
        """
        if self.plain.same:
            return masked(self.text, self.findings)
        cut = masked(self.text, [finding.within(self.plain) for finding in self.findings])
        return self.plain.under(reading(cut.text).over(cut))

    def render(self) -> str | None:
        return self.masked


def reading(text: str) -> View:
    """Return the plain view of a text. What any operator wrote in it earlier reads as if `mask` had written it."""
    plain = view(text)
    return masked(plain.text).over(plain) if "<" in plain.text else plain


class Spliced:
    """A text some of whose stretches are nodes; the rest is written as it was read."""

    __slots__ = ("parts", "text")

    def __init__(self, text: str, parts: Sequence[tuple[int, int, Node]]) -> None:
        self.text = text
        self.parts = parts

    def render(self) -> str | None:
        out: list[str] = []
        position = 0
        for start, end, node in self.parts:
            new = node.render()
            if new is not None:
                out += (self.text[position:start], new)
                position = end
        if not out:
            return None
        out.append(self.text[position:])
        return "".join(out)


class Quoted:
    """A JSON string or number inside a JSON text: what changes is written as a JSON string."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def render(self) -> str | None:
        new = self.node.render()
        if new is None:
            return None
        return encode_basestring_ascii(new) if new.isascii() else encode_basestring(new)


class CsvQuoted:
    """A quoted CSV cell: its quotes are doubled (RFC 4180)."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def render(self) -> str | None:
        new = self.node.render()
        return None if new is None else '"' + new.replace('"', '""') + '"'


class Escaped:
    """A stretch between tags: what masking writes must not look like a tag."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def render(self) -> str | None:
        new = self.node.render()
        return None if new is None else PLACEHOLDER.sub(lambda mark: f"&lt;{mark.group()[1:-1]}&gt;", new)


class Blob:
    """A text in another encoding: if anything in it is masked, nothing of it stays."""

    __slots__ = ("node", "placeholder")

    def __init__(self, node: Node, placeholder: str) -> None:
        self.node = node
        self.placeholder = placeholder

    def render(self) -> str | None:
        return None if self.node.render() is None else self.placeholder
