"""JSON lines in a file, for a shipper to follow (Filebeat, Splunk's forwarder, Vector)."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from anyio import to_thread

from mcpgw.sinks.config import FileSink
from mcpgw.sinks.cursor import sync_folder
from mcpgw.sinks.outbox import OutgoingEvent
from mcpgw.sinks.receiver import SinkUnavailable

_MODE = 0o640
"""A shipper runs as another user of the same group."""


class FileReceiver:
    """Acknowledges what has reached the disk.

    The file is opened by name for every batch, so a rotation by renaming needs no signal: the next batch makes a new file.
    Rotation by copying and truncating can lose lines between the two, and is not for this.
    """

    def __init__(self, config: FileSink) -> None:
        self._path = config.path

    async def send(self, events: Sequence[OutgoingEvent]) -> None:
        try:
            await to_thread.run_sync(_append, self._path, b"".join(event.body + b"\n" for event in events))
        except OSError as error:
            raise SinkUnavailable(f"{self._path} cannot be written: {error.strerror}") from error


def _append(path: Path, lines: bytes) -> None:
    is_new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)  # `mcpgw siem backfill` may be writing
        _write_all(file, _end_of_torn_line(file) + lines)
        os.fsync(file)
    finally:
        os.close(file)
    if is_new:
        sync_folder(path.parent)


def _end_of_torn_line(file: int) -> bytes:
    """A writer that died, or a full disk, leaves part of a line: what follows must not be glued to it."""
    size = os.fstat(file).st_size
    return b"\n" if size and os.pread(file, 1, size - 1) != b"\n" else b""


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
