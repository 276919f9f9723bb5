"""The store of API keys: one JSON file of hashes, shared by every gateway process and the command line."""

import fcntl
import hmac
import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mcpgw.core.canonical import digest
from mcpgw.core.entries import Standing
from mcpgw.core.errors import AuthenticationError, ConfigError
from mcpgw.core.model import Identity
from mcpgw.core.strict_json import loads
from mcpgw.identity import key_text
from mcpgw.identity.key_record import KeyRecord, from_json, revoked, to_json

logger = logging.getLogger(__name__)

_VERSION = 1
"""Of the file. A reader refuses every other; a change of shape gets a new number and a reader for both."""

_MAX_BYTES = 16 * 1024 * 1024  # about 40,000 keys; beyond it something else writes to our file

_Stamp = tuple[int, int, int, int, int]

Told = Callable[[KeyRecord, Standing, Standing], object]
"""Is told of a key, how the file stood and how it stands with it, while no other process may change it."""


class ApiKeys:
    """Identities behind `mcpgw_…` keys.

    Every lookup looks at the file's stamp, so a key that any process creates or revokes counts from the next lookup on in
    every running gateway. A file that is missing holds no keys; one that is damaged, or that others may write to, lets nobody
    in.
    """

    def __init__(self, path: Path, *, method: str = "api_key", clock: Callable[[], float] = time.time) -> None:
        """Use the file at `path`, which need not exist yet. `method` is what identities say: `api_key` or `stdio_key`."""
        self._path = path
        self._method = method
        self._clock = clock
        self._stamp: _Stamp | None = None  # None until the file was read once
        self._records: Mapping[str, KeyRecord] = {}

    async def authenticate(self, credential: str) -> Identity:
        """Return the identity behind the key. One `stat` of a local file per call; it is read again only after a change.

        Raises:
            AuthenticationError: malformed, unknown, revoked or expired; or the store cannot be read.
        """
        key = key_text.parse(credential)
        try:
            record = self._current().get(key.id)
        except ConfigError as error:
            logger.error("no API key is accepted: %s", error)
            raise AuthenticationError(
                "The gateway cannot read its API keys, so it accepts none. Its administrator finds out why with `mcpgw check`."
            ) from error
        # One message for an unknown id and a wrong secret. Only the holder of the secret learns of expiry and revocation.
        if record is None or not hmac.compare_digest(record.secret_sha256, key.hash):
            raise AuthenticationError("The API key is not known to this gateway.")
        if record.revoked:
            raise AuthenticationError(
                f"The API key {record.id} was revoked.", hint="Ask the gateway's administrator for a new one."
            )
        if record.expired(self._clock()):
            raise AuthenticationError(
                f"The API key {record.id} has expired.", hint="Ask the gateway's administrator for a new one."
            )
        return record.identity(self._method)

    def records(self) -> tuple[KeyRecord, ...]:
        """Return every key, revoked ones too, the oldest first.

        Raises:
            ConfigError: the file is damaged, too large, or others may write to it.
        """
        return tuple(sorted(self._current().values(), key=lambda record: (record.created, record.id)))

    def standing(self) -> Standing:
        """Return how the file stands, for the record. Raises as `records`."""
        return _standing(self._current())

    @contextmanager
    def steady(self) -> Iterator[Sequence[Standing]]:
        """Yield how the file stands, and keep everybody from changing it meanwhile; nothing while somebody is changing it.

        Raises as `records`.
        """
        if not os.access(self._path.parent, os.W_OK):
            yield [self.standing()]  # mounted for reading alone: nobody changes it from here, and there is no place for a lock
            return
        with self._locked(fcntl.LOCK_SH | fcntl.LOCK_NB) as is_ours:
            yield [self.standing()] if is_ours else []

    def add(self, record: KeyRecord, before_saving: Told = lambda record, before, after: None) -> None:
        """Store a new key. It opens the gateway when this returns; not if `before_saving` raises.

        Raises:
            ConfigError: the file cannot be read or written, or the id is taken.
        """
        with self._changing() as records:
            if record.id in records:
                raise ConfigError(f"a key with the id {record.id} exists already", where=str(self._path))
            after = {**records, record.id: record}
            before_saving(record, _standing(records), _standing(after))
            self._save(after)

    def revoke(self, key_id: str, after_saving: Told = lambda record, before, after: None) -> KeyRecord:
        """Revoke a key for good and return its record; revoking it again changes nothing. It is refused when this returns.

        Raises:
            ConfigError: no key has this id, or the file cannot be read or written.
        """
        with self._changing() as records:
            if key_id not in records:
                raise ConfigError(f"there is no key {key_id}", where=str(self._path), hint="See `mcpgw keys list`.")
            after = {**records, key_id: revoked(records[key_id], int(self._clock()))}
            self._save(after)
            after_saving(after[key_id], _standing(records), _standing(after))
            return after[key_id]

    def _current(self) -> Mapping[str, KeyRecord]:
        stamp = _stamp(self._path)
        if stamp is None:
            self._stamp, self._records = None, {}
        elif stamp != self._stamp:
            # The stamp is taken before reading: a change in between makes the next lookup read once more.
            self._stamp, self._records = None, {}
            self._records, self._stamp = _read(self._path), stamp
        return self._records

    @contextmanager
    def _changing(self) -> Iterator[Mapping[str, KeyRecord]]:
        """Yield the records under the lock of all processes."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        with self._locked(fcntl.LOCK_EX):
            yield {} if _stamp(self._path) is None else _read(self._path)

    @contextmanager
    def _locked(self, how: int) -> Iterator[bool]:
        """Hold the lock of all processes; yield False where it was not to be waited for, and another process has it."""
        try:
            lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            try:
                fcntl.flock(lock, how)  # the kernel frees it if the holder dies
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(lock)

    def _save(self, records: Mapping[str, KeyRecord]) -> None:
        try:
            _replace(self._path, records)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ConfigError:
        return ConfigError(f"cannot be written: {error.strerror}", where=str(self._path))


def _standing(records: Mapping[str, KeyRecord]) -> Standing:
    """By the key's id. A key is random, so that nobody guesses it from the hash of its hash."""
    return Standing.of("api_keys", {record.id: digest(to_json(record)) for record in records.values()})


