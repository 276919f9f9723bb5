"""The Merkle tree of RFC 6962 and RFC 9162 section 2.1: SHA-256, 0x00 before a leaf, 0x01 before a node. Pure.

A writer needs the frontier alone: the roots of the perfect subtrees that a tree of `size` leaves falls into, largest first.
A prover also needs subtree hashes, which it asks of a `Subtrees`. A checker needs neither.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
_LENGTHS = frozenset({HASH_BYTES})

Subtrees = Callable[[int, int], bytes]
"""`(start, end)` to the Merkle tree hash of those leaves: `MTH(D[start:end])` of RFC 9162."""


def leaf_hash(leaf: bytes) -> bytes:
    """Return the 32 bytes that the tree knows the leaf by."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that is needed to go on appending: one hash for each one-bit of `size`, the largest subtree first.

    Raises:
        ValueError: the number of hashes does not fit the size, or a hash is not 32 bytes long.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count() or not _LENGTHS.issuperset(map(len, self.hashes)):
            raise ValueError(f"{len(self.hashes)} hashes are no frontier of a tree of {self.size} leaves")

    def appended(self, leaf: bytes) -> "Frontier":
        """Return the frontier with one more leaf hash: as many merges as `size` has trailing one-bits.

        Raises:
            ValueError: not a hash's length.
        """
        if len(leaf) != HASH_BYTES:
            raise ValueError(f"a leaf hash has {HASH_BYTES} bytes, not {len(leaf)}")
        hashes = list(self.hashes)
        node, rest = leaf, self.size
        while rest & 1:
            node = node_hash(hashes.pop(), node)
            rest >>= 1
        return Frontier(self.size + 1, (*hashes, node))

    def root(self) -> bytes:
        """Return the tree's root hash; of the empty tree, the hash of nothing (RFC 9162 section 2.1.1)."""
        if not self.hashes:
            return EMPTY_ROOT
        *others, root = self.hashes
        for left in reversed(others):
            root = node_hash(left, root)
        return root

    def to_bytes(self) -> bytes:
        return b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> "Frontier":
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: as the class does.
        """
        return cls(size, tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)))


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root over these leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier = frontier.appended(leaf)
    return frontier.root()


def inclusion_proof(subtrees: Subtrees, index: int, size: int) -> list[bytes]:
    """Return the hashes from the leaf at `index` up to the root of the first `size` leaves (RFC 9162 section 2.1.3.1).

    Raises:
        ValueError: no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    start, end = 0, size
    path: list[bytes] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(subtrees(middle, end))
            end = middle
        else:
            path.append(subtrees(start, middle))
            start = middle
    return path[::-1]


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether the proof leads from the leaf hash at `index` to the root of `size` leaves (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and result == root


def consistency_proof(subtrees: Subtrees, first: int, second: int) -> list[bytes]:
    """Return the proof that the first `first` of `second` leaves are an unchanged prefix (RFC 9162 section 2.1.4.1).

    It is empty where there is nothing to prove: an empty first tree, or two trees of one size.

    Raises:
        ValueError: the first tree is the larger one.
    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {first} leaves is no prefix of one of {second}")
    if first in (0, second):
        return []
    start, end = 0, second
    path: list[bytes] = []
    while end != first:
        middle = start + _split(end - start)
        if first <= middle:
            path.append(subtrees(middle, end))
            end = middle
        else:
            path.append(subtrees(start, middle))
            start = middle
    if start:  # the first tree is no perfect subtree by itself, so its last part must be named
        path.append(subtrees(start, end))
    return path[::-1]


def check_consistency(first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes) -> bool:
    """Tell whether the second tree extends the first (RFC 9162 section 2.1.4.2)."""
    if not 0 <= first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof and first_root == EMPTY_ROOT
    path = list(proof) if first & (first - 1) else [first_root, *proof]
    if not path:
        return False
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _split(count: int) -> int:
    """Return the largest power of two below `count`, which is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)
