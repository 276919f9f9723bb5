"""Results that no upstream should send, made from seeds and redacted as a worker does, held to what every answer promises.

`python -m tests.redaction.fuzz --count 100000 --seed 1`. A failure prints the case's seed, which makes it again.
"""

import argparse
import base64
import json
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from mcpgw.core.errors import RedactionError
from mcpgw.core.model import Masking, MaskingRule
from mcpgw.redaction import Operator, Profile, RedactionConfig, wire
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import NoModel
from mcpgw.redaction.payload import payload_bytes
from mcpgw.redaction.reader import Reader

SLOWEST_S = 5.0
"""Of one case, in processor time: the gateway's own default for a whole call."""
GROWTH_MB = 300
"""Of the process over the whole run, beyond its size after the first hundred cases."""
STABLE = 4_000
"""Bytes of a case that is held to idempotence: longer texts are read in pieces, and what is masked cuts them elsewhere."""
BIG = 200_000
"""Characters of the largest texts."""

Maker = Callable[[random.Random], Any]

_SECRETS = ("219-09-9999", "4111 1111 1111 1111", "a@b.example", "Jane Doe", "DE89370400440532013000", "212-555-0147")
_SIGNS = (
    "\ud800", "\udfff", "\x00", "\u200b", "\u202e", "\ufffe", "\U0010ffff", "\u0301", "\uff11", "\u2028", "\r", "\n", "\t",
    '"', "'", "\\", "{", "}", "[", "]", "<", ">", "&", "%", "&#", "%4", "\\u00", "|", ",", ";", "=", ":", "@", " ", "ß", "İ",
)  # fmt: skip
_KEYS = (
    "ssn",
    "name",
    "rows",
    "columns",
    "value",
    "field",
    "type",
    "uri",
    "blob",
    "text",
    "data",
    "",
    "__proto__",
    "\ud800",
    "a.b[0]",
)


def _noise(r: random.Random, longest: int = 80) -> str:
    pieces = (
        r.choice(_SIGNS),
        r.choice(_SECRETS),
        chr(r.randrange(0x11_0000)),
        str(r.getrandbits(r.choice((3, 30, 90)))),
        "word ",
    )
    return "".join(r.choice(pieces) for _ in range(r.randrange(longest)))


def _broken(r: random.Random) -> str:
    """Bytes of one encoding read as another, or cut in the middle."""
    data = _noise(r).encode("utf-8", "surrogatepass")
    cut = data[: r.randrange(len(data) + 1)]
    return r.choice(
        (
            cut.decode("latin-1"),
            cut.decode("utf-8", "surrogateescape"),
            cut.decode("utf-16-le", "replace"),
            base64.b64encode(cut).decode("ascii"),
            cut.hex(),
            "".join(f"%{byte:02X}" for byte in cut),
        )
    )


def _scalar(r: random.Random) -> Any:
    numbers = (0, -1, 10**400, -(10**20), 1e308, 5e-324, float("inf"), 219099999, 0.1)
    return r.choice((None, True, False, r.choice(numbers), r.choice(_SECRETS), _noise(r), _broken(r), ""))


def _tree(r: random.Random, depth: int = 0) -> Any:
    kind = r.random()
    if depth > 5 or kind < 0.4:
        return _scalar(r)
    if kind < 0.7:
        return [_tree(r, depth + 1) for _ in range(r.randrange(5))]
    return {r.choice((*_KEYS, _noise(r, 6))): _tree(r, depth + 1) for _ in range(r.randrange(5))}


def _deep(r: random.Random) -> Any:
    value: Any = _scalar(r)
    for _ in range(r.choice((20, 99, 101, 400, 900))):
        value = [value] if r.random() < 0.5 else {r.choice(_KEYS): value}
    return value


def _nested_text(r: random.Random) -> Any:
    text = json.dumps(_tree(r))
    for _ in range(r.randrange(6)):
        text = r.choice((json.dumps({"text": text}), base64.b64encode(text.encode()).decode("ascii"), f"see {text} end"))
    return text


def _table(r: random.Random) -> str:
    sign = r.choice(",\t;|")
    width = r.randrange(1, 6)
    rows = [[r.choice((_noise(r, 4), r.choice(_SECRETS), '"')) for _ in range(r.choice((width, width + 1)))] for _ in range(8)]
    return "\n".join(sign.join(row) for row in [[r.choice(_KEYS) or "x" for _ in range(width)], *rows])


