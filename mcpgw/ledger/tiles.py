"""The tree in pieces of 256 hashes, as C2SP tlog-tiles cuts and names them. Pure.

A tile of level 0 holds leaf hashes. Each hash in a tile of a higher level is the root of a full tile of the level below, so the
hash at place `i` of tile `n` of level `l` is `MTH(D[(256 n + i) 256^l : (256 n + i + 1) 256^l])`. A full tile never changes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mcpgw.ledger.record import MAX_LEAF_BYTES
from mcpgw.ledger.tree import HASH_BYTES, root_of

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
"""Hashes in a full tile, and entries in a full bundle."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A full tile.

    Raises:
        ValueError: not 256 hashes.
    """

    level: int
    index: int
    hashes: bytes
    """256 hashes of 32 bytes."""

    def __post_init__(self) -> None:
        if len(self.hashes) != TILE_WIDTH * HASH_BYTES:
            raise ValueError(f"a full tile has {TILE_WIDTH * HASH_BYTES} bytes, not {len(self.hashes)}")

    def root(self) -> bytes:
        """Return the Merkle tree hash over the tile, which stands in a tile of the level above."""
        return root_of(split(self.hashes))

    @property
    def leaves(self) -> range:
        """The leaves that it covers."""
        span = TILE_WIDTH ** (self.level + 1)
        return range(self.index * span, (self.index + 1) * span)


class TileBuilder:
    """Leaf hashes in, one after the other; out comes each tile that they fill. Holds at most 255 hashes for each level."""

    def __init__(self, size: int = 0) -> None:
        """`size` leaves stand before the first; they are not known, so no tile that one of them falls into will come out."""
        self._size = size
        self._rows: list[list[bytes | None]] = []
        while leaves := size >> (TILE_HEIGHT * len(self._rows)):
            self._rows.append([None] * (leaves % TILE_WIDTH))

    def appended(self, leaf: bytes) -> list[Tile]:
        """Return the tiles that end with this leaf, those of lower levels first."""
        self._size += 1
        filled: list[Tile] = []
        node: bytes | None = leaf
        for level in range(len(self._rows) + 1):
            if level == len(self._rows):
                self._rows.append([])
            row = self._rows[level]
            row.append(node)
            if len(row) < TILE_WIDTH:
                break
            self._rows[level] = []
            known = [one for one in row if one is not None]
            node = None
            if len(known) == TILE_WIDTH:
                filled.append(Tile(level, (self._size >> (TILE_HEIGHT * (level + 1))) - 1, b"".join(known)))
                node = filled[-1].root()
        return filled


@dataclass(frozen=True, slots=True)
class TileName:
    """Which tile a log of some size publishes: a full one (`width` 256), or a partial one at its right edge."""

    level: int
    index: int
    width: int = TILE_WIDTH

    def path(self) -> str:
        """Return `tile/<L>/<N>[.p/<W>]`."""
        return f"tile/{self.level}/{_numbered(self.index, self.width)}"

    def entries_path(self) -> str:
        """Return `tile/entries/<N>[.p/<W>]`, where the bundle of this tile of level 0 stands."""
        return f"tile/entries/{_numbered(self.index, self.width)}"


def tiles_between(before: int, size: int) -> Iterator[TileName]:
    """Yield the tiles that a tree of `size` leaves has and one of `before` leaves had not, the lowest level first."""
    level = 0
    while (here := size >> (TILE_HEIGHT * level)) > 0:
        there = before >> (TILE_HEIGHT * level)
        full, width = divmod(here, TILE_WIDTH)
        yield from (TileName(level, index) for index in range(there // TILE_WIDTH, full))
        if width and here != there:
            yield TileName(level, full, width)
        level += 1


def entry_bundle(leaves: Sequence[bytes]) -> bytes:
    """Return the entries as a bundle: each behind its length, a big-endian uint16.

    Raises:
        ValueError: an entry is too long for its length to be written.
    """
    if any(len(leaf) > MAX_LEAF_BYTES for leaf in leaves):
        raise ValueError(f"an entry has at most {MAX_LEAF_BYTES} bytes")
    return b"".join(len(leaf).to_bytes(2) + leaf for leaf in leaves)


def split(hashes: bytes) -> list[bytes]:
    """Return the hashes that stand one behind the other."""
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def _numbered(index: int, width: int) -> str:
    """Return the index in groups of three digits, all but the last behind an `x`: 1234067 is `x001/x234/067`."""
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03}")
    return "/".join(groups) + (f".p/{width}" if width < TILE_WIDTH else "")
