"""The log's keys on disk. `ledger.pub` is given to whoever is to verify; the other files stay private.

`ledger.key` (Ed25519) signs every commit. `ledger-pq.key` (ML-DSA-44) signs, beside it, the checkpoints that leave the gateway.
"""

import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from mcpgw.core.errors import ConfigError
from mcpgw.ledger.checkpoint import InvalidNote, NoteVerifier, Signer, Verifier, open_checkpoint
from mcpgw.ledger.post_quantum import QuantumSigner, QuantumVerifier, is_available

PRIVATE = "ledger.key"
"""`PRIVATE+KEY+name+hash+base64`, one line, mode 0600."""
QUANTUM = "ledger-pq.key"
"""The same for ML-DSA-44; not there where `cryptography` cannot make one."""
PUBLIC = "ledger.pub"
"""Verifier keys, `name+hash+base64`, one a line; a retired key keeps its line, for what it signed stays signed."""


def create_keys(keys_dir: Path, origin: str) -> Verifier:
    """Make a fresh key pair for a log and write both files. An existing key is never overwritten.

    Raises:
        ConfigError: there is a key already, or the origin cannot name a key.
    """
    try:
        signer = Signer.generate(origin)
    except InvalidNote as error:
        raise ConfigError(f"the ledger's origin cannot name a key: {error}", where="ledger.origin") from error
    keys_dir.mkdir(parents=True, exist_ok=True)
    try:
        private = os.open(keys_dir / PRIVATE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        hint = "Keep it: what it signed can be verified with it alone."
        raise ConfigError("there is a ledger key already", where=str(keys_dir / PRIVATE), hint=hint) from error
    _fill(private, signer.skey())
    lines = [signer.verifier.vkey()]
    if is_available():
        quantum = QuantumSigner.generate(origin)
        _fill(os.open(keys_dir / QUANTUM, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), quantum.skey())
        lines.append(quantum.verifier.vkey())
    (keys_dir / PUBLIC).write_text("".join(f"{line}\n" for line in lines))
    return signer.verifier


def _fill(file: int, key: str) -> None:
    with os.fdopen(file, "w") as private:
        private.write(key + "\n")
        private.flush()
        os.fsync(private.fileno())


def load_signer(keys_dir: Path, origin: str) -> Signer:
    """Read the log's signing key.

    Raises:
        ConfigError: it is missing, unreadable, damaged, readable by others, or belongs to another log.
    """
    path = keys_dir / PRIVATE
    text = _private(path)
    try:
        signer = Signer.parse(text)
    except InvalidNote as error:
        raise ConfigError(f"not a signing key: {error}", where=str(path)) from error
    if signer.verifier.name != origin:
        hint = "Set ledger.origin to the key's name, or restore the key that belongs to this log."
        raise ConfigError(f"the key signs for {signer.verifier.name}, not for {origin}", where=str(path), hint=hint)
    return signer


def load_verifiers(keys_dir: Path) -> tuple[Verifier, ...]:
    """Read the public keys that the log's commits are believed by.

    Raises:
        ConfigError: the file is missing, empty or damaged.
    """
    path = keys_dir / PUBLIC
    verifiers = tuple(one for one in read_verifiers(path) if isinstance(one, Verifier))
    if not verifiers:
        raise ConfigError("there is no Ed25519 key in the file, so no commit could be believed", where=str(path))
    return verifiers


def read_verifiers(path: Path) -> tuple[Verifier | QuantumVerifier, ...]:
    """Read a file of public keys: all that a checkpoint which left the gateway may be signed by.

    Raises:
        ConfigError: the file is missing, empty or damaged.
    """
    try:
        verifiers = tuple(_verifier(line) for line in _read(path).splitlines() if line.strip())
    except InvalidNote as error:
        raise ConfigError(f"not a verifier key: {error}", where=str(path)) from error
    if not verifiers:
        raise ConfigError("there is no key in the file, so nothing could be believed", where=str(path))
    return verifiers


def countersigned(note: str, keys_dir: Path, verifiers: Sequence[NoteVerifier]) -> str:
    """Return a checkpoint that is about to leave with an ML-DSA-44 signature under it, if the folder has a key for one.

    Raises:
        ConfigError: the key is damaged, or readable by others.
        InvalidNote: the checkpoint is not one that the verifiers signed, so it is not signed here either.
    """
    checkpoint = open_checkpoint(note, verifiers)
    path = keys_dir / QUANTUM
    if not path.exists():
        return note
    try:
        signer = QuantumSigner.parse(_private(path))
    except InvalidNote as error:
        raise ConfigError(f"not a signing key: {error}", where=str(path)) from error
    return note + signer.sign(checkpoint, int(time.time()))


def _verifier(vkey: str) -> Verifier | QuantumVerifier:
    try:
        return QuantumVerifier.parse(vkey)
    except InvalidNote:
        return Verifier.parse(vkey)


def _private(path: Path) -> str:
    text = _read(path)
    if path.stat().st_mode & stat.S_IRWXO:
        raise ConfigError("the ledger's signing key can be read by everybody", where=str(path), hint=f"chmod 600 {path}")
    return text


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="strict") if path.exists() else _missing(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key file cannot be read: {type(error).__name__}", where=str(path)) from error


def _missing(path: Path) -> str:
    raise ConfigError("there is no such key file", where=str(path), hint="Run `mcpgw init`, or restore it from your backup.")