def _huge(r: random.Random) -> Any:
    unit = r.choice((*_SIGNS, *_SECRETS, "1 ", "1-", "a@", "&#65;", "%41", '{"a":', "Mr. ", "<a>", "12:", "QUJD", "sort code "))
    return unit * (r.randrange(BIG) // len(unit) + 1)


def _wide(r: random.Random) -> Any:
    return [{key: r.choice(_SECRETS) for key in r.sample(_KEYS, 4)} for _ in range(r.randrange(300))]


_MAKERS: tuple[tuple[Maker, int], ...] = (
    (_tree, 40), (_noise, 15), (_broken, 10), (_table, 12), (_nested_text, 12), (_deep, 6), (_wide, 2), (_huge, 1),
)  # fmt: skip


def made(seed: int) -> tuple[dict[str, Any], Masking, Reader]:
    """Return the case of that seed: a message, and who reads it under which rules."""
    r = random.Random(seed)

    def value() -> Any:
        return r.choices([maker for maker, _ in _MAKERS], [weight for _, weight in _MAKERS])[0](r)

    payload: dict[str, Any] = {}
    if r.random() < 0.7:
        texts = [{"type": r.choice(("text", "image", "resource", 5)), "text": value()} for _ in range(r.randrange(4))]
        payload["content"] = r.choice((texts, value(), [*texts, value()]))
    if r.random() < 0.6:
        payload["structuredContent"] = value()
    if r.random() < 0.1:
        payload[r.choice(("message", "data", "_meta", "requestState", "code", _noise(r, 5)))] = value()
    rules = (MaskingRule(path="**.name", unmasked_for=("group:a",)), MaskingRule(path='column:"ssn"', operator="partial"))
    masking = Masking(profile=r.choice(_PROFILES), rules=rules if r.random() < 0.2 else ())
    known = {"<PERSON_000000000000>": "Jane Doe"} if r.random() < 0.1 else {}
    reader = Reader(members=frozenset({"group:a"}), scope="s", known=known, before=_noise(r) if r.random() < 0.1 else "")
    return payload, masking, reader


_PROFILES = tuple(operator.value for operator in Operator)


def engine() -> Engine:
    profiles = {"default": Profile(), **{operator.value: Profile(default=operator) for operator in Operator}}
    return Engine(RedactionConfig(model="none", profiles=profiles, hash_key=b"k" * 32, packs=("us", "eu", "uk")), NoModel())


@dataclass(slots=True)
class Tally:
    cases: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    slowest_seed: int = 0


def shape(value: Any) -> Any:
    """Return everything of a value but its scalars."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    return [shape(item) for item in value] if isinstance(value, list) else None


def run(count: int, first: int = 0) -> Tally:
    """Redact `count` cases.

    Raises:
        AssertionError: a case broke a promise; it names the seed. Whatever else redaction raises is let through with its seed.
    """
    tally = Tally()
    redactor = engine()
    size = 0
    for seed in range(first, first + count):
        began = time.process_time()
        try:
            tally.refused += not _redacted(redactor, *made(seed))
        except Exception as error:  # whatever it is goes on, with the seed that makes it again
            error.add_note(f"seed {seed}")
            raise
        taken = time.process_time() - began
        if taken > tally.slowest_s:
            tally.slowest_s, tally.slowest_seed = taken, seed
        assert taken < SLOWEST_S, f"seed {seed} took {taken:.1f} s"
        tally.cases += 1
        if tally.cases == min(100, count):
            size = peak_mb()
    assert peak_mb() - size < GROWTH_MB, f"the process grew by {peak_mb() - size} MB"
    return tally


def _redacted(redactor: Engine, payload: dict[str, Any], masking: Masking, reader: Reader) -> bool:
    """Redact one case as a worker does, pipe and all; return whether there is an answer, or a refusal."""
    try:
        body = wire.job(masking, payload_bytes(payload), envelope=True, reader=reader)
        again, envelope, who, received = wire.read_job(body)
        answer = redactor.redact(received, again, envelope=envelope, reader=who)
    except RedactionError:
        return False
    written = json.loads(json.dumps(answer.payload))
    assert list(written) == list(received), "keys went, or came"
    if "structuredContent" in received:
        assert shape(written["structuredContent"]) == shape(received["structuredContent"]), "the structure changed"
    try:
        twice = redactor.redact(written, again, reader=replace(who, before="")).payload
    except RedactionError:
        return False  # what is masked can be longer, and text inside text deeper
    if len(body) < STABLE:
        assert json.dumps(twice) == json.dumps(written), "a second redaction changed what the first one left"
    return True


def peak_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak // 1024 if sys.platform != "darwin" else peak // 1_048_576)


def batches(count: int, size: int = 5_000) -> Iterator[tuple[int, int]]:
    yield from ((first, min(size, count - first)) for first in range(0, count, size))


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/fuzz_redaction", description="Redact results that no upstream should send.")
    parser.add_argument("--count", type=int, default=100_000, help="cases (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the others follow (default: %(default)s)")
    options = parser.parse_args()
    began = time.monotonic()
    refused, slowest = 0, (0.0, 0)
    for first, count in batches(options.count):
        tally = run(count, options.seed + first)
        refused += tally.refused
        slowest = max(slowest, (tally.slowest_s, tally.slowest_seed))
        print(
            f"{first + count:>8} cases, {refused} refused, slowest {slowest[0]:.2f} s (seed {slowest[1]}), {peak_mb()} MB",
            flush=True,
        )
    print(f"no crash, no broken promise in {options.count} cases and {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
