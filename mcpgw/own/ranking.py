"""Which definitions a query means: BM25 over what they say of themselves, the same for everybody who may see the same.

After Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009). What counts how rare a word is are
the definitions that the asker may see, so that no rank tells of others.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_K1: Final = 1.2
"""How soon further occurrences of a word stop to count."""
_B: Final = 0.75
"""How much long texts are held against them."""
_NAME: Final = 3
_TITLE: Final = 2
"""Times that a word there counts; in a description and in arguments once."""
_PREFIX: Final = 0.5
"""What a word counts that only begins like one of the query, or the other way round."""
_SHORTEST_PREFIX: Final = 4
_LONGEST: Final = 4_000
"""Characters of a description that are read."""
_MOST_ARGUMENTS: Final = 100
_WORD = re.compile(r"[^\W_]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Document:
    """A definition as it is searched."""

    name: str
    """Orders what ranks alike, and is a hit by itself."""
    counts: Mapping[str, int]
    length: int

    @classmethod
    def of(cls, name: str, definition: Mapping[str, Any]) -> "Document":
        """Read a tool's definition under its published name."""
        counts: Counter[str] = Counter()
        for text, weight in ((name, _NAME), (definition.get("title"), _TITLE), (definition.get("description"), 1)):
            for word in words(text if isinstance(text, str) else ""):
                counts[word] += weight
        counts.update(word for text in _arguments(definition.get("inputSchema")) for word in words(text))
        return cls(name, counts, counts.total())


def words(text: str) -> Iterator[str]:
    """Yield the words of a text as they are compared: `listAccounts` and `list_accounts` are `list` and `account`."""
    plain = unicodedata.normalize("NFKC", text[:_LONGEST])
    for part in _WORD.findall(_HUMP.sub(" ", plain)):
        yield _singular(part.casefold())


def ranked(query: str, documents: Sequence[Document]) -> list[str]:
    """Return the names of the documents that have a word of the query, the best first, and by name where they rank alike."""
    if not documents:
        return []
    having: Counter[str] = Counter()
    for document in documents:
        having.update(document.counts.keys())
    meant = [_meant(term, having) for term in sorted(set(words(query)))]
    average = sum(document.length for document in documents) / len(documents) or 1.0
    asked = query.strip().casefold()
    scores = [
        (document.name.casefold() != asked, -_score(document, meant, having, len(documents), average), document.name)
        for document in documents
    ]
    return [name for _, score, name in sorted(scores) if score]


def _score(
    document: Document, meant: Sequence[Mapping[str, float]], having: Mapping[str, int], total: int, average: float
) -> float:
    """Add up over the query's words, each by the word of the document that is worth most for it."""
    return math.fsum(
        max((weight * _worth(document, word, having[word], total, average) for word, weight in known.items()), default=0.0)
        for known in meant
    )


def _worth(document: Document, word: str, having: int, total: int, average: float) -> float:
    count = document.counts.get(word, 0)
    if not count:
        return 0.0
    rarity = math.log(1 + (total - having + 0.5) / (having + 0.5))
    return rarity * count * (_K1 + 1) / (count + _K1 * (1 - _B + _B * document.length / average))


def _meant(term: str, known: Iterable[str]) -> dict[str, float]:
    """Return the words that the term stands for, and what each counts."""
    return {
        word: 1.0 if word == term else _PREFIX
        for word in known
        if word == term or (min(len(word), len(term)) >= _SHORTEST_PREFIX and (word.startswith(term) or term.startswith(word)))
    }


def _singular(word: str) -> str:
    """Fold English plurals, roughly: who asks for accounts means the tool that gets an account."""
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _arguments(schema: object) -> Iterator[str]:
    """Yield the names of a tool's arguments and what is said of them."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    for name, about in [*properties.items()][:_MOST_ARGUMENTS] if isinstance(properties, Mapping) else ():
        yield str(name)
        if isinstance(about, Mapping) and isinstance(about.get("description"), str):
            yield about["description"]
