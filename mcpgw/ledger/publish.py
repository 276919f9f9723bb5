"""The log as static files, as C2SP tlog-tiles lays them out: for a web server, a mirror, or a medium.

    checkpoint                      the newest signed checkpoint; written last, so that everything it covers is there
    tile/<L>/<N>[.p/<W>]            hashes
    tile/entries/<N>[.p/<W>]        the records themselves, unless only hashes are to be public

What is written was checked: the hashes add up to the checkpoint, and the records to the hashes. A directory is only ever grown.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.ledger.checkpoint import Checkpoint, InvalidNote, NoteVerifier, open_checkpoint
from mcpgw.ledger.store import Reading
from mcpgw.ledger.stored_tree import Prover
from mcpgw.ledger.tiles import TILE_WIDTH, TileName, entry_bundle, tiles_between
from mcpgw.ledger.tree import check_consistency, consistency_proof, leaf_hash, root_of

CHECKPOINT = "checkpoint"
_LOCK = ".lock"


def publish(store: Reading, folder: Path, verifiers: Sequence[NoteVerifier], note: str, *, entries: bool) -> int:
    """Bring the folder up to the checkpoint of `note`, and return how many files were written.

    To be used inside one `snapshot` of the store. Every file is there whole or not at all. With `entries` the records are
    written too, those of before as well if they are not there.

    Raises:
        ConfigError: the folder holds something else than an older state of this log.
        LedgerUnavailable: the log cannot be read, or does not add up to its checkpoint: then nothing is made public.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        checkpoint = _opened(note, verifiers)
        prover = Prover(store, checkpoint.size)
        before = _published(folder, verifiers)
        if before.size > checkpoint.size:
            sizes = f"{folder} covers {before.size} records and the log {checkpoint.size}"
            raise _unfit(f"{sizes}: it was cut back, if nobody else publishes")
        if not _extends(prover, before, checkpoint):
            raise _unfit(f"the log does not continue the checkpoint over {before.size} records that is published in {folder}")
        written = 0
        for name, hashes in _tiles(prover, before.size, checkpoint):
            written += _write(folder, name.path(), b"".join(hashes))
        for name in tiles_between(before.size if (folder / "tile" / "entries").exists() else 0, checkpoint.size):
            if entries and name.level == 0:
                written += _write(folder, name.entries_path(), _bundle(store, prover, name))
        return written + _write(folder, CHECKPOINT, note.encode())


def _opened(note: str, verifiers: Sequence[NoteVerifier]) -> Checkpoint:
    try:
        return open_checkpoint(note, verifiers)
    except InvalidNote as error:
        raise _unfit(f"the newest checkpoint cannot be believed: {error}") from error


def _published(folder: Path, verifiers: Sequence[NoteVerifier]) -> Checkpoint:
    """Return what the folder holds already; the empty tree if that is nothing."""
    path = folder / CHECKPOINT
    if not path.exists():
        return Checkpoint("", 0, b"")
    try:
        return open_checkpoint(path.read_text(encoding="utf-8"), verifiers)
    except (InvalidNote, UnicodeDecodeError) as error:
        hint = "Publish into an empty directory, or into one of this log."
        raise ConfigError("this is not a checkpoint of this log", where=str(path), hint=hint) from error


def _extends(prover: Prover, before: Checkpoint, checkpoint: Checkpoint) -> bool:
    if before.size == 0:
        return prover.root() == checkpoint.root
    proof = consistency_proof(prover.subtree, before.size, checkpoint.size)
    return check_consistency(before.size, checkpoint.size, proof, before.root, checkpoint.root)


def _tiles(prover: Prover, before: int, checkpoint: Checkpoint) -> Iterator[tuple[TileName, Sequence[bytes]]]:
    """Yield the tiles that are new, each checked against the one above it, and the uppermost against the checkpoint."""
    if prover.root() != checkpoint.root:
        raise _unfit("the tree does not add up to the newest checkpoint")
    for name in tiles_between(before, checkpoint.size):
        hashes = prover.row(name.level, name.index)[: name.width]
        above, place = divmod(name.index, TILE_WIDTH)
        if name.width == TILE_WIDTH and root_of(hashes) != prover.row(name.level + 1, above)[place]:
            raise _unfit(f"tile {name.index} of level {name.level} does not add up to the one above it")
        yield name, hashes


def _bundle(store: Reading, prover: Prover, name: TileName) -> bytes:
    start = name.index * TILE_WIDTH
    leaves = [record.leaf for record in store.records(start, name.width)]
    if [leaf_hash(leaf) for leaf in leaves] != list(prover.row(0, name.index)[: name.width]):
        raise _unfit(f"records {start} to {start + name.width - 1} are not what was sealed")
    return entry_bundle(leaves)


def _write(folder: Path, name: str, data: bytes) -> int:
    """Write one file whole; a tile that is there stays, and takes the place of its partial ones."""
    path = folder / name
    if name != CHECKPOINT and path.exists():
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    shutil.rmtree(path.with_name(f"{path.name}.p"), ignore_errors=True)
    return 1


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One publisher at a time, so that no older checkpoint follows a newer one."""
    with (folder / _LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unfit(what: str) -> LedgerUnavailable:
    return LedgerUnavailable(f"nothing was published: {what}", hint="Run `mcpgw verify`.")
