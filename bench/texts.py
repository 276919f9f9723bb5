"""What travels and what is redacted: made here, from a fixed seed, about people who do not exist."""

import gzip
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

SEED = 20260728
_GIVEN = (
    "Amara",
    "Benedikt",
    "Chiara",
    "Dmitri",
    "Eleanor",
    "Fatima",
    "Gustavo",
    "Harriet",
    "Ibrahim",
    "Kwame",
    "Lucia",
    "Noor",
)
_FAMILY = (
    "Abernathy",
    "Bianchi",
    "Castellanos",
    "Dubois",
    "Eriksen",
    "Fitzgerald",
    "Goldstein",
    "Haraldsen",
    "Iyer",
    "Kovalenko",
)
_STREETS = ("Maple", "Orchard", "Harbour", "Station", "Church", "Victoria", "Mill", "Chestnut")
_TOWNS = ("Springfield", "Ashford", "Milton", "Burlington", "Clayton", "Dover")
_MEMOS = (
    "Standing order for the rent of the flat above the bakery.",
    "Refund for order {number}, approved by the branch.",
    "{given} {family} called about the card that was blocked in {town}.",
    "Please send the statement to {email} before Friday.",
    "The transfer to {iban} was returned by the other bank.",
    "Limit raised after a conversation with {given} {family}.",
    "Cash withdrawal, machine {number}.",
)


class Maker:
    """Makes records and texts; the same seed makes the same ones."""

    def __init__(self, seed: int = SEED) -> None:
        self._random = random.Random(seed)

    def customer(self) -> dict[str, object]:
        pick = self._random.choice
        given, family = pick(_GIVEN), pick(_FAMILY)
        return {
            "id": self._digits(6),
            "name": f"{given} {family}",
            "email": f"{given}.{family}{self._digits(2)}@mail.example".lower(),
            "ssn": f"{self._random.randint(100, 599)}-{self._random.randint(10, 99)}-{self._random.randint(1000, 9999)}",
            "phone": f"(212) 555-01{self._digits(2)}",
            "address": f"{self._random.randint(1, 99)} {pick(_STREETS)} Street, {pick(_TOWNS)}",
            "balance": self._random.randint(0, 9_999_999) / 100,
            "status": pick(["active", "dormant", "closed"]),
            "opened": f"20{self._random.randint(10, 25)}-0{self._random.randint(1, 9)}-1{self._random.randint(0, 9)}",
            "memo": self.sentence(),
        }

    def sentence(self) -> str:
        pick = self._random.choice
        given, family = pick(_GIVEN), pick(_FAMILY)
        return pick(_MEMOS).format(
            given=given,
            family=family,
            town=pick(_TOWNS),
            number=self._digits(7),
            email=f"{given}.{family}@mail.example".lower(),
            iban=f"GB{self._digits(2)}MIDL{self._digits(14)}",
        )

    def _digits(self, count: int) -> str:
        return "".join(self._random.choices("0123456789", k=count))

    def echoes(self, count: int) -> list[str]:
        """Return texts of one tool call each, about 150 bytes, with a name, a number and an e-mail in most."""
        return [f"Ticket {self._digits(8)}. {self.sentence()} {self.sentence()}" for _ in range(count)]

    def json(self, size: int) -> str:
        """Return a JSON document of about so many bytes: what a tool answers that looked customers up."""
        rows: list[dict[str, object]] = []
        length = 0
        while length < size - 200:
            rows.append(self.customer())
            length += len(json.dumps(rows[-1])) + 2
        return json.dumps({"rows": rows, "count": len(rows)})

    def table(self, size: int) -> str:
        """Return the same as a table with pipes."""
        lines: list[str] = []
        length = 0
        while length < size:
            customer = self.customer()
            if not lines:
                lines.append("| " + " | ".join(customer) + " |")
            lines.append("| " + " | ".join(map(str, customer.values())) + " |")
            length += len(lines[-1]) + 1
        return "\n".join(lines)

    def prose(self, size: int) -> str:
        """Return paragraphs of five sentences."""
        paragraphs: list[str] = []
        while sum(map(len, paragraphs)) < size:
            paragraphs.append(" ".join(self.sentence() for _ in range(5)))
        return "\n\n".join(paragraphs)


def corpora(size: int, chunk: int = 4_000) -> dict[str, list[str]]:
    """Return texts by kind, of about `size` bytes a kind, each of about `chunk`: no text comes twice."""
    maker = Maker()
    kinds: dict[str, Callable[[int], str]] = {"JSON": maker.json, "tables": maker.table, "prose": maker.prose}
    return {kind: [make(chunk) for _ in range(max(1, size // chunk))] for kind, make in kinds.items()}


def read_corpus(path: Path, limit: int) -> list[str]:
    """Return the texts of a file of JSON lines `{"text": …}`, perhaps a .gz, up to about `limit` bytes."""
    texts: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for line in lines:
            if sum(map(len, texts)) > limit:
                break
            texts.append(str(json.loads(line)["text"]))
    return texts


def size_of(texts: Sequence[str]) -> int:
    return sum(len(text.encode()) for text in texts)
