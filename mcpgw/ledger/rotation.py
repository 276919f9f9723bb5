"""Replacing the log's signing key: a record that the old key seals, in a commit of its own that the new key signs as well.

    (1) lock the log, and lay what will be in place beside the files: ledger.pub.next, ledger-pq.key.next, ledger.key.next
    (2) append the record, sign with both keys, commit: the one moment in which the key is another one
    (3) lock the log again, and put the files in place, the old secrets overwritten; ledger.key is the last

A crash leaves files beside the others, and the newest checkpoint says what they are: signed by the new key, and (3) is done;
else (1) is undone. Whoever next has the log locked does that (`settle`): the next rotation, a gateway that starts, or one that
runs and meets the new key's signature. The database's lock is the only one there is, so no two of them do it at once.
"""

import contextlib
import itertools
import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from mcpgw.core.entries import Event
from mcpgw.core.errors import ConfigError, GatewayError, LedgerUnavailable
from mcpgw.ledger.checkpoint import EVERY_SIZE, InvalidNote, Signer, Verifier, open_note
from mcpgw.ledger.describe import Recordable, RecordContext, draft
from mcpgw.ledger.ids import new_id
from mcpgw.ledger.key_steps import ROTATED
from mcpgw.ledger.keys import (
    PRIVATE,
    PUBLIC,
    QUANTUM,
    LogKeys,
    load_keys,
    load_verifiers,
    public_line,
    read_quantum_signer,
    read_signer,
    read_verifiers,
)
from mcpgw.ledger.post_quantum import QuantumSigner, QuantumVerifier, is_available
from mcpgw.ledger.record import Draft
from mcpgw.ledger.sessions import Sessions
from mcpgw.ledger.store import Database, Store
from mcpgw.ledger.writer import Batch, require_trusted, trusted_checkpoint

NEXT = ".next"
_FILES = (PUBLIC, QUANTUM, PRIVATE)
"""In the order in which they are replaced: nothing is signed by a key whose public line is not there."""

PublicKey = Verifier | QuantumVerifier


@dataclass(frozen=True, slots=True)
class Rotated:
    """One step from key to key."""

    seq: int
    """Of the record that says so."""
    retired: Verifier
    current: Verifier


def rotate(database: Database, keys_dir: Path, origin: str, *, actor: str, context: RecordContext, quantum: bool) -> Rotated:
    """Give the log a new signing key, while gateways go on. `actor` is who does it, for the record.

    With `quantum` an ML-DSA-44 key is made too, where that can be. Without, the one that there was is retired all the same.

    Raises:
        ConfigError: the keys in the folder are not those of the log, or the folder cannot be written.
        LedgerUnavailable: it was not recorded, so the old key stays; or nobody can tell, and the next try will.
    """
    signer = Signer.generate(origin)
    others = [QuantumSigner.generate(origin)] if quantum and is_available() else []
    failed: list[GatewayError] = []
    try:
        with closing(database.connect()) as store:
            _record(store, keys_dir, signer, others, actor, context)
    except GatewayError as error:
        failed.append(error)  # what became of a commit that failed, the log alone can say
    with closing(database.connect()) as store:
        settle(keys_dir, origin, store.begin().head().note)
    for retired, current in itertools.pairwise(one for one in load_verifiers(keys_dir) if one.name == origin):
        if current.key == signer.verifier.key:
            return Rotated(current.sizes.start - 1, retired, current)
    raise failed[0] if failed else LedgerUnavailable("the log was set back while its key was rotated")


def opened_keys(keys_dir: Path, origin: str, database: Database) -> LogKeys:
    """Return the keys to write a log with, a rotation that was cut off finished or undone.

    Raises:
        ConfigError: as `settle` and `load_keys`.
        LedgerUnavailable: there was such a rotation, and the log cannot be asked.
    """
    if is_pending(keys_dir):
        with closing(database.connect()) as store:
            settle(keys_dir, origin, store.begin().head().note)
    return load_keys(keys_dir, origin)


def reloaded_keys(keys_dir: Path, origin: str, note: str) -> LogKeys:
    """As `opened_keys`, for whoever has the log locked: `note` is its newest checkpoint."""
    settle(keys_dir, origin, note)
    return load_keys(keys_dir, origin)


def is_pending(keys_dir: Path) -> bool:
    """Tell whether a rotation has begun and neither was finished nor undone."""
    return any(_next(keys_dir / name).exists() for name in _FILES)


def settle(keys_dir: Path, origin: str, note: str) -> None:
    """Finish the rotation that the newest checkpoint shows, or undo one that it does not show. The log is to be locked.

    Raises:
        ConfigError: the checkpoint was signed by neither key, or the folder cannot be written. Then nothing was undone.
    """
    if not is_pending(keys_dir):
        return
    try:
        if _is_recorded(keys_dir, origin, note):
            _finish(keys_dir)
        else:
            _undo(keys_dir)
    except OSError as error:
        hint = "Run `mcpgw ledger rotate` again as the owner of the folder: it finishes what was begun."
        raise ConfigError(
            f"the rotated key cannot be put in place: {error.strerror}", where=str(keys_dir), hint=hint
        ) from error


# --- (1) and (2) ---------------------------------------------------------------------------------------------------------


