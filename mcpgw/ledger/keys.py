"""The log's keys on disk: `ledger.key` signs and stays private, `ledger.pub` is given to whoever is to verify."""

import os
import stat
from pathlib import Path

from mcpgw.core.errors import ConfigError
from mcpgw.ledger.checkpoint import InvalidNote, Signer, Verifier

PRIVATE = "ledger.key"
"""`PRIVATE+KEY+name+hash+base64`, one line, mode 0600."""
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
    with os.fdopen(private, "w") as file:
        file.write(signer.skey() + "\n")
        file.flush()
        os.fsync(file.fileno())
    (keys_dir / PUBLIC).write_text(signer.verifier.vkey() + "\n")
    return signer.verifier


def load_signer(keys_dir: Path, origin: str) -> Signer:
    """Read the log's signing key.

    Raises:
        ConfigError: it is missing, unreadable, damaged, readable by others, or belongs to another log.
    """
    path = keys_dir / PRIVATE
    text = _read(path)
    if path.stat().st_mode & stat.S_IRWXO:
        raise ConfigError("the ledger's signing key can be read by everybody", where=str(path), hint=f"chmod 600 {path}")
    try:
        signer = Signer.parse(text)
    except InvalidNote as error:
        raise ConfigError(f"not a signing key: {error}", where=str(path)) from error
    if signer.verifier.name != origin:
        hint = "Set ledger.origin to the key's name, or restore the key that belongs to this log."
        raise ConfigError(f"the key signs for {signer.verifier.name}, not for {origin}", where=str(path), hint=hint)
    return signer


def load_verifiers(keys_dir: Path) -> tuple[Verifier, ...]:
    """Read the public keys that the log's checkpoints are believed by.

    Raises:
        ConfigError: the file is missing, empty or damaged.
    """
    path = keys_dir / PUBLIC
    try:
        verifiers = tuple(Verifier.parse(line) for line in _read(path).splitlines() if line.strip())
    except InvalidNote as error:
        raise ConfigError(f"not a verifier key: {error}", where=str(path)) from error
    if not verifiers:
        raise ConfigError("there is no key in the file, so nothing could be believed", where=str(path))
    return verifiers


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="strict") if path.exists() else _missing(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key file cannot be read: {type(error).__name__}", where=str(path)) from error


def _missing(path: Path) -> str:
    raise ConfigError("there is no such key file", where=str(path), hint="Run `mcpgw init`, or restore it from your backup.")
