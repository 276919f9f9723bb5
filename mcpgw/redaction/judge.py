"""Decide every unit: rules first, then keys, patterns and context, then names; at last, one decision per value everywhere."""

import itertools
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Protocol, TypeVar

from mcpgw.redaction import columns, names, patterns
from mcpgw.redaction.disguise import View
from mcpgw.redaction.findings import PLACEHOLDER, Finding, masked, resolve
from mcpgw.redaction.linear import Linear
from mcpgw.redaction.lists import listed
from mcpgw.redaction.memory import ENTRIES, remember
from mcpgw.redaction.nodes import Unit
from mcpgw.redaction.recognizers import Recognizers
from mcpgw.redaction.vocabulary import BARE, HARMLESS, Meaning, covers, meaning

_K = TypeVar("_K")
_V = TypeVar("_V")
NO_RECOGNIZERS = Recognizers()
KEY_DETECTOR = "key@1"
SAME_DETECTOR = "same-value@1"


class Namer(Protocol):
    """Names of people, as far as a language model can tell."""

    @property
    def reads(self) -> bool:
        """Whether there is a model at all: without one, nobody has to look for what it should read."""
        ...

    def people(self, texts: Sequence[str], keys: Sequence[str]) -> list[list[Finding]]:
        """Return the findings in each prose text, which stands under the key of the same index."""
        ...

    def votes(self, values: Sequence[str]) -> list[int]:
        """Return for each whole value how much speaks for a person's name, on the scale of `POSSIBLE` to `CERTAIN`."""
        ...


class NoModel:
    """Patterns alone."""

    reads = False

    def people(self, texts: Sequence[str], keys: Sequence[str]) -> list[list[Finding]]:
        return [[] for _ in texts]

    def votes(self, values: Sequence[str]) -> list[int]:
        return [0 for _ in values]


POSSIBLE, LIKELY, PROBABLE, CERTAIN = 2, 3, 4, 5
"""How much must speak for a name: one look of the model, a rare word, two looks, a rare word and a look."""

PERSONAL = frozenset(
    {
        "PERSON",
        "US_SSN",
        "US_ITIN",
        "DATE_OF_BIRTH",
        "EMAIL",
        "PHONE",
        "ADDRESS",
        "PASSPORT",
        "DRIVER_LICENSE",
        "NATIONAL_ID",
        "CREDIT_CARD",
        "BANK_ACCOUNT",
        "IBAN",
    }
)
"""Entities whose presence in a record makes an undecided name in it a person's."""

_NOTHING = listed("""
    n/a na none null nil unknown - -- --- ? yes no true false y n not available not provided not applicable tbd
    redacted masked hidden withheld pending empty undefined
""") | {"not available", "not provided", "not applicable", "on file", "not on file", "not set"}
_LETTER = re.compile(r"[^\W\d_]")
_DATE = re.compile(r"\d.*\d")
_CACHED_LENGTH = 200
"""Characters of a text that is worth remembering; longer ones rarely come twice."""


