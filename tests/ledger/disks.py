"""Disks that fail: one that refuses on command, and one whose power can be cut, which forgets what was not synced."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from mcpgw.ledger.ids import new_id


class Disk(apsw.VFS):
    """SQLite's own file system, with `before` asked ahead of each operation that could fail."""

    def __init__(self, *, for_all: bool = False) -> None:
        """`for_all`: every connection of this process that names no other disk is on this one."""
        self.name = f"disk-{new_id()}"
        self.below = apsw.vfs_names()[0]
        super().__init__(self.name, self.below, for_all)

    def before(self, operation: str, name: str) -> None:
        """Raise to let the operation fail."""

    def read(self, data: bytes) -> bytes:
        """Return what is to be seen instead of what was read."""
        return data

    def changed(self, name: str, change: "Change") -> None:
        """Hear what was done to the file, which is not durable before it is synced."""

    def synced(self, name: str) -> None:
        """Hear that what is in the file is durable now."""

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> "File":
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self.before("open", path)
        return File(self, name, path, flags)

    def xDelete(self, name: str, sync_dir: bool) -> None:
        self.before("delete", name)
        super().xDelete(name, sync_dir)


class File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: apsw.URIFilename | str | None, path: str, flags: list[int]) -> None:
        self._disk, self._path = disk, path
        super().__init__(disk.below, name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        self._disk.before("read", self._path)
        return self._disk.read(super().xRead(amount, offset))

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.before("write", self._path)
        super().xWrite(data, offset)
        self._disk.changed(self._path, Change(offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        self._disk.before("truncate", self._path)
        super().xTruncate(size)
        self._disk.changed(self._path, Change(size))

    def xSync(self, flags: int) -> None:
        self._disk.before("sync", self._path)
        super().xSync(flags)
        self._disk.synced(self._path)


class FailingDisk(Disk):
    """Raises `error` for the operations in `failing`."""

    failing: frozenset[str] = frozenset()
    error: type[apsw.Error] = apsw.FullError
    garbled = False
    """Reads succeed, and bring something else."""

    def before(self, operation: str, name: str) -> None:
        if operation in self.failing:
            raise self.error("the disk fails")

    def read(self, data: bytes) -> bytes:
        return bytes(byte ^ 0xA5 for byte in data) if self.garbled else data


class PowerCutDisk(Disk):
    """Knows what is durable of each file and what is not synced yet; goes dark at the `left`-th operation from now.

    After the cut the medium holds what was synced. Of what was not it holds nothing or, if asked to be `cruel`, any part: each
    write by chance, cut off at a sector by chance, as drives do that write in an order of their own.
    """

    SECTOR_BYTES = 512

    def __init__(self) -> None:
        super().__init__()
        self.left = 10**9
        self.last = ("", "")
        """The operation that the power cut hit, and its file."""
        self._durable: dict[str, bytearray] = {}
        self._unsynced: dict[str, list[Change]] = {}

    def before(self, operation: str, name: str) -> None:
        self.left -= 1
        if self.left <= 0:
            self.last = self.last if self.last[0] else (operation, Path(name).name)
            raise apsw.IOError("the power is off")
        if operation == "open" and name not in self._durable:
            self._durable[name] = bytearray(Path(name).read_bytes() if Path(name).exists() else b"")
        if operation == "delete":
            self._durable.pop(name, None)
            self._unsynced.pop(name, None)

    def changed(self, name: str, change: "Change") -> None:
        self._unsynced.setdefault(name, []).append(change)

    def synced(self, name: str) -> None:
        for change in self._unsynced.pop(name, ()):
            change.apply(self._durable[name])

    def after_the_cut(self, folder: Path, cruel: random.Random | None = None) -> None:
        """Write what is on the medium into another folder."""
        for name, durable in self._durable.items():
            for change in self._unsynced.get(name, ()) if cruel else ():
                if cruel and cruel.random() < 0.5:
                    change.cut_off(self.SECTOR_BYTES * cruel.randrange(1, 10)).apply(durable)
            (folder / Path(name).name).write_bytes(durable)


@dataclass(frozen=True, slots=True)
class Change:
    """A write at that place or, without data, a truncation to that size."""

    at: int
    data: bytes | None = None

    def apply(self, content: bytearray) -> None:
        if self.data is None:
            del content[self.at :]
            return
        content.extend(bytes(max(0, self.at - len(content))))
        content[self.at : self.at + len(self.data)] = self.data

    def cut_off(self, size: int) -> "Change":
        return self if self.data is None else Change(self.at, self.data[:size])


@contextmanager
def mounted(disk: Disk) -> Iterator[Disk]:
    try:
        yield disk
    finally:
        disk.unregister()
