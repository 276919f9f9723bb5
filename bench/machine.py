"""What the figures were measured on. They mean little elsewhere; ratios within one run mean more."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

from bench.report import percentile

_WRITES = 200
_BLOCK = b"\0" * 4096
"""One page of SQLite's write-ahead log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    cores: int
    cpu: str
    python: str
    system: str
    load: float
    """Processes that wanted a core in the last minute, before we came."""
    fdatasync_p50_ms: float
    fdatasync_p99_ms: float

    def line(self) -> str:
        return (
            f"{self.cores} cores ({self.cpu}), load {self.load:.1f} before the run, Python {self.python}, {self.system}; "
            f"4 KB append and fdatasync: p50 {self.fdatasync_p50_ms:.2f} ms, p99 {self.fdatasync_p99_ms:.2f} ms"
        )


def machine(folder: Path) -> Machine:
    """Look at this machine, and at the disk below the folder."""
    synced = sorted(sync_times(folder))
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu=_cpu(),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        load=round(os.getloadavg()[0], 2),
        fdatasync_p50_ms=percentile(synced, 0.5) * 1e3,
        fdatasync_p99_ms=percentile(synced, 0.99) * 1e3,
    )


def sync_times(folder: Path, count: int = _WRITES) -> list[float]:
    """Return the seconds that each of so many appends of 4 KB took to be durable."""
    taken: list[float] = []
    path = folder / "sync.probe"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        for _ in range(count):
            began = time.perf_counter()
            os.write(descriptor, _BLOCK)
            os.fdatasync(descriptor)
            taken.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return taken


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()