class Judge:
    """Decides units. Remembers decisions on up to `memory` short texts, which depend on nothing but text, key and record."""

    def __init__(self, namer: Namer, recognizers: Recognizers = NO_RECOGNIZERS, memory: int = ENTRIES) -> None:
        self._namer = namer
        self._memory = memory
        self._recognizers = recognizers
        self._cells: OrderedDict[tuple[str, str, bool, bool], tuple[tuple[Finding, ...], bool]] = OrderedDict()
        self._prose: OrderedDict[tuple[str, str], tuple[Finding, ...]] = OrderedDict()
        self._judged: dict[str, list[Finding]] = {}
        """What patterns and cues find in the prose of one payload, which is read several times."""

    def decide(self, units: Sequence[Unit]) -> None:
        """Set the findings of every unit, resolved."""
        try:
            self._decide(units)
        finally:
            self._judged.clear()

    def _decide(self, units: Sequence[Unit]) -> None:
        asked: list[Unit] = []
        prose: list[Unit] = []
        for unit in units:
            if unit.forced:
                unit.findings = [Finding(0, len(unit.plain.text), _rule_entity(unit), unit.forced, 2.0)]
            elif unit.prose:
                prose.append(unit)
            elif self._cell(unit):
                asked.append(unit)
        if asked and self._namer.reads:
            self._ask(asked, units)
        self._read(prose)
        if self._recognizers:
            for unit in units:
                if not unit.forced:
                    unit.findings = self._recognized(unit.findings, unit.plain.text, unit.key)
        columns.decide(units)
        _settle(units)
        self._read_again(units)

    def _recognized(self, findings: Iterable[Finding], text: str, key: str) -> list[Finding]:
        """Add what the recognizers of packs and settings find, and drop what packs that are off would have found."""
        return [*self._recognizers.heard(findings), *self._recognizers.find(text, key)]

    def _cell(self, unit: Unit) -> bool:
        """Judge a value of a field; return whether it remains to ask if it is a name."""
        text, told = unit.text, unit.meaning
        if told.sure:
            found, ask = _judge_cell(unit, unit.plain.text)
        else:
            key = (text, told.entity, unit.personal, unit.number)
            known = self._cells.get(key)
            if known is None:
                known = _judge_cell(unit, unit.plain.text)
                self._remember(self._cells, key, known, text)
            found, ask = known
        unit.findings = list(found)
        return ask

    def _ask(self, asked: Sequence[Unit], units: Sequence[Unit]) -> None:
        """Decide the values that look like names under keys that don't say: by the model, the record and the column."""
        personal = {unit.record for unit in units if any(finding.entity in PERSONAL for finding in unit.findings)}
        asked = [unit for unit in asked if unit.record in personal or names.person_shaped(unit.plain.text.strip())]
        votes = self._namer.votes([unit.plain.text.strip() for unit in asked])
        asked_in: dict[str, list[tuple[Unit, bool]]] = {}
        for unit, given in zip(asked, votes, strict=True):
            needed = LIKELY if unit.record in personal else PROBABLE
            asked_in.setdefault(columns.name_of(unit.path), []).append((unit, given >= needed))
        for column in asked_in.values():
            most = sum(person for _, person in column) * 2 > len(column) > 2
            for unit, person in column:
                if person or most:
                    detector = "ner-value@1" if person else "ner-column@1"
                    unit.findings.append(Finding(0, len(unit.plain.text), "PERSON", detector, 0.7))

    def _read(self, units: Sequence[Unit]) -> None:
        """Judge prose: by patterns and cues, and by the model where it may hold a name."""
        for unit in units:
            unit.findings = list(self._by_cue(unit.plain.text))
        if self._namer.reads:
            views = [masked(unit.plain.text) for unit in units]
            for unit, view, found in zip(units, views, self._people(views, [unit.key for unit in units]), strict=True):
                unit.findings.extend(finding.within(view) for finding in found)

    def _read_again(self, units: Sequence[Unit]) -> None:
        """Read what masking makes of a text until nothing more is found in it, so that a second redaction finds nothing.

        Masking sets apart what stood together: a number that ran into another one stands beside `<US_SSN>` then. And a model
        sees another sentence once a name in it has become `<PERSON>`, and may see somebody there whom it overlooked.
        """
        changed = units
        for _ in range(_READINGS):
            views = [(unit, unit.redacted()) for unit in changed if _partly_found(unit)]
            again = [view if unit.prose and next(names.pairs(view.text), None) else _NO_VIEW for unit, view in views]
            before = [unit.findings[:] for unit in units]
            people_in = self._people(again, [unit.key for unit, _ in views]) if self._namer.reads else itertools.repeat(())
            for (unit, view), people in zip(views, people_in, strict=False):
                found = resolve([*self._by_rule(unit, view.text), *people])
                unit.findings.extend(finding.within(view) for finding in _outside_placeholders(view.text, found))
            if before == [unit.findings for unit in units]:
                return
            _settle(units)
            changed = [unit for unit, found in zip(units, before, strict=True) if unit.findings != found]

    def _by_rule(self, unit: Unit, text: str) -> list[Finding]:
        """Return what patterns, keys, cues and recognizers find in another text of a unit."""
        found = self._by_cue(text) if unit.prose else _judge_cell(unit, text)[0]
        return self._recognized(found, text, unit.key) if self._recognizers else list(found)

    def _by_cue(self, text: str) -> Sequence[Finding]:
        found = self._judged.get(text)
        if found is None:
            found = self._judged[text] = judge_prose(text)
        return found

    def _people(self, views: Sequence[View], keys: Sequence[str]) -> list[list[Finding]]:
        """Return whom the model finds in each text, where patterns and cues leave a possible name."""
        pieces = [
            (index, start, (piece, keys[index]))
            for index, view in enumerate(views)
            for start, piece in _readable(view.text, self._by_cue(view.text))
        ]
        fresh = [piece for piece in dict.fromkeys(piece for _, _, piece in pieces) if piece not in self._prose]
        found_in = self._namer.people([text for text, _ in fresh], [key for _, key in fresh])
        read = dict(zip(fresh, map(tuple, found_in), strict=True))
        people: list[list[Finding]] = [[] for _ in views]
        for index, start, piece in pieces:
            found = read[piece] if piece in read else self._prose[piece]
            people[index].extend(finding.shifted(start) for finding in found)
        for piece, found in read.items():
            self._remember(self._prose, piece, found, piece[0])
        return people

    def _remember(self, memory: OrderedDict[_K, _V], key: _K, value: _V, text: str) -> None:
        if self._memory and len(text) <= _CACHED_LENGTH:
            remember(memory, key, value, self._memory)