def _record(
    store: Store, keys_dir: Path, signer: Signer, others: Sequence[QuantumSigner], actor: str, context: RecordContext
) -> None:
    origin = signer.verifier.name
    tx = store.begin()
    head = tx.head()
    keys = reloaded_keys(keys_dir, origin, head.note)
    if head.frontier.size:
        require_trusted(head, keys)
    size = head.frontier.size + 1  # the record is alone in its commit, so that it says by itself where the keys change
    made: list[PublicKey] = [signer.verifier, *(one.verifier for one in others)]
    ended, all_keys = _successors(read_verifiers(keys_dir / PUBLIC), made, size)
    facts = {"retired": [one.vkey() for one in ended], "current": [one.vkey() for one in made]}
    event = Event(kind=ROTATED, actor=actor, facts=facts)
    node = new_id()

    def describe(entry: Recordable) -> Draft:
        return draft(entry, node=node, context=context)

    sessions = Sessions(tx, ())
    batch = Batch(tx, head, log=origin, node=node, sessions=sessions, describe=describe, clock=time.time_ns)
    drafted = describe(event)
    _lay(keys_dir / PUBLIC, "".join(f"{public_line(one)}\n" for one in all_keys), keys_dir / PUBLIC)
    for other in others:
        _lay(keys_dir / QUANTUM, f"{other.skey()}\n", keys_dir / PRIVATE)
    _lay(keys_dir / PRIVATE, f"{signer.skey()}\n", keys_dir / PRIVATE)
    batch.append(event, drafted)
    batch.finish(keys.signer, signer)
    tx.commit()


def _successors(
    known: Sequence[PublicKey], made: Sequence[PublicKey], size: int
) -> tuple[Sequence[PublicKey], Sequence[PublicKey]]:
    """Return the keys that end with the checkpoint of that size, and all keys as they are believed from then on."""
    name = made[0].name
    ended = [one for one in known if one.name == name and one.sizes.stop == EVERY_SIZE.stop]
    kept = [replace(one, sizes=range(one.sizes.start, size + 1)) if one in ended else one for one in known]
    return ended, [*kept, *(replace(one, sizes=range(size, EVERY_SIZE.stop)) for one in made)]


def _lay(path: Path, text: str, like: Path) -> None:
    """Write what is to replace the file beside it, durably, for the owner and the readers that `like` has."""
    there = like.stat()
    try:
        with os.fdopen(os.open(_next(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            os.fchown(file.fileno(), there.st_uid, there.st_gid)
            os.fchmod(file.fileno(), there.st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _sync(path.parent)
    except OSError as error:
        hint = "Run it as the owner of the folder."
        raise ConfigError(f"a new key cannot be written: {error.strerror}", where=str(_next(path)), hint=hint) from error


# --- (3) -----------------------------------------------------------------------------------------------------------------


def _is_recorded(keys_dir: Path, origin: str, note: str) -> bool:
    """Tell whether the newest checkpoint is the new key's. Raises `ConfigError` where it is nobody's."""
    unreadable = ""
    with contextlib.suppress(InvalidNote):
        try:
            open_note(note, [read_signer(_next(keys_dir / PRIVATE), origin).verifier])
            return True
        except ConfigError as error:
            unreadable = f" ({error})"  # half of a file, if it was cut off before anything was recorded
    try:
        keys = load_keys(keys_dir, origin)
        if note:
            trusted_checkpoint(note, keys)
    except (InvalidNote, ConfigError) as error:
        what = f"a rotation was begun, and what became of it cannot be told{unreadable}: {error}"
        raise ConfigError(what, where=str(keys_dir), hint="Run `mcpgw verify`. Keep all files of this folder.") from error
    return False


def _finish(keys_dir: Path) -> None:
    _replace(keys_dir / PUBLIC)
    _replace(keys_dir / QUANTUM)
    quantum = keys_dir / QUANTUM
    if quantum.exists():
        key = read_quantum_signer(quantum).verifier.key
        if any(one.key == key and one.sizes.stop != EVERY_SIZE.stop for one in read_verifiers(keys_dir / PUBLIC)):
            _remove(quantum)  # retired, and none was made in its place
    _replace(keys_dir / PRIVATE)


def _undo(keys_dir: Path) -> None:
    for name in _FILES:
        if _next(keys_dir / name).exists():
            _remove(_next(keys_dir / name))


def _replace(path: Path) -> None:
    """Put what lies beside the file in its place, if that was not done before, and overwrite the secret that was there."""
    if not _next(path).exists():
        return
    with contextlib.ExitStack() as stack:
        old = [stack.enter_context(path.open("r+b"))] if path.name != PUBLIC and path.exists() else []
        _next(path).replace(path)
        _sync(path.parent)
        for file in old:
            _overwrite(file.fileno())


def _remove(path: Path) -> None:
    with path.open("r+b") as file:
        path.unlink()
        _sync(path.parent)
        _overwrite(file.fileno())


def _overwrite(file: int) -> None:
    """Write zeroes over a secret. A file system that copies on write, a snapshot or a backup keeps it all the same."""
    os.pwrite(file, bytes(os.fstat(file).st_size), 0)
    os.fsync(file)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _next(path: Path) -> Path:
    return path.with_name(path.name + NEXT)
