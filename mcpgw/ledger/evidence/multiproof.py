"""One proof for many leaves: the hashes of all subtrees that hold none of them, in the order of the tree. Pure.

The tree of RFC 9162 section 2.1 is walked from the left. A subtree without a known leaf gives one hash, a single leaf is
known, and everything else is split. So a contiguous range costs two logarithms beside its own leaves, and one proof shows that
all of them, and their order, are what the root was signed for.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from mcpgw.ledger.tree import Subtrees, node_hash


def nodes(subtrees: Subtrees, known: Sequence[int], size: int) -> Iterator[bytes]:
    """Yield the hashes that lead from the leaves at these indices, in order, to the root of `size` leaves."""
    stack = [(0, size, 0, len(known))]
    while stack:
        start, end, low, high = stack.pop()
        if low == high:
            yield subtrees(start, end)
        elif end - start > 1:
            stack += reversed(_halves(start, end, low, high, known))


def root(leaves: Mapping[int, bytes], given: Sequence[bytes], size: int) -> bytes:
    """Return the root that the known leaf hashes and the given ones lead to.

    Raises:
        ValueError: there are too many or too few given ones, or a leaf lies outside of the tree.
    """
    known = sorted(leaves)
    if size < 1 or (known and not 0 <= known[0] <= known[-1] < size):
        raise ValueError("a leaf lies outside of the tree")
    rest = iter(given)

    def hashed(start: int, end: int, low: int, high: int) -> bytes:
        if low == high:
            found = next(rest, b"")
            if not found:
                raise ValueError("a hash is missing")
            return found
        if end - start == 1:
            return leaves[start]
        left, right = _halves(start, end, low, high, known)
        return node_hash(hashed(*left), hashed(*right))

    found = hashed(0, size, 0, len(known))
    if next(rest, b""):
        raise ValueError("there are more hashes than the tree has places for")
    return found


_Part = tuple[int, int, int, int]


def _halves(start: int, end: int, low: int, high: int, known: Sequence[int]) -> tuple[_Part, _Part]:
    middle = start + (1 << ((end - start - 1).bit_length() - 1))
    at = bisect_left(known, middle, low, high)
    return (start, middle, low, at), (middle, end, at, high)
