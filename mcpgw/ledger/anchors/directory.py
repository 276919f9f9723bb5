"""An append-only directory: one file for each checkpoint, created once and never opened for writing again.

All that is asked of it is that files can be created and read: a directory with `chattr +a`, an NFS or WORM mount will do. So
there is no temporary file, no rename and no lock, and what a power cut left half written stays beside the whole one.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import JsonObject
from mcpgw.ledger.anchors.anchor import AnchorFailed, Head, Proofs, require_no_rollback
from mcpgw.ledger.checkpoint import Verifier
from mcpgw.ledger.kept_elsewhere import SUFFIX, checkpoints_in, file_name

_TIMEOUT_S = 10.0
"""For one file. A mount that hangs keeps one thread waiting, and no call."""
_MAX_TRIES = 100
"""Names to try where half a file has the first one."""

T = TypeVar("T")


class DirectoryAnchor:
    kind = "directory"

    def __init__(self, name: str, directory: Path, verifiers: Sequence[Verifier]) -> None:
        self.name = name
        self.where = str(directory)
        self._directory = directory
        self._verifiers = verifiers
        self._compared = False
        self._threads = CapacityLimiter(1)

    async def accept(self, head: Head, proofs: Proofs) -> JsonObject:
        return {"file": (await self.keep(head)).name}

    async def keep(self, head: Head) -> Path:
        """Return the file that holds the checkpoint, durably.

        Raises:
            AnchorFailed: there is none, or the directory has seen a longer log.
        """
        return await self._in_thread(lambda: self._keep(head))

    async def keep_beside(self, file: Path, suffix: str, content: bytes) -> Path:
        """Return the file that holds `content`, durably, and is called as `file` with that suffix after it.

        Raises:
            AnchorFailed: there is none.
        """
        return await self._in_thread(lambda: _kept(file.parent, file.name, suffix, content))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            with anyio.fail_after(_TIMEOUT_S):
                return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)
        except TimeoutError as error:
            raise AnchorFailed(f"the directory did not answer within {_TIMEOUT_S:.0f} s") from error
        except OSError as error:
            raise AnchorFailed(f"the directory cannot be written: {error.strerror}") from error

    def _keep(self, head: Head) -> Path:
        if not self._compared:  # only a gateway that starts can meet another log than the one it has been writing
            with contextlib.suppress(ConfigError):  # it holds nothing yet
                require_no_rollback(checkpoints_in(self._directory, self._verifiers)[-1], head)
            self._compared = True
        note = head.note.encode()
        return _kept(self._directory, file_name(head.checkpoint.size, note).removesuffix(SUFFIX), SUFFIX, note)


def _kept(directory: Path, stem: str, suffix: str, content: bytes) -> Path:
    """Return a file of that name, or of one with a number before the suffix, that holds the content durably."""
    for number in range(1, _MAX_TRIES + 1):
        path = directory / (f"{stem}{suffix}" if number == 1 else f"{stem}.{number}{suffix}")
        try:
            _create(path, content)
        except FileExistsError:
            if not _holds(path, content):
                continue  # half of it, or another process's: it stays as it is
        _sync(path)  # also what another process has just written
        _sync(directory)
        return path
    raise AnchorFailed(f"{_MAX_TRIES} files called {stem} hold something else")


def _create(path: Path, content: bytes) -> None:
    """Raises: FileExistsError: there is such a file. OSError: it cannot be written; nothing is left if that can be helped."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o444), "wb") as file:
        try:
            file.write(content)
            file.flush()
        except OSError:
            with contextlib.suppress(OSError):  # in an append-only directory it stays
                path.unlink()
            raise


def _holds(path: Path, content: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(content) + 1) == content


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what some network file systems say of a directory: they have no such thing
            raise
    finally:
        os.close(descriptor)
