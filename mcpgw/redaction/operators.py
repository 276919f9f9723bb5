"""What is written in the place of a value."""

import hashlib
import html
import json
import re
from collections.abc import Mapping

from mcpgw.core.errors import RedactionError
from mcpgw.core.model import Json
from mcpgw.redaction.config import Operator, Profile
from mcpgw.redaction.disguise import view
from mcpgw.redaction.findings import Finding, resolve
from mcpgw.redaction.nodes import Unit
from mcpgw.redaction.reader import Reader
from mcpgw.redaction.tokens import TOKEN, pseudonym

KNOWN_DETECTOR = "token@1"
"""Finds, in a reply, what the call was given in the place of a token."""
_ALNUM = re.compile(r"[^\W_]")
_SAME_DIGITS = 6
"""A field of at least so many digits is a known number however it is grouped."""


class Writer:
    """Writes what a reader sees in the place of findings."""

    __slots__ = ("_key", "_known", "_numbers", "_operators", "_pattern", "_profile", "_reader", "dropped", "issued")

    def __init__(self, profile: Profile, operators: Mapping[str, Operator], key: bytes, reader: Reader) -> None:
        self._profile = profile
        self._operators = operators
        """By detector: rules that have an operator of their own."""
        self._key = key
        self._reader = reader
        self._known = {_folded(view(str(value)).text): token for token, value in reader.known.items() if len(str(value)) > 1}
        self._numbers = {_digits(value): token for value, token in self._known.items() if len(_digits(value)) >= _SAME_DIGITS}
        self._pattern = _any_of(self._known)
        self.issued: dict[str, Json] = {}
        """Every token that it wrote, with its value."""
        self.dropped = False
        """Whether it wrote nothing in the place of something."""

    def write(self, unit: Unit) -> list[Finding]:
        """Replace what was found in a unit and return what was done; a kept finding's detector begins with `keep:`."""
        if self._known:
            unit.findings = resolve([*unit.findings, *self._recalled(unit)])
        out: list[str] = []
        done: list[Finding] = []
        position = 0
        for finding in unit.findings:
            start, end = unit.plain.back(finding.start, finding.end)
            value = unit.text[start:end]
            operator = self.operator(finding)
            if operator is Operator.KEEP:
                done.append(finding._replace(detector=f"keep:{finding.detector}"))
                continue
            known = self._token_of(unit.plain.text[finding.start : finding.end])
            new = known or self._replacement(operator, finding.entity, value, number=unit.number and value == unit.text)
            out += (unit.text[position:start], new)
            position = end
            done.append(finding)
        if position:
            unit.masked = "".join((*out, unit.text[position:]))
        return done

    def operator(self, finding: Finding) -> Operator:
        """Return what happens to a finding. What came from a token is never kept, whoever reads."""
        operator = self._operators.get(finding.detector) or self._profile.operator(finding.entity)
        if finding.detector == KNOWN_DETECTOR:
            return Operator.MASK if operator is Operator.KEEP else operator
        return operator

    def replacement(self, finding: Finding, value: str) -> str | None:
        """Return what stands for a value that is no unit of its own, or None where it stays."""
        operator = self.operator(finding)
        return None if operator is Operator.KEEP else self._replacement(operator, finding.entity, value, number=False)

    def _replacement(self, operator: Operator, entity: str, value: str, *, number: bool) -> str:
        match operator:
            case Operator.DROP:
                self.dropped = True
                return ""
            case Operator.PARTIAL:
                kept = _tail(value)
                return f"<{entity}:{kept}>" if kept else f"<{entity}>"
            case Operator.HASH:
                if not self._key:
                    raise RedactionError("the hash operator has no key", hint="`mcpgw init` makes keys/redaction.key.")
                return f"<{entity}:{_hashed(self._key, entity, value)}>"
            case Operator.TOKEN if self._reader.scope:
                return self._token(entity, json.loads(value) if number else html.unescape(value).strip())
            case _:
                return f"<{entity}>"

    def _token(self, entity: str, value: Json) -> str:
        token = pseudonym(self._key, self._reader.scope, entity, value)
        self.issued[token] = value
        return token

    def _recalled(self, unit: Unit) -> list[Finding]:
        """Find what the call was given in the place of tokens."""
        text = unit.plain.text
        found = [_known(match.start(), match.end(), self._token_of(match.group())) for match in self._pattern.finditer(text)]
        token = "" if found else self._token_of(text)
        return [_known(0, len(text), token)] if token else found

    def _token_of(self, text: str) -> str:
        """Return the token that a whole text was restored from, or the empty string."""
        if not self._known:
            return ""
        numeric = not any(map(str.isalpha, text))
        return self._known.get(_folded(text), "") or (self._numbers.get(_digits(text), "") if numeric else "")


def _known(start: int, end: int, token: str) -> Finding:
    match = TOKEN.fullmatch(token)
    return Finding(start, end, match["entity"] if match else "MASKED", KNOWN_DETECTOR, 3.0)


def _any_of(values: Mapping[str, str]) -> re.Pattern[str]:
    """Return a pattern for whole words that are one of the values, the longest first."""
    longest = sorted(values, key=len, reverse=True)
    either = "|".join(re.escape(value).replace(r"\ ", r"\s+") for value in longest)
    return re.compile(rf"(?<!\w)(?:{either})(?!\w)", re.IGNORECASE)


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _hashed(key: bytes, entity: str, value: str) -> str:
    text = f"{entity}\0{''.join(_ALNUM.findall(value)).casefold()}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, key=key, digest_size=8).hexdigest()


def _tail(value: str) -> str:
    """The last four ASCII letters and digits, but never more than a quarter of them."""
    signs = [char for char in value if char.isascii() and char.isalnum()]
    keep = min(4, len(signs) // 4)
    return "".join(signs[len(signs) - keep :])
