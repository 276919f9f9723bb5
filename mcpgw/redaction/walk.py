"""Read structure before text: take a payload apart into units, each with its key, its path and its record.

JSON is walked; strings are looked into: JSON inside text (whole, line by line, or between words), CSV, TSV, Markdown and psql
tables, and encoded blobs that decode to text. What is left is a value of a field, or prose.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from mcpgw.core.errors import RedactionError
from mcpgw.redaction import markup, split, sql, tables
from mcpgw.redaction.findings import PLACEHOLDER
from mcpgw.redaction.judge import PERSONAL
from mcpgw.redaction.lists import listed
from mcpgw.redaction.nodes import Blob, CsvQuoted, Escaped, Node, Quoted, Spliced, Unit
from mcpgw.redaction.paths import Rules
from mcpgw.redaction.vocabulary import BARE, HARMLESS, UNKNOWN, Certainty, Meaning, free_text, meaning, words

_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:)?|-?(?:\d[\d.eE+-]*|Infinity)|true|false|null|NaN')
_OPENING = re.compile(r"[\[{]\s*[\"\[{\]}\-0-9tfn]")
_IDENTIFIER = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|(?:true|false|null|none|yes|no|n/a|na)"
    r"|(?:19|20)\d\d-[01]\d-[0-3]\d[T ][\d:.,]{5,18}(?:Z|[+-]\d\d:?\d\d)?|[A-Z]{3}|\d{1,2}",
    re.IGNORECASE,
)
"""UUIDs, truth values, timestamps, currencies: whole values that cannot be personal data, whatever their key."""
_ENCODED = re.compile(r"(?:[A-Za-z0-9+/_-]{4}){4,}[A-Za-z0-9+/_-]{0,3}={0,2}")
_UNBROKEN = re.compile(r"[A-Za-z0-9+/_-]{16}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){10,}")
_PARAGRAPH = re.compile(r"\n[ \t\r]*\n")
_NAMING = ("name", "key", "field", "label", "column", "attribute", "property", "parameter")
_KINDS = ("type", "kind", "idtype", "id_type", "documenttype", "document_type", "attributetype", "system")
_VALUED = ("value", "val", "content", "text", "data", "answer", "number", "no", "id", "idnumber", "id_number", "values")
_LONGEST = 4000
"""Characters of prose that are judged in one piece."""
_ATTEMPTS = 64
"""Openings in a text that may turn out not to be JSON before it is taken for prose."""
_BLOB_LIMIT = 200_000
"""Characters of an encoded blob that is decoded. A longer one passes as what it is: binary data."""
_BLOB_DEPTH = 3


Scalar = tuple[Any, Node | None]
"""A string, number, truth value or null, and the node that judges it, if any does."""


class Pairs:
    """A JSON object as it was written: a key may come twice."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


_DECODER = json.JSONDecoder(object_pairs_hook=Pairs)


class Place:
    """Where a value stands: its key, what the key means, and the way to it."""

    __slots__ = ("key", "meaning", "path", "personal", "record", "steps")

    def __init__(self, key: str, meaning: Meaning, path: str, steps: tuple[str, ...], personal: bool, record: int = 0) -> None:
        self.key = key
        self.meaning = meaning
        self.path = path
        """The pattern for the manifest, indices as `[*]`."""
        self.steps = steps
        """The exact way from the root of the innermost document, for path rules; without rules it need not be there."""
        self.personal = personal
        self.record = record
        """Number of the object or row that it is part of."""