_READINGS = 8
"""How often prose is read at most. Nearly all is read once, and again where a possible name stands beside a found one."""
_SENTENCE = re.compile(r"\n|(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\b[A-Z])[.!?][\"')]?[ \t]+(?=[A-Z\"'(])")


_NO_VIEW = View("", (), ())


def _partly_found(unit: Unit) -> bool:
    """Tell whether something was found in a unit, and something else stands beside it."""
    found = unit.findings
    return bool(found) and not (len(found) == 1 and found[0].end - found[0].start == len(unit.plain.text))


def _readable(text: str, found: Sequence[Finding]) -> Iterator[tuple[int, str]]:
    """Yield the sentences and lines that hold a possible name which nothing has explained yet: the model is the slow part."""
    known = sorted((finding.start, finding.end) for finding in found)
    start = 0
    for stop in [*(match.end() for match in _SENTENCE.finditer(text)), len(text)]:
        sentence = text[start:stop]
        if any(not any(a < start + right and start + left < b for a, b in known) for left, right in names.pairs(sentence)):
            yield start, sentence
        start = stop


def _rule_entity(unit: Unit) -> str:
    return unit.meaning.entity if unit.meaning.tells else "MASKED"


# --- values of fields ----------------------------------------------------------------------------------------------------


def _judge_cell(unit: Unit, text: str) -> tuple[tuple[Finding, ...], bool]:
    """Return what is found in a plain text of a unit, and whether it remains to ask if it is a name."""
    told = unit.meaning
    stripped = text.strip()
    if not stripped or stripped.casefold() in _NOTHING or (stripped[0] == "<" and PLACEHOLDER.fullmatch(stripped)):
        return (), False
    if told.tells and _fits(told, stripped, unit):
        return (Finding(0, len(text), told.entity, KEY_DETECTOR, 1.5),), False
    if unit.number:
        return tuple(patterns.scan(text)), False
    found = (*_pairs_in(text), *patterns.scan(text, bare=told is BARE), *(names.cued(text) if " " in stripped else ()))
    if found:
        return found, False
    ask = names.person_shaped(stripped, strict=False) and not names.company(stripped) and not covers(stripped)
    if told.entity == "PERSON" and ask and unit.personal:
        return (Finding(0, len(text), "PERSON", KEY_DETECTOR, 0.9),), False
    return (), ask and told is not HARMLESS


def _fits(told: Meaning, text: str, unit: Unit) -> bool:
    """Tell whether a value can be what its key says. A key that is sure needs little; one that may be needs proof."""
    sure = told.sure
    digits = sum(map(str.isdigit, text))
    match told.entity:
        case "PERSON":
            if not sure:
                return unit.personal and not unit.number and names.person_shaped(text, strict=False) and not names.company(text)
            return not unit.number and names.name_possible(text) and not names.company(text)
        case "EMAIL":
            return "@" in text
        case "ADDRESS":
            return (
                not unit.number and _LETTER.search(text) is not None and (digits > 0 or " " in text or len(text) > 3)
            ) or digits == len(text) > 4
        case "DATE_OF_BIRTH":
            return digits >= 4 and _DATE.search(text) is not None and len(text) <= 40
        case "SECRET":
            return len(text) >= 4 and (sure or (len(text) >= 16 and " " not in text and patterns.entropy(text) > 3.0))
        case "SWIFT":
            return text.isalnum() and text.isupper() and len(text) in (8, 11)
        case "IP_ADDRESS":
            return digits >= 4 and ("." in text or ":" in text)
        case "BANK_ACCOUNT":
            low = 3 if sure else 6
            return digits >= low and digits * 2 >= len(text.replace(" ", "")) and len(text) <= 40
        case "PHONE":
            return digits >= 7 and len(text) <= 40
        case "CREDIT_CARD":
            return digits >= 4 and digits * 2 >= len(text) and not (_last_four(unit.key) and digits == 4)
        case "PASSPORT" | "DRIVER_LICENSE" | "NATIONAL_ID":
            return digits >= 3 and len(text) <= 30
        case "IBAN":
            return digits >= 5 and len(text) <= 50
        case _:
            return digits >= 2 and digits * 2 >= len(text.replace(" ", "")) and len(text) <= 40


