"""The folder that every fault is tried on: two upstreams whose effects can be counted, callers, and a person who approves."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mcpgw.app import convert
from mcpgw.cli.common import open_folder
from mcpgw.core.model import IdentityKind
from mcpgw.ledger.store import Database
from tests.faults.evidence import effects_in
from tests.faults.history import Effect
from tests.flows.gateway import BOUND_S, Folder, listening, make_folder

DEED_SERVER = Path(__file__).parent / "servers" / "deed_server.py"
CALLERS = 8
"""Subjects that the clients share, so that no caller's refusals are a flood."""

CONFIG = """\
[listen]
port = 0
shutdown_grace = "2s"

[ledger]
origin = "faults.example/ledger"
url = "{url}"

[redaction]
model = "none"

[approval]
approvers = ["group:leads"]
deadline = "30m"
budget = "80ms"

[roles.callers]
members = ["group:callers"]
scopes = ["everything"]

[scopes.everything]
tools = ["*"]

[[rules]]
id = "never"
effect = "deny"
when = "args.deed.startsWith('never')"
reason = "Never."
"""
RISKY = '\n[tools.risky]\nrisk = "high"\n'


@dataclass
class Faults:
    """A folder in front of `web`, which listens and outlives every gateway, and `pipe`, which each gateway starts."""

    folder: Folder
    keys: list[str]
    approver: str
    journals: tuple[Path, Path]

    @property
    def database(self) -> Database:
        return convert.database(open_folder(self.folder.path))

    def effects(self) -> list[Effect]:
        return effects_in(*self.journals)


@contextmanager
def fault_folder(path: Path, url: str = "") -> Iterator[Faults]:
    """Make the folder, with its log at `url` if that is not empty, and keep its listening upstream alive."""
    path.mkdir(parents=True, exist_ok=True)
    web, pipe = path / "web.journal", path / "pipe.journal"
    folder = make_folder(path / "gateway", config=CONFIG.replace("{url}", url))
    keys = [folder.key(f"caller-{number}", "callers", kind=IdentityKind.AGENT) for number in range(CALLERS)]
    approver = folder.key("approver", "leads")
    with listening([sys.executable, str(DEED_SERVER), "http", str(web)]) as port:
        folder.called("web", "http", f"http://127.0.0.1:{port}/mcp", RISKY)
        folder.spawned("pipe", [sys.executable, str(DEED_SERVER), "stdio", str(pipe)], RISKY)
        folder.accept()
        yield Faults(folder, keys, approver, (web, pipe))


@contextmanager
def approving(faults: Faults) -> Iterator["subprocess.Popen[str]"]:
    """Run the approver in a process of its own until the block ends, if nothing else ended it."""
    command = [sys.executable, "-m", "tests.faults.approver", str(faults.folder.path)]
    environ = faults.folder.full_environ(faults.approver)
    process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "READY\n"
        yield process
    finally:
        process.kill()
        process.wait(BOUND_S)
        process.stdout.close()