def _stamp(path: Path) -> _Stamp | None:
    """Return what changes whenever the file does, or None where there is none."""
    try:
        info = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return (info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_mode)


def _read(path: Path) -> dict[str, KeyRecord]:
    try:
        with path.open("rb") as file:
            _refuse_writable_by_others(path, os.fstat(file.fileno()))
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"is larger than {_MAX_BYTES} bytes", where=str(path))
    try:
        document = loads(data)
        if not isinstance(document, dict) or document.get("version") != _VERSION or not isinstance(document.get("keys"), list):
            raise ConfigError(f"is not a key file of version {_VERSION}")
        records = [from_json(raw) for raw in document["keys"]]
    except (ValueError, ConfigError) as error:
        hint = "Restore the file from a backup; keys are refused until then."
        raise ConfigError(f"the key file is damaged: {error}", where=str(path), hint=hint) from error
    by_id = {record.id: record for record in records}
    if len(by_id) != len(records):
        raise ConfigError("the key file is damaged: two keys share an id", where=str(path))
    return by_id


def _refuse_writable_by_others(path: Path, info: os.stat_result) -> None:
    """Hashes may be read without harm; whoever can write them can let anybody in."""
    if stat.S_IMODE(info.st_mode) & 0o022:
        raise ConfigError("others than the owner may write to it", where=str(path), hint=f"Run `chmod 600 {path}`.")


def _replace(path: Path, records: Mapping[str, KeyRecord]) -> None:
    """Write all records durably; a reader sees the old file or the new one, never a part."""
    document = {"version": _VERSION, "keys": [to_json(record) for record in records.values()]}
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, ensure_ascii=False, indent=1)
            file.flush()
            _advance_mtime(path, file.fileno())
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:  # whatever it was goes on its way; only the draft must not stay behind
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)  # the rename itself must survive a power cut: a revocation must not come undone
    finally:
        os.close(directory)


def _advance_mtime(path: Path, descriptor: int) -> None:
    """Make the new file's time differ from the old one's: two changes can fall into one tick of a file system's clock, and
    inode numbers are used again."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    now = max(time.time_ns(), before + 1)
    os.utime(descriptor, ns=(now, now))
