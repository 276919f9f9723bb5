"""The log's keys on disk. `ledger.pub` is given to whoever is to verify; the other files stay private.

`ledger.key` (Ed25519) signs every commit. `ledger-pq.key` (ML-DSA-44) signs, beside it, the checkpoints that leave the gateway.
"""

import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

from mcpgw.core.errors import ConfigError
from mcpgw.ledger.checkpoint import EVERY_SIZE, InvalidNote, NoteVerifier, Signer, Verifier, open_checkpoint
from mcpgw.ledger.post_quantum import QuantumSigner, QuantumVerifier, is_available

PRIVATE = "ledger.key"
"""`PRIVATE+KEY+name+hash+base64`, one line, mode 0600."""
QUANTUM = "ledger-pq.key"
"""The same for ML-DSA-44; not there where `cryptography` cannot make one."""
PUBLIC = "ledger.pub"
"""Verifier keys, `name+hash+base64`, one a line, the oldest first. After a rotation a line goes on with the sizes of the
checkpoints that its key is believed for: ` from=SIZE`, ` until=SIZE`, both included."""
_LINE = re.compile(r"(?P<vkey>\S+)( from=(?P<first>[1-9][0-9]{0,17}))?( until=(?P<last>[1-9][0-9]{0,17}))?")


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


@dataclass(frozen=True, slots=True)
class LogKeys:
    """What a log is written with."""

    signer: Signer
    known: frozenset[bytes]
    """Ids of all keys that ever signed in the log's name, retired ones too."""


def load_keys(keys_dir: Path, origin: str) -> LogKeys:
    """Read the log's signing key and make sure that whoever verifies will believe what it signs.

    Raises:
        ConfigError: as `load_signer` and `load_verifiers`; or the key's public line is missing, or says that it is retired.
    """
    signer, verifiers = load_signer(keys_dir, origin), load_verifiers(keys_dir)
    line = next((one for one in verifiers if one.key == signer.verifier.key), None)
    where = str(keys_dir / PUBLIC)
    if line is None:
        hint = "Put the two files of one backup, or of the host where the key was rotated, into this folder."
        raise ConfigError(f"the signing key's public line is not in it: {signer.verifier.vkey()}", where=where, hint=hint)
    if line.sizes.stop != EVERY_SIZE.stop:
        hint = "Copy the newer `ledger.key` here from where the key was rotated."
        what = f"the signing key was retired with the commit over {line.sizes.stop - 1} records"
        raise ConfigError(what, where=str(keys_dir / PRIVATE), hint=hint)
    return LogKeys(signer, frozenset(one.key_id for one in verifiers if one.name == origin))


def load_signer(keys_dir: Path, origin: str) -> Signer:
    """Read the log's signing key.

    Raises:
        ConfigError: it is missing, unreadable, damaged, readable by others, or belongs to another log.
    """
    return read_signer(keys_dir / PRIVATE, origin)


def read_signer(path: Path, origin: str) -> Signer:
    """Read a file with a signing key of the log. Raises as `load_signer`."""
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


class PublicKeys(Sequence[Verifier]):
    """The public keys of a folder, as `load_verifiers` reads them: read anew when the file is another one.

    For whoever believes the log's commits for long, and has to follow when its key is rotated. Reading raises `ConfigError`.
    """

    def __init__(self, keys_dir: Path) -> None:
        """Raises: ConfigError: as `load_verifiers`."""
        self._keys_dir = keys_dir
        self._seen = (0, 0)
        self._verifiers: tuple[Verifier, ...] = ()
        self._read()

    def _read(self) -> tuple[Verifier, ...]:
        try:
            found = (self._keys_dir / PUBLIC).stat()
            seen = (found.st_ino, found.st_mtime_ns)
        except OSError:
            seen = (0, 0)  # reading it says what is wrong
        if seen != self._seen or not self._verifiers:
            self._verifiers, self._seen = load_verifiers(self._keys_dir), seen
        return self._verifiers

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, index: int) -> Verifier: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Verifier]: ...

    def __getitem__(self, index: int | slice) -> Verifier | Sequence[Verifier]:
        return self._read()[index]

    def __iter__(self) -> Iterator[Verifier]:
        return iter(self._read())


def read_verifiers(path: Path) -> tuple[Verifier | QuantumVerifier, ...]:
    """Read a file of public keys: all that a checkpoint which left the gateway may be signed by.

    Raises:
        ConfigError: the file is missing, empty or damaged, or two keys would be believed for the same checkpoints.
    """
    try:
        verifiers = tuple(parse_line(line) for line in _read(path).splitlines() if line.strip())
    except InvalidNote as error:
        raise ConfigError(f"not a verifier key: {error}", where=str(path)) from error
    if not verifiers:
        raise ConfigError("there is no key in the file, so nothing could be believed", where=str(path))
    require_order(verifiers, str(path))
    return verifiers


def require_order(verifiers: Sequence[Verifier | QuantumVerifier], where: str) -> None:
    """Raises `ConfigError` where two keys of one log and kind would be believed for more than the checkpoint that both sign."""
    newest: dict[tuple[str, type], Verifier | QuantumVerifier] = {}
    for one in verifiers:
        before = newest.get((one.name, type(one)))
        if before is not None and one.sizes.start < before.sizes.stop - 1:
            hint = "As in the newest ledger.pub, a retired key's line ends with until=SIZE, the next one's with from=SIZE."
            both = f"{before.key_id.hex()} and {one.key_id.hex()}"
            what = f"two keys of {one.name} would be believed for the same checkpoints: {both}"
            raise ConfigError(what, where=where, hint=hint)
        newest[one.name, type(one)] = one


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
    signer = read_quantum_signer(path)
    public = [one for one in read_verifiers(keys_dir / PUBLIC) if one.key_id == signer.verifier.key_id]
    if any(checkpoint.size not in one.sizes for one in public):
        return note  # the key was rotated while the checkpoint was on its way: nobody would believe this one for it
    return note + signer.sign(checkpoint, int(time.time()))


def read_quantum_signer(path: Path) -> QuantumSigner:
    """Read a file with an ML-DSA-44 key.

    Raises:
        ConfigError: it is missing, unreadable, damaged, or readable by others.
    """
    try:
        return QuantumSigner.parse(_private(path))
    except InvalidNote as error:
        raise ConfigError(f"not a signing key: {error}", where=str(path)) from error


def public_line(verifier: Verifier | QuantumVerifier) -> str:
    """Return a public key as a line of `PUBLIC`, without newline."""
    begins = f" from={verifier.sizes.start}" if verifier.sizes.start else ""
    ends = f" until={verifier.sizes.stop - 1}" if verifier.sizes.stop != EVERY_SIZE.stop else ""
    return f"{verifier.vkey()}{begins}{ends}"


def parse_line(line: str) -> Verifier | QuantumVerifier:
    """Read what `public_line` wrote; the bare key, as other tools write it, is believed for every checkpoint.

    Raises:
        InvalidNote: it is no such line.
    """
    found = _LINE.fullmatch(line.strip())
    if found is None:
        raise InvalidNote("a line is name+hash+base64, and after a rotation from=SIZE, until=SIZE or both")
    sizes = range(int(found["first"] or 0), int(found["last"]) + 1 if found["last"] else EVERY_SIZE.stop)
    if not sizes:
        raise InvalidNote(f"no checkpoint is from {found['first']} until {found['last']}")
    return replace(_key(found["vkey"]), sizes=sizes)


def _key(vkey: str) -> Verifier | QuantumVerifier:
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
