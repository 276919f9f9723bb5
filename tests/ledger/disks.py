"""Disks that fail: one that refuses on command, and one whose power can be cut, which forgets what was not synced."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from mcpgw.ledger.ids import new_id


class Disk(apsw.VFS):
    """SQLite's own file system, with `before` asked ahead of each operation that could fail."""

    def __init__(self) -> None:
        self.name = f"disk-{new_id()}"
        super().__init__(self.name, "")

    def before(self, operation: str, name: str) -> None:
        """Raise to let the operation fail."""

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
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.before("write", self._path)
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self._disk.before("truncate", self._path)
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self._disk.before("sync", self._path)
        super().xSync(flags)
        self._disk.synced(self._path)


class FailingDisk(Disk):
    """Raises `error` for the operations in `failing`."""

    failing: frozenset[str] = frozenset()
    error: type[apsw.Error] = apsw.FullError

    def before(self, operation: str, name: str) -> None:
        if operation in self.failing:
            raise self.error("the disk fails")


class PowerCutDisk(Disk):
    """Keeps what each file held when it was last synced; goes dark at the `left`-th operation from now."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 10**9
        self._durable: dict[str, bytes] = {}

    def before(self, operation: str, name: str) -> None:
        self.left -= 1
        if self.left <= 0:
            raise apsw.IOError("the power is off")
        if operation == "delete":
            self._durable.pop(name, None)

    def synced(self, name: str) -> None:
        self._durable[name] = Path(name).read_bytes()

    def after_the_cut(self, folder: Path) -> None:
        """Write what is on the medium into another folder: nothing that was not synced."""
        for name, data in self._durable.items():
            (folder / Path(name).name).write_bytes(data)


@contextmanager
def mounted(disk: Disk) -> Iterator[Disk]:
    try:
        yield disk
    finally:
        disk.unregister()