def _last_four(key: str) -> bool:
    """Tell whether a key says that it holds the last four digits, which a card's holder is shown everywhere (PCI DSS 3.4)."""
    return re.search(r"last.?(?:4|four)", key, re.IGNORECASE) is not None


# --- prose ---------------------------------------------------------------------------------------------------------------

_FIELD = Linear(
    r"[\"']?\b(?P<key>[A-Za-z][A-Za-z0-9_.-]*)[\"']?[ \t]*(?:=|:|=>)[ \t]*(?P<value>\"[^\"\n]*\""
    r"|'[^'\n]*'|[^\s,;&|\"'<>()\[\]{}]+)",
)
"""`key=value`, `key: "value"`, `'key': 'value'`, `?key=value&…`."""
_LONG_FIELD = Linear(r"\b(?P<key>[A-Za-z][A-Za-z0-9_.-]*)[ \t]*[=:][ \t]*(?P<value>[^;&|\n\"'<>={}()\[\]]+)(?P<after>=?)")
"""As `_FIELD`, for values of several words that end at a delimiter."""
_LABELLED = Linear(r"(?m)^[ \t>*•-]*(?P<key>[A-Za-z][A-Za-z0-9 ./#'()_-]*?)\*{0,2}[ \t]*:\*{0,2}[ \t]+(?P<value>[^\n]+)$")
"""`Date of Birth: …`, a line of a form."""
_HEADERS = frozenset({"from", "to", "cc", "bcc", "sender", "reply-to", "delivered-to", "attn"})
_WORDY = frozenset({"PERSON", "ADDRESS"})


def judge_prose(text: str) -> list[Finding]:
    """Return what patterns, labels and cues find in a plain text, without a model."""
    found = list(_pairs_in(text))
    found.extend(patterns.scan(text))
    found.extend(_labels(text))
    found.extend(names.cued(text))
    found.extend(names.speakers(text))
    return found


def _pairs_in(text: str) -> Iterable[Finding]:
    """Yield what the keys of `key=value` pairs in a text tell of their values."""
    if "=" not in text and ":" not in text:
        return
    for begin, stop in _FIELD.spans(text):
        piece = text[begin:stop]
        groups = _FIELD.groups(piece)
        key = piece[slice(*groups["key"])]
        told = meaning(key)
        start = begin + groups["value"][0]
        if not told.tells or (told.entity in _WORDY and text[start] not in "\"'"):
            continue
        yield from _field(text, start, begin + groups["value"][1], key, told)
    for begin, stop in _LONG_FIELD.spans(text):
        piece = text[begin:stop]
        key = piece[: piece.find("=") if "=" in piece[:60] else piece.find(":")].strip()
        told = meaning(key)
        if told.entity in _WORDY:
            start, end = _LONG_FIELD.groups(piece)["value"]
            if piece[-1] == "=":
                end = max(start, piece.rfind(" ", start, end))
            yield from _field(text, begin + start, begin + end, key, told)


def _field(text: str, start: int, end: int, key: str, told: Meaning) -> Iterable[Finding]:
    if text[start] in "\"'" and end - start > 2:
        start, end = start + 1, end - 1
    while end > start and text[end - 1] in " \t\r.,":
        end -= 1
    value = text[start:end]
    if not value.strip() or value.casefold() in _NOTHING:
        return
    unit = Unit(value, key, "", told, personal=True)
    if told.entity == "PERSON" and told.sure and not names.person_shaped(value, strict=False) and " " in value:
        return
    if told.entity == "ADDRESS" and not any(map(str.isdigit, value)):
        return
    if _fits(told, value, unit):
        yield Finding(start, end, told.entity, KEY_DETECTOR, 1.2)


