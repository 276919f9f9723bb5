"""The tree against RFC 6962's own example, and its proofs against every tree that hypothesis can think of."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.ledger.tree import (
    EMPTY_ROOT,
    Frontier,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
)

# The eight leaves that certificate-transparency implementations test with, and the roots of the trees over the first n.
LEAVES = [
    bytes.fromhex(h)
    for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(hashes: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, word for word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return node_hash(naive_root(hashes[:k]), naive_root(hashes[k:]))


def hashes_of(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


def test_the_roots_are_those_of_the_known_vectors() -> None:
    hashes = [leaf_hash(leaf) for leaf in LEAVES]
    assert [root_of(hashes[: n + 1]).hex() for n in range(8)] == ROOTS
    assert root_of([]) == EMPTY_ROOT == hashlib.sha256(b"").digest()


@given(st.integers(0, 300))
def test_the_frontier_has_the_root_of_the_definition_and_survives_being_stored(size: int) -> None:
    frontier = Frontier()
    for leaf in hashes_of(size):
        frontier = frontier.appended(leaf)
    assert frontier.root() == naive_root(hashes_of(size))
    assert Frontier.from_bytes(size, frontier.to_bytes()) == frontier


@pytest.mark.parametrize(
    ("size", "data"), [(1, b""), (0, b"x" * 32), (3, b"x" * 32), (1, b"x" * 31), (2, b"x" * 33), (-1, b"")]
)
def test_bytes_that_are_no_frontier_are_refused(size: int, data: bytes) -> None:
    with pytest.raises(ValueError, match="no frontier"):
        Frontier.from_bytes(size, data)


@given(st.integers(1, 130), st.data())
def test_an_inclusion_proof_proves_its_leaf_and_nothing_else(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    hashes = hashes_of(size)
    root = naive_root(hashes)
    proof = inclusion_proof(lambda a, b: naive_root(hashes[a:b]), index, size)
    assert check_inclusion(hashes[index], index, size, proof, root)
    assert not check_inclusion(leaf_hash(b"another"), index, size, proof, root)
    assert not check_inclusion(hashes[index], index, size, [*proof, root], root)
    assert not check_inclusion(hashes[index], size, size, proof, root)
    assert not check_inclusion(hashes[index], -1, size, proof, root)
    for at in range(len(proof)):
        assert not check_inclusion(hashes[index], index, size, proof[:at] + proof[at + 1 :], root)
        assert not check_inclusion(hashes[index], index, size, [*proof[:at], root, *proof[at + 1 :]], root)
    other = data.draw(st.integers(0, size - 1))
    assert check_inclusion(hashes[index], other, size, proof, root) == (other == index)


@given(st.integers(0, 130), st.data())
def test_a_consistency_proof_proves_an_unchanged_prefix_and_nothing_else(second: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, second))
    hashes = hashes_of(second)
    old, new = naive_root(hashes[:first]), naive_root(hashes)
    proof = consistency_proof(lambda a, b: naive_root(hashes[a:b]), first, second)
    assert check_consistency(first, second, proof, old, new)
    assert not check_consistency(first, second, proof, leaf_hash(b"forged"), new)
    assert not check_consistency(first, second, [*proof, new], old, new)
    if 0 < first < second:
        assert not check_consistency(first, second, proof, old, leaf_hash(b"forged"))
        for at in range(len(proof)):
            assert not check_consistency(first, second, proof[:at] + proof[at + 1 :], old, new)


def test_consistency_with_the_empty_tree_needs_no_proof_but_its_root() -> None:
    assert check_consistency(0, 5, [], EMPTY_ROOT, root_of(hashes_of(5)))
    assert not check_consistency(3, 2, [], EMPTY_ROOT, EMPTY_ROOT)


def test_proofs_of_what_is_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="no leaf 3"):
        inclusion_proof(lambda a, b: b"", 3, 3)
    with pytest.raises(ValueError, match="no prefix"):
        consistency_proof(lambda a, b: b"", 3, 2)


def test_two_unequal_trees_are_not_consistent_without_a_proof() -> None:
    hashes = hashes_of(5)
    assert not check_consistency(3, 5, [], root_of(hashes[:3]), root_of(hashes))


# --- every small tree, without leaving anything to chance ------------------------------------------------------------------

SMALL = 18


def test_every_leaf_of_every_small_tree_is_proved_and_no_other() -> None:
    for size in range(1, SMALL):
        hashes = hashes_of(size)
        root = naive_root(hashes)
        for index in range(size):
            proof = inclusion_proof(lambda a, b, hashes=hashes: naive_root(hashes[a:b]), index, size)
            for other in range(-1, size + 1):
                assert check_inclusion(hashes[index], other, size, proof, root) is (other == index)


def test_every_prefix_of_every_small_tree_is_proved_and_no_other() -> None:
    for second in range(SMALL):
        hashes = hashes_of(second)
        for first in range(second + 1):
            proof = consistency_proof(lambda a, b, hashes=hashes: naive_root(hashes[a:b]), first, second)
            old, new = naive_root(hashes[:first]), naive_root(hashes)
            assert check_consistency(first, second, proof, old, new)
            for other in range(-1, second + 2):
                assert other == first or not check_consistency(other, second, proof, old, new)
            assert not check_consistency(first, second, [*proof, old], old, new)
            assert first in (0, second) or not check_consistency(first, second, proof, old, old)


def test_what_has_not_the_length_of_a_hash_is_no_leaf() -> None:
    for length in (0, 31, 33):
        with pytest.raises(ValueError, match=rf"^a leaf hash has 32 bytes, not {length}$"):
            Frontier().appended(b"x" * length)


def test_what_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match=r"^a tree of 3 leaves has no leaf -1$"):
        inclusion_proof(lambda a, b: b"", -1, 3)
    with pytest.raises(ValueError, match=r"^a tree of -1 leaves is no prefix of one of 2$"):
        consistency_proof(lambda a, b: b"", -1, 2)
    with pytest.raises(ValueError, match=r"^0 hashes are no frontier of a tree of 1 leaves$"):
        Frontier(1)
