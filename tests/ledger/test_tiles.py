"""The tree in tiles: cut and named as C2SP tlog-tiles says, kept by both stores, and no root of trust."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_parts import Open, rejection
from stores import Kept, KeptInSqlite, verified

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.ledger.checks import ProblemKind
from mcpgw.ledger.schema import MIGRATIONS, TILES_SINCE
from mcpgw.ledger.stored_tree import StoredTile, TileCheck, fill, subtrees_of
from mcpgw.ledger.tiles import Tile, TileBuilder, TileName, entry_bundle, split, tiles_between
from mcpgw.ledger.tree import (
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
)

MANY = 256 * 256 + 700
"""Leaves that fill one tile of level 1, and more."""
LEAVES = [leaf_hash(str(number).encode()) for number in range(MANY)]


@dataclass
class Memory:
    """Leaf hashes and tiles as a store would keep them."""

    leaves: list[bytes] = field(default_factory=list)
    kept: dict[tuple[int, int], StoredTile] = field(default_factory=dict)
    reads: int = 0
    hashes_read: int = 0

    def leaf_hashes(self, start: int, end: int) -> Sequence[bytes]:
        self.reads += 1
        found = self.leaves[start:end]
        self.hashes_read += len(found)
        return found

    def tile_roots(self, level: int, start: int, end: int) -> Sequence[tuple[int, bytes]]:
        self.reads += 1
        last = min(end, max((index for _, index in self.kept), default=-1) + 1)
        return [(index, self.kept[level, index].root) for index in range(start, last) if (level, index) in self.kept]

    def tiles(self, level: int, start: int, end: int) -> Sequence[StoredTile]:
        self.reads += 1
        return [self.kept[level, index] for index in range(start, end) if (level, index) in self.kept]

    def save_tile(self, tile: Tile, root: bytes) -> None:
        self.kept[tile.level, tile.index] = StoredTile(tile.level, tile.index, root, tile.hashes)


def filled(size: int, step: int = 1000) -> Memory:
    memory = Memory(LEAVES[:size])
    for before in range(0, size, step):
        fill(memory, before, min(before + step, size))
    return memory


WHOLE = filled(MANY)


# --- cut and named as the specification says ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (TileName(0, 0), "tile/0/000"),
        (TileName(0, 999), "tile/0/999"),
        (TileName(0, 1000), "tile/0/x001/000"),
        (TileName(0, 1234067), "tile/0/x001/x234/067"),  # the specification's own example
        (TileName(1, 273, 112), "tile/1/273.p/112"),
        (TileName(63, 5, 1), "tile/63/005.p/1"),
    ],
)
def test_tiles_have_the_paths_of_the_specification(name: TileName, path: str) -> None:
    assert name.path() == path
    assert name.entries_path() == path.replace(f"tile/{name.level}/", "tile/entries/")


def test_a_tree_has_the_tiles_that_the_specification_counts() -> None:
    """Its examples: 70,000 leaves, and 256."""
    names = list(tiles_between(0, 70_000))
    assert [name for name in names if name.width < 256] == [TileName(0, 273, 112), TileName(1, 1, 17), TileName(2, 0, 1)]
    assert [name for name in names if name.width == 256] == [*(TileName(0, index) for index in range(273)), TileName(1, 0)]
    assert list(tiles_between(0, 256)) == [TileName(0, 0), TileName(1, 0, 1)]
    assert list(tiles_between(0, 0)) == []


@given(st.integers(0, 200_000), st.integers(0, 3000))
@settings(max_examples=50, deadline=None)
def test_what_is_published_step_by_step_is_what_is_published_at_once(before: int, more: int) -> None:
    def full(names: Sequence[TileName]) -> set[TileName]:
        return {name for name in names if name.width == 256}

    first, second, both = (
        list(tiles_between(start, end)) for start, end in ((0, before), (before, before + more), (0, before + more))
    )
    assert full(first) | full(second) == full(both)
    assert full(first) & full(second) == set()
    edge = {name for name in both if name.width < 256}
    assert edge <= set(first) | set(second), "each partial tile is new, or was there before"


def test_a_bundle_holds_each_entry_behind_its_length() -> None:
    assert entry_bundle([b"a", b"", b"xyz" * 100]) == b"\0\1a\0\0\1\x2c" + b"xyz" * 100
    with pytest.raises(ValueError, match="at most 65535"):
        entry_bundle([b"x" * 65_536])


def test_a_tile_that_is_not_full_is_no_tile() -> None:
    with pytest.raises(ValueError, match="8192 bytes"):
        Tile(0, 0, b"x" * 32)


# --- built, stored and proved from -------------------------------------------------------------------------------------------


def test_the_builder_fills_the_tiles_of_the_definition() -> None:
    builder = TileBuilder()
    built = {(tile.level, tile.index): tile for leaf in LEAVES for tile in builder.appended(leaf)}
    assert built.keys() == WHOLE.kept.keys() == {*((0, index) for index in range(MANY // 256)), (1, 0)}
    for place, tile in built.items():
        kept = WHOLE.kept[place]
        assert (kept.hashes, kept.root) == (tile.hashes, tile.root())
        assert tile.root() == root_of(LEAVES[tile.leaves.start : tile.leaves.stop])
        assert split(tile.hashes)[3] == root_of(LEAVES[tile.leaves.start :][3 * 256**tile.level : 4 * 256**tile.level])


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_280, 65_536, 65_537])
def test_a_builder_that_starts_late_fills_no_tile_that_it_does_not_know_whole(size: int) -> None:
    builder = TileBuilder(size)
    built = {(tile.level, tile.index) for leaf in LEAVES[size:] for tile in builder.appended(leaf)}
    expected = {place for place in WHOLE.kept if Tile(*place, b"x" * 8192).leaves.start >= size}
    assert built == expected


@given(st.integers(1, MANY), st.data())
@settings(max_examples=150, deadline=None)
def test_proofs_from_stored_tiles_prove(size: int, data: st.DataObject) -> None:
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    subtrees = subtrees_of(WHOLE, MANY)
    root = root_of(LEAVES[:size])
    assert check_inclusion(LEAVES[index], index, size, inclusion_proof(subtrees, index, size), root)
    proof = consistency_proof(subtrees, first, size)
    assert check_consistency(first, size, proof, root_of(LEAVES[:first]), root)


def test_a_proof_costs_a_few_reads_however_long_the_log_is() -> None:
    for index in (0, 65_900, MANY - 1):
        WHOLE.reads = WHOLE.hashes_read = 0
        inclusion_proof(subtrees_of(WHOLE, MANY), index, MANY)
        assert WHOLE.reads <= 8
        assert WHOLE.hashes_read <= 255


@given(st.sets(st.sampled_from(sorted(WHOLE.kept)), max_size=40), st.integers(0, MANY - 1))
@settings(max_examples=10, deadline=None)
def test_tiles_that_an_older_gateway_did_not_write_are_computed(missing: set[tuple[int, int]], index: int) -> None:
    gaps = Memory(LEAVES, {place: tile for place, tile in WHOLE.kept.items() if place not in missing})
    proof = inclusion_proof(subtrees_of(gaps, MANY), index, MANY)
    assert proof == inclusion_proof(subtrees_of(WHOLE, MANY), index, MANY)


def test_no_tile_is_written_over_one_that_is_not_there() -> None:
    gaps = filled(65_535)
    del gaps.kept[0, 7]
    gaps.leaves.append(LEAVES[65_535])
    fill(gaps, 65_535, 65_536)
    assert (0, 255) in gaps.kept
    assert (1, 0) not in gaps.kept
    assert inclusion_proof(subtrees_of(gaps, 65_536), 5, 65_536) == inclusion_proof(subtrees_of(WHOLE, MANY), 5, 65_536)


def test_a_hash_that_is_none_fills_no_tile_and_proves_nothing() -> None:
    broken = Memory([*LEAVES[:99], b"short", *LEAVES[100:300]])
    fill(broken, 0, 300)
    assert broken.kept == {}
    with pytest.raises(LedgerUnavailable, match="records 0 to 255 are not all there"):
        inclusion_proof(subtrees_of(broken, 300), 5, 300)


def test_a_tile_of_the_wrong_length_is_not_used() -> None:
    spoilt = filled(65_536)
    for place in ((0, 3), (1, 0)):
        spoilt.kept[place] = StoredTile(*place, b"", b"short")
    assert inclusion_proof(subtrees_of(spoilt, 65_536), 800, 65_536) == inclusion_proof(subtrees_of(WHOLE, MANY), 800, 65_536)


def test_each_altered_tile_is_found_and_located() -> None:
    altered = Memory(LEAVES, dict(WHOLE.kept))
    for place in ((0, 0), (0, 17), (1, 0)):
        tile = altered.kept[place]
        altered.kept[place] = StoredTile(*place, tile.root, tile.hashes[:-1] + bytes([tile.hashes[-1] ^ 1]))
    altered.kept[0, 200] = StoredTile(0, 200, b"r" * 32, altered.kept[0, 200].hashes)
    check = TileCheck(altered)
    for leaf in LEAVES:
        check.appended(leaf)
    assert [records for records, _ in check.vouched()] == [
        range(256),
        range(17 * 256, 18 * 256),
        range(200 * 256, 201 * 256),
        range(65_536),
    ]
    assert list(check.vouched()) == list(check.strangers()) == []


def test_tiles_of_a_larger_tree_are_told() -> None:
    check = TileCheck(filled(1024))
    for leaf in LEAVES[:600]:
        check.appended(leaf)
    assert [what for _, what in check.strangers()] == ["tiles are stored that a log of 600 records does not have: 2 of them"]


# --- on both stores ----------------------------------------------------------------------------------------------------------


async def appended(open_ledger: Open, count: int) -> None:
    async with open_ledger() as ledger, anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(ledger.append, rejection(f"10.0.{number // 256}.{number % 256}"))


async def test_the_tiles_are_there_with_the_record_that_fills_them(kept: Kept, open_ledger: Open) -> None:
    await appended(open_ledger, 600)
    with closing(kept.database().connect_read_only()) as store:
        size = store.size()
        leaves = [record.hash for record in store.records(0, size)]
        assert [tile.hashes for tile in store.tiles(0, 0, 99)] == [b"".join(leaves[:256]), b"".join(leaves[256:512])]
        assert list(store.tile_roots(0, 0, 99)) == [(0, root_of(leaves[:256])), (1, root_of(leaves[256:512]))]
        assert (store.leaf_hashes(5, 9), list(store.tiles(1, 0, 99))) == (leaves[5:9], [])
        subtrees = subtrees_of(store, size)
        for index in (0, 255, 256, 511, 512, size - 1):
            assert check_inclusion(leaves[index], index, size, inclusion_proof(subtrees, index, size), root_of(leaves))
    assert verified(kept).ok


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE tiles SET root = x'00' WHERE idx = 1", {(ProblemKind.TILE, 256, 512)}),
        (f"UPDATE tiles SET hashes = x'{'00' * 8192}' WHERE idx = 0", {(ProblemKind.TILE, 0, 256)}),
        ("UPDATE tiles SET idx = 9 WHERE idx = 1", {(ProblemKind.TILE, 0, 0)}),
        ("UPDATE tiles SET level = 1 WHERE idx = 0", {(ProblemKind.TILE, 0, 0)}),
        ("DELETE FROM tiles", set()),  # an older gateway would have written none
        (f"UPDATE records SET hash = x'{'00' * 32}' WHERE seq = 5", {(ProblemKind.ALTERED, 5, 6)}),
        ("DELETE FROM records WHERE seq = 300", {(ProblemKind.MISSING, 300, 301)}),
    ],
)
async def test_an_altered_tile_is_found_and_an_altered_record_is_not_told_twice(
    change: str, found: set[tuple[ProblemKind, int, int]], kept: Kept, open_ledger: Open
) -> None:
    await appended(open_ledger, 600)
    with kept.tampering() as admin:
        admin.execute(change)
    alone = (ProblemKind.TILE, ProblemKind.ALTERED, ProblemKind.MISSING)
    assert {(p.kind, p.records.start, p.records.stop) for p in verified(kept).problems if p.kind in alone} == found


@pytest.mark.sqlite
async def test_a_log_of_before_the_tiles_can_be_read_and_proved_from(
    kept: KeptInSqlite, open_ledger: Open, folder: Path
) -> None:
    await appended(open_ledger, 300)
    path = folder / "data" / "ledger.db"
    with closing(sqlite3.connect(folder / "older.db")) as older:
        older.executescript("".join(MIGRATIONS[: TILES_SINCE - 1]))
        older.execute("ATTACH ? AS newer", (str(path),))
        for table, key in (("records", "seq"), ("payloads", "seq"), ("checkpoints", "size")):
            columns = ", ".join(row[1] for row in older.execute(f"PRAGMA main.table_info({table})"))
            older.execute(f"INSERT INTO main.{table} SELECT {columns} FROM newer.{table} ORDER BY {key}")
        older.execute(f"PRAGMA main.user_version = {TILES_SINCE - 1}")
        older.commit()
    (folder / "older.db").replace(path)
    with closing(kept.database().connect_read_only()) as store:
        leaves = [record.hash for record in store.records(0, store.size())]
        proof = inclusion_proof(subtrees_of(store, len(leaves)), 7, len(leaves))
        assert check_inclusion(leaves[7], 7, len(leaves), proof, root_of(leaves))
    assert verified(kept).ok
    await appended(open_ledger, 1)
    assert verified(kept).ok, "opened for writing, it is brought up to date"
