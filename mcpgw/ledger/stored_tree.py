"""The tree as a store keeps it: full tiles, written with the record that fills them, and the leaf hashes beside the records.

It makes proofs cheap and is no root of trust. Whoever makes a proof checks it against a signed checkpoint before he gives it
away, and `verify` compares every stored tile with what the records add up to. A tile that is missing, because an older gateway
wrote its last record, is computed from what is below it.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, TileBuilder, split
from mcpgw.ledger.tree import EMPTY_ROOT, HASH_BYTES, Subtrees, node_hash, root_of

_ROWS = 64
"""Rows of up to 256 hashes that a prover remembers: bounds its memory, and is more than one proof looks at."""
_AHEAD = 16
"""Tiles of level 0 that a check reads at a time."""
_LEVELS = 8
"""Of tiles in a tree of 2^64 leaves."""
_ALL = 2**62
"""More tiles than any log has."""


class Rows(Protocol):
    """Where the tree is read from: a store, or a transaction under way."""

    def leaf_hashes(self, start: int, end: int) -> Sequence[bytes]:
        """Return the hashes of those records, in order, as they stand: fewer where some are missing."""
        ...

    def tile_roots(self, level: int, start: int, end: int) -> Sequence[tuple[int, bytes]]:
        """Return index and root of the stored tiles of that level and those indices."""
        ...


@dataclass(frozen=True, slots=True)
class StoredTile:
    """A tile as it was found: not to be believed."""

    level: int
    index: int
    root: bytes
    hashes: bytes


class Tiles(Rows, Protocol):
    def tiles(self, level: int, start: int, end: int) -> Sequence[StoredTile]:
        """Return the stored tiles of that level and those indices, in order."""
        ...


class Writing(Rows, Protocol):
    def save_tile(self, tile: Tile, root: bytes) -> None: ...


def fill(tx: Writing, before: int, size: int) -> None:
    """Store the tiles that a tree of `size` leaves has full and one of `before` leaves had not, as far as they can be known.

    Raises:
        LedgerUnavailable: the database failed.
    """
    level = 0
    while (full := size >> (TILE_HEIGHT * (level + 1))) > 0:
        for index in range(before >> (TILE_HEIGHT * (level + 1)), full):
            start, end = index * TILE_WIDTH, (index + 1) * TILE_WIDTH
            hashes = tx.leaf_hashes(start, end) if level == 0 else [root for _, root in tx.tile_roots(level - 1, start, end)]
            if [len(one) for one in hashes] == [HASH_BYTES] * TILE_WIDTH:
                tile = Tile(level, index, b"".join(hashes))
                tx.save_tile(tile, tile.root())
        level += 1


def subtrees_of(store: Tiles, size: int) -> Subtrees:
    """Return what proves about the first `size` records: for a proof, about as many reads as the tree has levels of tiles.

    To be used inside one `snapshot` of the store. Nothing of what it returns is to be believed before it was checked.

    Raises:
        LedgerUnavailable: when it is used: the database failed, or a record that it needs is missing.
    """
    return Prover(store, size).subtree


class Prover:
    """The tree over the first `size` records, in rows of up to 256 hashes, as tiles hold them. See `subtrees_of`."""

    def __init__(self, store: Tiles, size: int) -> None:
        self._store = store
        self._size = size
        self._rows: OrderedDict[tuple[int, int], Sequence[bytes]] = OrderedDict()

    def root(self) -> bytes:
        """Return what the root is if the store is right."""
        return self.subtree(0, self._size) if self._size else EMPTY_ROOT

    def subtree(self, start: int, end: int) -> bytes:
        count = end - start
        if count & (count - 1) == 0:
            return self._node(count.bit_length() - 1, start // count)
        middle = start + (1 << (count.bit_length() - 1))
        return node_hash(self.subtree(start, middle), self.subtree(middle, end))

    def _node(self, height: int, index: int) -> bytes:
        """Return the hash of the perfect subtree of `2^height` leaves that `index` others stand before."""
        level, within = divmod(height, TILE_HEIGHT)
        first = index << within
        row = self.row(level, first // TILE_WIDTH)
        return root_of(row[first % TILE_WIDTH : first % TILE_WIDTH + (1 << within)])

    def row(self, level: int, index: int) -> Sequence[bytes]:
        """Return the hashes of a tile, full or not."""
        key = (level, index)
        row = self._rows.pop(key, None) or self._read(level, index)
        self._rows[key] = row
        if len(self._rows) > _ROWS:
            self._rows.popitem(last=False)
        return row

    def _read(self, level: int, index: int) -> Sequence[bytes]:
        for tile in self._store.tiles(level, index, index + 1):
            if len(tile.hashes) == TILE_WIDTH * HASH_BYTES:
                return split(tile.hashes)
        start = index * TILE_WIDTH
        end = min(start + TILE_WIDTH, self._size >> (TILE_HEIGHT * level))
        if level > 0:
            roots = self._store.tile_roots(level - 1, start, end)
            stored = {one: root for one, root in roots if len(root) == HASH_BYTES}
            return [stored.get(one) or root_of(self.row(level - 1, one)) for one in range(start, end)]
        hashes = self._store.leaf_hashes(start, end)
        if len(hashes) != end - start or any(len(one) != HASH_BYTES for one in hashes):
            raise LedgerUnavailable(f"records {start} to {end - 1} are not all there", hint="Run `mcpgw verify`.")
        return hashes


class TileCheck:
    """Compares stored tiles with those that the leaf hashes add up to, as a walk over the records meets them.

    A tile is compared once a checkpoint has vouched for the records below it, so that an altered record is not told twice.
    """

    def __init__(self, store: Tiles, size: int = 0) -> None:
        """`size` is that of the tree behind which the walk begins."""
        self._store = store
        self._builder = TileBuilder()
        self._waiting: list[Tile] = []
        self._ahead: dict[int, StoredTile] = {}
        self._ahead_from = self._ahead_to = 0
        self.doubted(size)

    def read_from(self, store: Tiles) -> None:
        """Go on with another connection, or the same one in another snapshot."""
        self._store = store
        self._ahead_from = self._ahead_to = 0

    def appended(self, leaf: bytes) -> None:
        self._size += 1
        self._waiting.extend(self._builder.appended(leaf))

    def doubted(self, size: int) -> None:
        """The first `size` records are not all known, or not what was sealed: what they fill cannot be compared."""
        self._size = size
        self._builder = TileBuilder(size)
        self._waiting.clear()

    def vouched(self) -> Iterator[tuple[range, str]]:
        """Yield records and words for those of the tiles met so far that the store holds altered.

        Raises:
            LedgerUnavailable: they cannot be read.
        """
        waiting, self._waiting = self._waiting, []
        for tile in waiting:
            for found in self._stored(tile):
                if found != StoredTile(tile.level, tile.index, tile.root(), tile.hashes):
                    yield tile.leaves, f"tile {tile.index} of level {tile.level} is not what its records add up to"

    def strangers(self) -> Iterator[tuple[range, str]]:
        """Yield nothing, unless tiles are stored that a tree of the size met does not have.

        Raises:
            LedgerUnavailable: they cannot be read.
        """
        full = [self._size >> (TILE_HEIGHT * (level + 1)) for level in range(_LEVELS)]
        strange = sum(len(self._store.tile_roots(level, after, _ALL)) for level, after in enumerate(full))
        if strange:
            yield range(0), f"tiles are stored that a log of {self._size} records does not have: {strange} of them"

    def _stored(self, tile: Tile) -> Sequence[StoredTile]:
        if tile.level > 0:
            return self._store.tiles(tile.level, tile.index, tile.index + 1)
        if not self._ahead_from <= tile.index < self._ahead_to:
            self._ahead_from, self._ahead_to = tile.index, tile.index + _AHEAD
            self._ahead = {found.index: found for found in self._store.tiles(0, self._ahead_from, self._ahead_to)}
        found = self._ahead.get(tile.index)
        return [] if found is None else [found]