def _labels(text: str) -> Iterable[Finding]:
    """Yield people in the lines of a form or an e-mail's head."""
    if ":" not in text:
        return
    for begin, stop in _LABELLED.spans(text):
        groups = _LABELLED.groups(text[begin:stop])
        key = text[begin + groups["key"][0] : begin + groups["key"][1]].strip()
        start, end = begin + groups["value"][0], begin + groups["value"][1]
        told = meaning(key)
        if key.casefold() in _HEADERS:
            yield from _mailboxes(text, start, end)
        elif told.entity == "PERSON":
            value = text[start:end].strip()
            if names.person_shaped(value):
                yield Finding(start, start + len(value), "PERSON", KEY_DETECTOR, 1.0)
        elif told.entity == "ADDRESS" and any(map(str.isdigit, text[start:end])):
            yield Finding(start, end, "ADDRESS", KEY_DETECTOR, 1.0)


_MAILBOX = re.compile(r"[\"']?([^\W\d_][^<>,;\"'@\n]{1,60}?)[\"']?\s*<[^<>\s]+@")


def _mailboxes(text: str, start: int, end: int) -> Iterable[Finding]:
    for match in _MAILBOX.finditer(text, start, end):
        first, last = match.span(1)
        yield Finding(first, last, "PERSON", names.DETECTOR, 1.0)


# --- one decision per value ----------------------------------------------------------------------------------------------

_DIGIT = re.compile(r"\d")
_TOKEN = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


def _settle(units: Sequence[Unit]) -> None:
    """Give every unit the findings of the others that hold for it, without overlap."""
    _spread(units)
    for unit in units:
        if unit.findings:
            unit.findings = _outside_placeholders(unit.plain.text, resolve(unit.findings))


def _spread(units: Sequence[Unit]) -> None:
    """Mask everywhere in the payload what was found somewhere in it: a name, its parts, a number."""
    whole: dict[str, str] = {}
    people: set[str] = set()
    for unit in units:
        for finding in unit.findings:
            if finding.entity == "EMAIL":
                continue
            value = unit.plain.text[finding.start : finding.end].strip()
            if len(value) < 6 and unit.forced:
                continue
            if finding.entity == "PERSON":
                people.update(_name_words(value))
            if (len(value) >= 6 and _DIGIT.search(value)) or (finding.entity == "PERSON" and " " in value):
                whole[value.casefold()] = finding.entity
    if not whole and not people:
        return
    numbers = {value for value in whole if value[0].isdigit()}
    for unit in units:
        text = unit.plain.text
        if not unit.findings:
            entity = whole.get(text.casefold().strip())
            if entity is not None and (unit.meaning is not HARMLESS or not unit.number):
                unit.findings.append(Finding(0, len(text), entity, SAME_DETECTOR, 0.6))
                continue
        elif unit.findings[0].end - unit.findings[0].start == len(text):
            continue  # all of it is masked already
        if unit.prose or " " in text:
            unit.findings.extend(_repeats(text, whole, numbers, people))


def _name_words(name: str) -> Iterable[str]:
    for token in _TOKEN.findall(name):
        if len(token) > 2 and token[0].isupper() and not names.is_ordinary(token):
            yield token


def _repeats(text: str, whole: Mapping[str, str], numbers: Set[str], people: Set[str]) -> Iterable[Finding]:
    said = _TOKEN.findall(text)
    if people.isdisjoint(said) and (not numbers or numbers.isdisjoint(map(str.casefold, said))):
        return
    for token in _TOKEN.finditer(text):
        word = token.group()
        if word in people:
            yield Finding(*token.span(), "PERSON", SAME_DETECTOR, 0.55)
        elif len(word) >= 6 and word[0].isdigit():
            entity = whole.get(word.casefold())
            if entity is not None:
                yield Finding(*token.span(), entity, SAME_DETECTOR, 0.55)


def _outside_placeholders(text: str, findings: list[Finding]) -> list[Finding]:
    """Cut out of the findings what an earlier redaction wrote, so that redacting twice changes nothing."""
    if "<" not in text:
        return findings
    marks = [m.span() for m in PLACEHOLDER.finditer(text)]
    kept: list[Finding] = []
    for finding in findings:
        start = finding.start
        for left, right in marks:
            if right <= start or left >= finding.end:
                continue
            if left > start:
                kept.append(finding._replace(start=start, end=left))
            start = right
        if start < finding.end:
            kept.append(finding._replace(start=start))
    return [f for f in kept if any(char.isalnum() for char in text[f.start : f.end])]
