"""A bank with a past: real calls through the real corridor, recorded in a real ledger, by policies with everything in them."""

import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.lowlevel
import apsw
from anyio.from_thread import BlockingPortal
from click.testing import Result
from typer.testing import CliRunner

from mcpgw.app import convert, own, standings
from mcpgw.app.asking import open_corridor
from mcpgw.app.rejudging import Rejudging, Report
from mcpgw.approval import Desk
from mcpgw.catalog.registry import Registry
from mcpgw.cli.common import open_folder, open_ledger
from mcpgw.cli.main import build
from mcpgw.core.entries import Verdict
from mcpgw.core.model import (
    Answer,
    CleanNotice,
    Held,
    Identity,
    IdentityKind,
    JsonObject,
    Origin,
    Patience,
    RawNotice,
    Request,
    TargetKind,
    Waiting,
)
from mcpgw.ledger import Ledger
from mcpgw.ledger.recorded import RecordedCall, calls
from mcpgw.ledger.sqlite import FILE
from mcpgw.ledger.store import Query
from mcpgw.pipeline import Corridor
from mcpgw.policy import UNSUITABLE
from mcpgw.settings import Settings
from tests.console.bank import EXAMPLE, TOKEN
from tests.flows.gateway import Folder, make_folder

CONFIG = """\
[ledger]
origin = "bank.example/ledger"

[redaction]
model = "none"

[approval]
approvers = ["group:leads"]
deadline = "30m"
risk_grants = { max_calls = 5, max_for = "8h" }

[roles.tellers]
members = ["group:tellers", "claim:dept=fraud"]
scopes = ["bank:read", "bank:move-money", "bank:sql"]

[roles.auditors]
members = ["group:auditors"]
scopes = ["bank:read"]

[scopes."bank:read"]
by_name = true
[scopes."bank:move-money"]
by_name = true
[scopes."bank:sql"]
by_name = true

[[rules]]
id = "large"
effect = "hold"
tools = ["bank__transfer"]
when = "args.amount > 5000"
grants = { max_calls = 5, max_for = "8h" }

[[rules]]
id = "huge"
effect = "deny"
tools = ["bank__transfer"]
when = "args.amount > 100000"

[[rules]]
id = "small-is-fine"
effect = "allow"
tools = ["bank__transfer"]
when = "args.amount <= 100"
lifts_risk = true

[[rules]]
id = "urgent"
effect = "deny"
when = "has(args.memo) && args.memo.contains('urgent')"

[[rules]]
id = "agents-at-night"
effect = "deny"
roles = ["kind:agent"]
when = "now.getHours('UTC') < 1 || identity.claims.dept == 'x'"

[[rules]]
id = "no-writes"
effect = "deny"
tools = ["bank__query"]
sql = { argument = "sql", dialect = "sqlite", allow_only = ["select"] }

[[rules]]
id = "look"
effect = "deny"
mode = "observe"
when = "args.size() > 1"
"""
ORIGIN = Origin(transport="http", protocol_version="2026-07-28", session="s1")
CAROL = Identity(
    subject="carol", issuer="https://idp.example", kind=IdentityKind.HUMAN, method="jwt", groups=frozenset({"leads"})
)


def person(subject: str = "alice", *groups: str, **more: Any) -> Identity:
    known: dict[str, Any] = {"kind": IdentityKind.HUMAN, "method": "jwt", "groups": frozenset(groups or ("tellers",))}
    return Identity(subject=subject, issuer="https://idp.example", **{**known, **more})


@dataclass
class StillThere:
    """Implements `ports.Peer`: somebody whose credential stays good, and who wants no notices."""

    caller: Identity
    in_rounds: bool = False

    async def answers(self, questions: Mapping[str, CleanNotice]) -> Mapping[str, JsonObject]:
        raise AssertionError(questions)

    async def identity(self) -> Identity:
        await anyio.lowlevel.checkpoint()
        return self.caller

    def wants(self, notice: RawNotice) -> bool:
        return False

    async def notify(self, notice: CleanNotice) -> None:
        raise AssertionError(notice)

    async def waiting(self, waiting: Waiting, message: str, elapsed_s: float) -> None:
        await anyio.lowlevel.checkpoint()


