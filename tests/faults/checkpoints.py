"""Every checkpoint that anybody saw while gateways were killed, and what must be true of them together. Pure.

Nothing here is the writer's or the verifier's code: notes are taken apart, signatures checked and the tree built from the
standards alone (C2SP signed-note, RFC 9162 section 2.1), so that no mistake of the ledger can hide itself.

Two checkpoints contradict each other exactly if no log continues both. So if each has the root of a prefix of one log, which is
the one that is there at the end, every pair of them is consistent; the walk over its leaves compares them all.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Row:
    """A record as its table has it."""

    seq: int
    event_id: str
    leaf: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of one log, and what is there at the end."""

    vkey: str
    """The log's public key, as `keys/ledger.pub` has it."""
    rows: Sequence[Row]
    observed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Signed notes, in the order in which each observer saw them."""

    @property
    def distinct(self) -> int:
        return len({note for notes in self.observed.values() for note in notes})


def contradictions(seen: Seen) -> list[str]:
    """Return everything that is wrong with the sequence and the checkpoints; nothing, if all is well."""
    return [*_sequence(seen.rows), *_checkpoints(seen)]


def _sequence(rows: Sequence[Row]) -> Iterator[str]:
    for at, row in enumerate(rows):
        members = json.loads(row.leaf)
        if (row.seq, members["seq"]) != (at, at):
            yield f"record {at} of the table has the number {row.seq}, and its leaf {members['seq']}"
            return  # all that follow are off as well
        if members["id"] != row.event_id:
            yield f"record {at} has another id than its leaf"
    yield from (f"event {event}: {times} records" for event, times in Counter(r.event_id for r in rows).items() if times > 1)


def _checkpoints(seen: Seen) -> Iterator[str]:
    roots: dict[int, dict[bytes, str]] = {}
    for observer, notes in seen.observed.items():
        newest = 0
        for note in notes:
            opened = list(opened_note(note, seen.vkey))
            if not opened:
                yield f"{observer} saw a checkpoint that the log's key did not sign: {note!r}"
                continue
            ((size, root),) = opened
            if size < newest:
                yield f"{observer} saw the log go back from {newest} to {size} records"
            newest = max(newest, size)
            roots.setdefault(size, {})[root] = observer
    for size, various in roots.items():
        if len(various) > 1:
            yield f"two checkpoints over {size} records have different roots: {sorted(various.values())}"
        if size > len(seen.rows):
            yield f"a checkpoint over {size} records was seen; the log has {len(seen.rows)}"
    for size, root in _roots(seen.rows, roots.keys()):
        if root not in roots[size]:
            yield f"the checkpoint over {size} records is of another log than the one that is there"


def opened_note(note: str, vkey: str) -> Iterator[tuple[int, bytes]]:
    """Yield size and root of a note that this key signed; nothing, if it did not."""
    name, _, rest = vkey.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    key = base64.b64decode(encoded)[1:]
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        _, signer, signature = line.split(" ")
        blob = base64.b64decode(signature)
        if signer != name or blob[:4].hex() != key_id:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(blob[4:], text.encode())
        except InvalidSignature:
            return
        origin, size, root = text.split("\n")[:3]
        if origin == name:
            yield int(size), base64.b64decode(root)


def _roots(rows: Sequence[Row], sizes: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """Yield the roots of the prefixes of those sizes. Perfect subtrees wait on a stack, the largest at the bottom."""
    stack: list[tuple[int, bytes]] = []
    if 0 in sizes:
        yield 0, hashlib.sha256(b"").digest()
    for count, row in enumerate(rows, 1):
        height, node = 0, hashlib.sha256(b"\0" + row.leaf).digest()
        while stack and stack[-1][0] == height:
            height, node = height + 1, hashlib.sha256(b"\1" + stack.pop()[1] + node).digest()
        stack.append((height, node))
        if count in sizes:
            root = stack[-1][1]
            for _, left in reversed(stack[:-1]):
                root = hashlib.sha256(b"\1" + left + root).digest()
            yield count, root
