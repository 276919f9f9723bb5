"""Where people die step by step: a folder with two people who decide, in front of it a gateway that dies as it is told."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mcpgw.app import convert
from mcpgw.cli.common import open_gateway_store
from mcpgw.core.entries import Verdict
from mcpgw.ports import Approval
from tests.faults.evidence import Evidence
from tests.faults.folder import Faults, fault_folder
from tests.faults.history import Answer, History, check
from tests.faults.process import start, until_serving
from tests.flows.gateway import BOUND_S, Gateway

MORTAL = Path(__file__).parent / "mortal.py"
PEOPLE = ("carol", "dave")
"""Both have to agree."""
STANDS_WITHIN_S = 60.0
"""On PostgreSQL whoever is out of sight is not dead at once, so it takes a while until what they had under way is closed."""
_APPROVAL = """\
[console]
api = true

[approval]
quorum = 2
risk_grants = { max_calls = 3, max_for = "1h" }
"""


@dataclass
class Stage:
    """One folder with its upstream, on which one step after the other is played; whatever was heard of all of them is kept."""

    faults: Faults
    gateway: Gateway
    answers: list[Answer] = field(default_factory=list)

    @property
    def orders(self) -> Path:
        return self.faults.folder.path.parent / "orders"

    def restart(self) -> None:
        """Start a gateway, mortal as all of them, once nothing is ordered any more."""
        self.orders.unlink(missing_ok=True)
        self.gateway = started(self.faults, self.orders)

    def killed(self) -> None:
        """See that the gateway died as it was told, and not in another way."""
        assert self.gateway.process.wait(BOUND_S) == -signal.SIGKILL, "".join(self.gateway.log)

    def effects(self, deed: str) -> int:
        return sum(effect.deed == deed for effect in self.faults.effects())

    async def approvals(self) -> list[Approval]:
        """Return all that there is at the desk, the newest first."""
        async with open_gateway_store(self.faults.folder.path) as store:
            return list(await store.ledger.approvals((), 1_000))

    async def vote(self, person: str, approval_id: str) -> None:
        """Vote beside the gateway, as `mcpgw approvals approve` does."""
        async with open_gateway_store(self.faults.folder.path) as store:
            identity = await convert.authenticators(store.settings).authenticate(self.faults.folder.keys[person])
            await store.desk.vote(approval_id, identity, Verdict.APPROVE)

    def record_is_sound(self) -> None:
        """Everything that was heard, done and recorded so far agrees, and the log verifies."""
        entries = Evidence(self.faults.database).read()
        assert check(History(answers=self.answers, effects=self.faults.effects(), entries=entries)) == []
        assert "✓" in self.faults.folder.cli("verify")


def started(faults: Faults, orders: Path) -> Gateway:
    gateway = start(faults.folder, [str(MORTAL), str(orders), "serve"])
    until_serving(gateway)
    return gateway


@contextmanager
def open_stage(path: Path, url: str) -> Iterator[Stage]:
    """Make the folder, its log at `url` if that is not empty, and start the first gateway."""
    with fault_folder(path, url) as faults:
        config = faults.folder.config.read_text()
        faults.folder.config.write_text(config.replace("[approval]\n", _APPROVAL))
        for person in PEOPLE:
            faults.folder.key(person, "leads")
        stage = Stage(faults, started(faults, faults.folder.path.parent / "orders"))
        try:
            yield stage
        finally:
            stage.gateway.process.kill()
            stage.gateway.process.wait(BOUND_S)