@dataclass
class Past:
    """The folder of a gateway, and what happened to it."""

    folder: Folder
    candidate: Path = field(init=False)

    def __post_init__(self) -> None:
        self.candidate = self.folder.path / "candidate.toml"

    @property
    def settings(self) -> Settings:
        return open_folder(self.folder.path)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Present"]:
        settings = self.settings
        async with open_ledger(settings) as ledger:
            registry = Registry(settings.catalog_dir)
            policy = standings.of_policy(settings, convert.policy(settings).policy_hash)
            await ledger.record_changes(policy, standings.of_catalog(registry.standing, settings.catalog_dir))
            desk = convert.desk(settings, ledger)
            async with open_corridor(settings, ledger, desk) as corridor:
                yield Present(ledger, desk, corridor)

    def size(self) -> int:
        with closing(convert.database(self.settings).connect_read_only()) as store:
            return store.size()

    def replayed(self, config: str = "", start: int = 0, catalog: Sequence[Path] = ()) -> Report:
        """Judge again what was recorded from there on; without another policy by the one that stands."""
        self.candidate.write_text(config or self.folder.config.read_text())
        settings = self.settings
        rejudging = Rejudging(
            convert.candidate(settings, self.candidate),
            own=[offer.target for offer in own.offers(settings)],
            catalogs=[Registry(one) for one in catalog],
        )
        with closing(convert.database(settings).connect_read_only()) as store:
            return rejudging.take(calls(store, start, store.size(), UNSUITABLE))

    def told(self, start: int = 0) -> list[RecordedCall]:
        with closing(convert.database(self.settings).connect_read_only()) as store:
            return [one for one in calls(store, start, store.size(), UNSUITABLE) if isinstance(one, RecordedCall)]

    def judged_calls(self, start: int = 0) -> set[str]:
        """Return the ids of calls of which a record has a decision."""
        with closing(convert.database(self.settings).connect_read_only()) as store:
            found = store.search(Query(kind="call.*", after_seq=start - 1, limit=100_000))
            leaves = [json.loads(record.leaf) for record in found]
        return {leaf["call"] for leaf in leaves if leaf.get("decision", {}).get("policy")}


@dataclass
class Present:
    ledger: Ledger
    desk: Desk
    corridor: Corridor

    async def call(
        self, caller: Identity, tool: str, arguments: dict[str, Any], *, resumes: str = "", previews: str = ""
    ) -> Answer:
        """Call as a client would that does not wait for people. The bank itself is not there: what is allowed fails."""
        request = Request(
            identity=caller,
            kind=TargetKind.TOOL,
            name=tool,
            arguments=arguments,
            origin=ORIGIN,
            patience=Patience(budget_s=0.0),
            resumes=resumes,
            previews=previews,
        )
        return await self.corridor.walk(request, StillThere(caller))

    async def decide(self, held: Answer, verdict: Verdict = Verdict.APPROVE) -> None:
        assert isinstance(held, Held)
        await self.desk.vote(held.approval_id, CAROL, verdict)


ALICE = person()


@dataclass
class Story:
    """Calls made for one test, from a place in the log on."""

    past: Past
    present: Present
    portal: BlockingPortal
    start: int

    def call(self, tool: str, caller: Identity = ALICE, **arguments: Any) -> Answer:
        return self.portal.call(self.present.call, caller, f"bank__{tool}", arguments)

    def replayed(self, change: tuple[str, str] = ("", ""), more: str = "", catalog: Sequence[Path] = ()) -> Report:
        assert change[0] in CONFIG
        config = CONFIG.replace(*change) if change[0] else CONFIG
        return self.past.replayed(config + more, self.start, catalog)

    def erase(self, slot: str) -> None:
        with closing(apsw.Connection(str(self.past.folder.data / FILE))) as connection:
            connection.set_busy_timeout(10_000)
            connection.execute("DELETE FROM payloads WHERE slot = ? AND seq >= ?", (slot, self.start))

    def cli(self, *words: str) -> Result:
        arguments = [*words, "-C", str(self.past.folder.path)]
        with ThreadPoolExecutor(1) as beside:  # the command runs an event loop, and this thread may have one
            return beside.submit(CliRunner().invoke, build(arguments), arguments).result()


def make_past(path: Path, config: str = CONFIG) -> Past:
    folder = make_folder(path / "gateway", config=config, environ={"BANK_TOKEN": TOKEN})
    catalog = (EXAMPLE / "catalog" / "bank.toml").read_text()
    server = json.dumps(str(EXAMPLE / "server.py"))
    catalog = catalog.replace('"python3"', json.dumps(sys.executable)).replace('"server.py"', server)
    folder.server("bank", catalog.replace('"bank.db"', json.dumps(str(path / "bank.db"))))
    folder.accept()
    return Past(folder)