class Taker:
    """Takes texts and JSON values apart. Units are collected in `units`, in order."""

    def __init__(self, rules: Rules, max_depth: int, *, thorough: bool = False) -> None:
        self._rules = rules
        self._ruled = bool(rules)
        self._thorough = thorough
        """Make units also of values that cannot be personal by themselves."""
        self._max_depth = max_depth
        self.units: list[Unit] = []
        self._layouts: dict[tuple[tuple[str, ...], str, str, str], list[tuple[Meaning, str]]] = {}
        self._records = 0
        self._blobs = 0
        """How many encodings deep the text being read is."""

    # --- JSON -----------------------------------------------------------------------------------------------------------

    def json(self, value: Any, place: Place, depth: int = 0) -> list[Scalar]:
        """Return every scalar of a JSON value with its node, in the order in which they are written."""
        taken: list[Scalar] = []
        self._take(value, place, depth, taken)
        return taken

    def _take(self, value: Any, place: Place, depth: int, taken: list[Scalar]) -> None:
        if isinstance(value, str):
            taken.append((value, self.string(value, place, depth)))
        elif value is None or isinstance(value, bool):
            taken.append((value, None))
        elif isinstance(value, int | float):
            taken.append((value, self._number(value, place)))
        elif depth > self._max_depth:
            raise RedactionError(f"it is nested deeper than {self._max_depth} levels", hint="Ask for a flatter result.")
        elif isinstance(value, Pairs):
            self._object(value.pairs, place, depth, taken)
        elif isinstance(value, dict):
            self._object(list(value.items()), place, depth, taken)
        elif isinstance(value, list | tuple):
            self._array(value, place, depth, taken)
        else:
            raise RedactionError(f"it holds a {type(value).__name__}, which is not JSON")

    def _object(self, pairs: list[tuple[str, Any]], place: Place, depth: int, taken: list[Scalar]) -> None:
        header = _positional_header(pairs)
        named = _named_value(pairs)
        layout = self._layout(tuple([key for key, _ in pairs]), place)
        personal = any(
            told.sure and told.entity in PERSONAL and pair[1] not in (None, "")
            for (told, _), pair in zip(layout, pairs, strict=True)
        )
        record = self._record()
        cut = split.pieces([value for _, value in pairs]) if len(pairs) > 1 else {}
        for index, (key, value) in enumerate(pairs):
            if value is None or value is True or value is False:
                taken.append((value, None))
                continue
            told, path = layout[index]
            if key in named:
                told = self._meaning(named[key], place)
            if cut and index in cut and not told.tells and told is not HARMLESS:
                told = Meaning(cut[index])
            steps = (*place.steps, key) if self._ruled else ()
            here = Place(named.get(key, key), told, path, steps, personal, record)
            if header and _is_rows(value, len(header)):
                self._rows(value, header, here, depth + 1, taken)
            else:
                self._take(value, here, depth + 1, taken)

    def _array(self, items: Any, place: Place, depth: int, taken: list[Scalar]) -> None:
        path = f"{place.path}[*]"
        if (
            len(items) > 1
            and all(isinstance(row, list) for row in items)
            and _is_header(items[0])
            and _is_rows(items[1:], len(items[0]))
        ):
            taken.extend((name, None) for name in items[0])
            self._rows(items[1:], tuple(items[0]), place, depth + 1, taken, first=1)
            return
        cut = split.pieces(items) if len(items) > 1 else {}
        for index, item in enumerate(items):
            told = Meaning(cut[index]) if index in cut and place.meaning in (BARE, UNKNOWN) else place.meaning
            steps = (*place.steps, f"[{index}]") if self._ruled else ()
            here = Place(place.key, told, path, steps, place.personal, place.record)
            self._take(item, here, depth + 1, taken)

    def _rows(self, rows: Any, header: tuple[str, ...], place: Place, depth: int, taken: list[Scalar], first: int = 0) -> None:
        """Rows of values under a header that stands elsewhere: what SQL tools return."""
        meanings = [meaning(name) for name in header]
        personal = any(told.sure and told.entity in PERSONAL for told in meanings)
        paths = [f"{place.path}[*].{safe_key(name)}" for name in header]
        for index, row in enumerate(rows, first):
            record = self._record()
            for name, told, path, value in zip(header, meanings, paths, row, strict=True):
                steps = (*place.steps, f"[{index}]", name) if self._ruled else ()
                self._take(value, Place(name, told, path, steps, personal, record), depth + 1, taken)

    def _layout(self, keys: tuple[str, ...], place: Place) -> list[tuple[Meaning, str]]:
        """Return what each key of an object means, and its path. The objects of a list have the same layout."""
        known = (keys, place.key, place.meaning.entity, place.path)
        layout = self._layouts.get(known)
        if layout is None:
            under = f"{place.path}." if place.path and place.path[-1] != ":" else place.path
            layout = self._layouts[known] = [(self._meaning(key, place), under + safe_key(key)) for key in keys]
        return layout

    def _record(self) -> int:
        self._records += 1
        return self._records

    def _meaning(self, key: str, place: Place) -> Meaning:
        """A key by itself, or with the key of the object that it stands in: `{"name": {"first": …}}`."""
        told = meaning(key)
        if (place.key and not told.tells) or told.certainty is Certainty.MAYBE:
            outer = place.meaning
            if outer.entity == "ADDRESS" and told is UNKNOWN:
                return outer
            if place.key and place.key.casefold() not in _CONTAINERS:
                both = meaning(f"{place.key} {key}")
                if both.tells and (
                    told is not HARMLESS or set(words(key)) <= {"first", "last", "middle", "given", "family", "number"}
                ):
                    return both
        return told

    def _number(self, value: int | float, place: Place) -> Node | None:
        forced = self._rules.detector(place.key, place.steps) if self._ruled else ""
        if (
            not forced
            and not self._thorough
            and (isinstance(value, float) or place.meaning is HARMLESS or not 999 < abs(value) < 10**19)
        ):
            return None
        return self._unit(_number_text(value), place, forced=forced, number=True)

    def _unit(self, text: str, place: Place, *, forced: str = "", prose: bool = False, number: bool = False) -> Unit:
        unit = Unit(
            text,
            place.key,
            place.path,
            place.meaning,
            place.personal,
            place.record,
            prose=prose,
            number=number,
            forced=forced,
        )
        self.units.append(unit)
        return unit

    # --- text -----------------------------------------------------------------------------------------------------------

    def string(self, text: str, place: Place, depth: int = 0) -> Node | None:
        """Return the node of a string: a unit, or what it is made of. None where nothing in it can be personal."""
        forced = self._rules.detector(place.key, place.steps) if self._ruled else ""
        if forced:
            return self._unit(text, place, forced=forced) if text else None
        sure = place.meaning.sure
        size = len(text)
        if size < 2 or (
            not sure and not self._thorough and (size < 6 or 15 < size < 37) and _IDENTIFIER.fullmatch(text) is not None
        ):
            return None
        if size >= 8 and _composed(text):
            node = self._composite(text, place, depth)
            if node is not None:
                return node
        prose = (
            not sure
            and (text.count(" ") + text.count("%20") > 2 or "\n" in text)
            and (place.meaning is not HARMLESS or free_text(place.key))
        )
        if len(text) > _LONGEST:
            return self._pieces(text, 0, len(text), place)
        return self._unit(text, place, prose=prose)

    def _composite(self, text: str, place: Place, depth: int) -> Node | None:
        parts = list(self._documents(text, place, depth))
        if len(parts) == 1 and not text[: parts[0][0]].strip() and not text[parts[0][1] :].strip():
            return Spliced(text, parts)
        if parts or "\n" in text or markup.MARKED_UP.search(text) or sql.INSERT.search(text):
            return self._mixed(text, parts, place)
        return self._blob(text, place)

    def _documents(self, text: str, place: Place, depth: int) -> Iterator[tuple[int, int, Node]]:
        """JSON documents in a text: the whole of it, one in each line, or between words."""
        position = failures = 0
        while failures < _ATTEMPTS:
            opening = _OPENING.search(text, position)
            if opening is None:
                return
            try:
                value, end = _DECODER.raw_decode(text, opening.start())
            except (ValueError, RecursionError):
                failures += 1
                position = opening.start() + 1
                continue
            if (
                isinstance(value, Pairs)
                or any(isinstance(item, Pairs | list) for item in value)
                or (opening.start() == 0 and value)
            ):
                yield (
                    opening.start(),
                    end,
                    Spliced(text[opening.start() : end], self._scalars(text[opening.start() : end], value, place, depth)),
                )
            position = end

    def _scalars(self, source: str, value: Any, place: Place, depth: int) -> list[tuple[int, int, Node]]:
        inner = Place("" if place.meaning is BARE else place.key, place.meaning, f"{place.path}:", (), place.personal)
        spans = (m.span() for m in _SCALAR.finditer(source) if m[1] is None)
        nodes = self.json(value, inner, depth + 1)
        return [(start, end, Quoted(node)) for (start, end), (_, node) in zip(spans, nodes, strict=True) if node is not None]

    def _mixed(self, text: str, documents: list[tuple[int, int, Node]], place: Place) -> Node:
        """A text of documents, tables and prose, one after the other."""
        parts: list[tuple[int, int, Node]] = []
        position = 0
        for start, end, node in [*documents, (len(text), len(text), None)]:
            if position < start:
                parts.extend(self._gap(text, position, start, place))
            if node is not None:
                parts.append((start, end, node))
            position = end
        return Spliced(text, parts)

    def _gap(self, text: str, start: int, end: int, place: Place) -> Iterator[tuple[int, int, Node]]:
        if markup.MARKED_UP.search(text, start, end):
            yield from self._markup(text, start, end, place)
            return
        position = start
        for table in sorted([*tables.tables(text[start:end]), *sql.inserts(text[start:end])], key=lambda table: table.start):
            if start + table.start < position:
                continue
            yield from self._prose(text, position, start + table.start, place)
            yield from self._table(text, start, table, place)
            position = start + table.end
        yield from self._prose(text, position, end, place)

    def _table(self, text: str, offset: int, table: tables.Table, place: Place) -> Iterator[tuple[int, int, Node]]:
        meanings = [meaning(name) if name else BARE for name in (*table.header, "")]
        personal = any(told.sure and told.entity in PERSONAL for told in meanings)
        columns = [
            Place(name, told, f"{place.path}:[*].{safe_key(name)}", (), personal)
            for name, told in zip((*table.header, ""), meanings, strict=True)
        ]
        last = len(table.header)  # under no head: the cells that a row has beyond them
        for index, row in enumerate(table.rows):
            record = self._record()
            for column, cell in enumerate(row):
                if cell.end <= cell.start:
                    continue
                here = columns[min(column, last)]
                here.record = record
                if self._ruled:
                    here.steps = (f"[{index}]", here.key)
                start, end = offset + cell.start, offset + cell.end
                if cell.quoted:
                    node = self.string(text[start + 1 : end - 1].replace('""', '"'), here, 1)
                    wrapped: Node | None = None if node is None else CsvQuoted(node)
                else:
                    wrapped = self.string(text[start:end], here, 1)
                if wrapped is not None:
                    yield start, end, wrapped

    def _markup(self, text: str, offset: int, end: int, place: Place) -> Iterator[tuple[int, int, Node]]:
        found = list(markup.stretches(text[offset:end]))
        meanings = {stretch.key: meaning(stretch.key) if stretch.key else BARE for stretch in found}
        personal = any(told.sure and told.entity in PERSONAL for told in meanings.values())
        record = self._record()
        for stretch in found:
            start, stop = offset + stretch.start, offset + stretch.end
            while text[start].isspace():
                start += 1
            while text[stop - 1].isspace():
                stop -= 1
            path = f"{place.path}:{safe_key(stretch.key)}" if stretch.key else place.path
            here = Place(stretch.key or place.key, meanings[stretch.key], path, (stretch.key,), personal, record)
            if markup.MARKED_UP.search(text, start, stop):  # tags inside a line, which hold nothing together
                yield start, stop, Escaped(self._pieces(text, start, stop, here))
                continue
            node = self.string(text[start:stop], here, 1)
            if node is not None:
                yield start, stop, Escaped(node)

    def _prose(self, text: str, start: int, end: int, place: Place) -> Iterator[tuple[int, int, Node]]:
        position = start
        for gap in _PARAGRAPH.finditer(text, start, end):
            if gap.start() - position > 600:
                yield from self._stretch(text, position, gap.start(), place)
                position = gap.end()
        yield from self._stretch(text, position, end, place)

    def _stretch(self, text: str, start: int, end: int, place: Place) -> Iterator[tuple[int, int, Node]]:
        if len(text[start:end].strip()) < 2:
            return
        blob = self._blob(text[start:end], place)
        if blob is not None:
            yield start, end, blob
        elif end - start > _LONGEST:
            yield start, end, self._pieces(text, start, end, place)
        else:
            yield start, end, self._unit(text[start:end], place, prose=True)

    def _pieces(self, text: str, start: int, end: int, place: Place) -> Node:
        """Cut a long text at a line's or word's end, so that its pieces can be judged one by one."""
        parts: list[tuple[int, int, Node]] = []
        position = start
        while position < end:
            stop = min(position + _LONGEST, end)
            if stop < end:
                cut = max(text.rfind("\n", position + _LONGEST // 2, stop), text.rfind(". ", position + _LONGEST // 2, stop))
                cut = cut if cut > 0 else text.rfind(" ", position + _LONGEST // 2, stop)
                stop = cut + 1 if cut > 0 else stop
            parts.append((position - start, stop - start, self._unit(text[position:stop], place, prose=True)))
            position = stop
        return Spliced(text[start:end], parts)

    # --- encodings -------------------------------------------------------------------------------------------------------

    def _blob(self, text: str, place: Place) -> Node | None:
        """Encoded stretches that decode to text: the whole of each is masked if anything in it is."""
        if self._blobs >= _BLOB_DEPTH or len(text) > _BLOB_LIMIT:
            return None
        inside = Place(place.key if place.meaning is BARE else "", BARE, f"{place.path}:", (), False)
        parts: list[tuple[int, int, Node]] = []
        self._blobs += 1
        for match in _ENCODED.finditer(text):
            plain = _hex(match.group()) or _base64(match.group())
            inner = None if plain is None else self.string(plain, inside, self._blobs)
            if inner is not None:
                parts.append((*match.span(), Blob(inner, "<ENCODED>")))
        self._blobs -= 1
        if not parts:
            return None
        return parts[0][2] if parts[0][:2] == (0, len(text)) else self._mixed(text, parts, place)


_CONTAINERS = listed("""
    data result results row rows record records item items list entry entries payload body response content value
    values
""")


def _composed(text: str) -> bool:
    """Tell whether a text may be made of others: it has JSON, lines, tags, SQL or an encoding in it."""
    if "\n" in text or "{" in text or "[" in text or "</" in text:
        return True
    return _UNBROKEN.search(text) is not None or ("(" in text and "values" in text.casefold())


def _hex(candidate: str) -> str | None:
    if _HEX.fullmatch(candidate) is None:
        return None
    return _legible(bytes.fromhex(candidate))


def _base64(candidate: str) -> str | None:
    stripped = candidate.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return _legible(base64.b64decode(stripped + "=" * (-len(stripped) % 4)))
    except (binascii.Error, ValueError):
        return None


_BREAKS = dict.fromkeys(map(ord, "\t\r\n"))


def _legible(data: bytes) -> str | None:
    """Return the text that the bytes are, or None for binary data."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if len(text) > 7 and text.translate(_BREAKS).isprintable() else None


def _number_text(value: int | float) -> str:
    return str(value) if isinstance(value, int) else json.dumps(value)


_PLAIN_KEY = re.compile(r"[^\W\d][\w $/#-]{0,63}")
_LONG_NUMBER = re.compile(r"\d{5}|@")


@lru_cache(maxsize=16384)
def safe_key(key: str) -> str:
    """Return the key as a manifest may hold it: one that could itself be personal data is written `*`."""
    return key if _PLAIN_KEY.fullmatch(key) and not _LONG_NUMBER.search(key) and len(key.split()) < 5 else "*"


def _is_header(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) > 1
        and all(isinstance(name, str) and meaning(name).entity not in ("?", "*") for name in row[:1])
        and all(isinstance(name, str) and _PLAIN_KEY.fullmatch(name) for name in row)
    )


def _is_rows(value: Any, width: int) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, list) and len(row) == width for row in value)


def _positional_header(pairs: list[tuple[str, Any]]) -> tuple[str, ...]:
    """Return the names of `{"columns": ["ssn", …], "rows": [["123…", …], …]}`, or nothing."""
    for _, names in pairs:
        if not isinstance(names, list) or not names:
            continue
        header = tuple(_column_name(name) for name in names)
        if all(header) and any(_is_rows(value, len(header)) for _, value in pairs if value is not names):
            return header
    return ()


def _column_name(name: Any) -> str:
    if isinstance(name, str):
        return name if _PLAIN_KEY.fullmatch(name) else ""
    if isinstance(name, dict):
        name = Pairs(list(name.items()))
    if isinstance(name, Pairs):
        for key, value in name.pairs:
            if key.casefold() in _NAMING and isinstance(value, str):
                return value
    return ""


def _named_value(pairs: list[tuple[str, Any]]) -> dict[str, str]:
    """Return, for `{"field": "ssn", "value": "123…"}`, that `value` is to be read as `ssn`."""
    if len(pairs) > 8:
        return {}
    names = [value for key, value in pairs if key.casefold() in _NAMING and _may_name(value)]
    kinds = [value for key, value in pairs if key.casefold() in _KINDS and _may_name(value)]
    told = [name for name in (*names, *kinds) if meaning(name).tells] or names
    if not told:
        return {}
    return {key: told[0] for key, _ in pairs if key.casefold() in _VALUED and told[0] not in ("", key)}


def _may_name(value: Any) -> bool:
    """Tell whether a value can name another. What masking wrote names what it stands for itself, and nothing beside it."""
    return isinstance(value, str) and len(value) <= 60 and PLACEHOLDER.search(value) is None
