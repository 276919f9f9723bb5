"""Who is alive. On one machine, one locked file tells it for each process that writes to the log.

The kernel drops the lock when the process ends, however it ends, so a lock that can be had belongs to nobody. A process id
alone would not do: ids are reused, and containers that share a folder do not share them.
"""

import fcntl
import os
import time
from collections.abc import Set
from pathlib import Path


class Node:
    """This process, for as long as it holds its lock."""

    def __init__(self, folder: Path, node: str) -> None:
        """Take the lock of that id. The caller makes the id known only afterwards: no one can find it dead before.

        Raises:
            OSError: the folder is not writable.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / node
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # may wait a moment for a neighbour that is just asking

    def release(self) -> None:
        """Stop being alive."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def is_alive(folder: Path, node: str) -> bool:
    """Tell whether the process that made this node still runs on this machine. Removes the file of a dead one."""
    path = folder / node
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:  # another user's process, for one: it may live, and it is not ours to bury
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(file)


class OutOfSight:
    """Nodes that could not be seen of late, and for how long."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: dict[str, float] = {}

    def dead(self, missing: Set[str]) -> Set[str]:
        """Return those that were missing at every look for as long as they may be, this one included."""
        now = time.monotonic()
        self._since = {node: self._since.get(node, now) for node in missing}
        return {node for node, since in self._since.items() if now - since >= self._patience_s}
