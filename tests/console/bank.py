"""A gateway in front of the example bank, and the people around it: who asks, who decides, who audits."""

import json
import re
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp_types import CallToolResult

from mcpgw.core.model import IdentityKind
from tests.flows.gateway import BOUND_S, Folder, Gateway, bearer, make_folder, serving
from tests.inbound.raw import ACCEPT, call

TLS = ssl.create_default_context()
"""Shared, because loading the system's certificates takes longer than most tests; nothing here is https."""
EXAMPLE = Path(__file__).parents[2] / "examples" / "bank"
TOKEN = "the-bank-and-the-gateway-know"
CONFIG = """\
name = "Example Bank"

[listen]
port = 0
public_url = "http://gateway.example"
shutdown_grace = "2s"
trusted_proxies = ["127.0.0.1"]

[ledger]
origin = "bank.example/ledger"

[redaction]
model = "none"

[console]
auditors = ["group:auditors"]

[approval]
approvers = ["group:payments-leads"]
deadline = "30m"
budget = "200ms"

[roles.tellers]
members = ["group:tellers"]
scopes = ["bank:read", "bank:move-money"]

[scopes."bank:read"]
by_name = true

[scopes."bank:move-money"]
by_name = true

[[rules]]
id = "large-transfers"
effect = "hold"
tools = ["bank__transfer"]
when = "args.amount > 5000"
reason = "Transfers above 5,000 need a second person."
approvers = ["group:payments-leads"]
"""
_TOKEN_FIELD = re.compile(r'name="token" value="([^"]+)"')
_SHOWN_FIELD = re.compile(r'name="shown" value="([^"]+)"')


@dataclass
class Bank:
    """The running gateway, and the bank's books behind it."""

    gateway: Gateway
    db: Path

    @property
    def folder(self) -> Folder:
        return self.gateway.folder

    @property
    def url(self) -> str:
        return self.gateway.url

    def key(self, who: str) -> str:
        return self.folder.keys[who]

    def refusals(self) -> list[dict[str, Any]]:
        """Return what the console refused, oldest first."""
        return [record for record in self.folder.records("call.refused") if record["origin"]["transport"] == "console"]

    def state(self, approval_id: str) -> str:
        """Return `pending`, or how the approval was settled, from the record itself."""
        settled = [record["approval"]["state"] for record in self.folder.records("approval.settled", approval_id=approval_id)]
        return str(settled[0]) if settled else "pending"

    def transfers(self, cents: int) -> int:
        """Count how often the bank moved exactly this much."""
        with closing(sqlite3.connect(self.db)) as connection:
            sql = "SELECT count(*) FROM effects WHERE tool = 'transfer' AND amount_cents = ?"
            return int(connection.execute(sql, (cents,)).fetchone()[0])

    async def transfer(self, cents: int, memo: str = "rent", who: str = "alice") -> CallToolResult:
        """Ask for a transfer as a client does: without waiting for people."""
        arguments = {"from_account": "CHK-100001", "to_account": "CHK-100002", "amount": cents / 100, "memo": memo}
        body, routed = call("bank__transfer", arguments)
        async with httpx2.AsyncClient(timeout=BOUND_S, verify=TLS) as http:
            answer = await http.post(f"{self.url}/mcp", json=body, headers={**ACCEPT, **bearer(self.key(who)), **routed})
        events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
        return CallToolResult.model_validate(json.loads(events[-1] if events else answer.text)["result"])

    async def hold(self, cents: int, memo: str = "rent", who: str = "alice") -> str:
        """Ask for a transfer that is held, and return the approval's id."""
        result = await self.transfer(cents, memo, who)
        assert result.is_error, result
        return str(approval_of(result)["id"])

    def client(self, who: str) -> Client:
        return self.gateway.client("http 2026", self.key(who))

    @asynccontextmanager
    async def person(self, who: str = "", address: str = "", scheme: str = "http") -> AsyncIterator["Person"]:
        """Open a browser without scripts; signed in as `who`, unless that is empty; behind a proxy, where address or scheme
        are given."""
        told = {"X-Forwarded-For": address or "192.0.2.1", "X-Forwarded-Proto": scheme}
        async with httpx2.AsyncClient(base_url=self.url, timeout=BOUND_S, headers=told, verify=TLS) as http:
            person = Person(http, self.url.replace("http", scheme))
            if who:
                assert (await person.sign_in(self.key(who))).status_code == 303
            yield person


@dataclass
class Person:
    """Somebody with a browser: it keeps cookies and says where a form comes from. Redirects are looked at, not followed."""

    http: httpx2.AsyncClient
    url: str

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.http.get(path, headers=headers)

    async def post(self, path: str, form: dict[str, str], **headers: str) -> httpx2.Response:
        return await self.http.post(path, data=form, headers={"Origin": self.url, **headers})

    async def sign_in(self, key: str, onward: str = "/") -> httpx2.Response:
        return await self.post("/sign-in", {"key": key, "next": onward})

    async def token(self, path: str = "/approvals") -> str:
        return found(_TOKEN_FIELD, (await self.get(path)).text)

    async def form(self, approval_id: str, verdict: str = "approve", comment: str = "") -> dict[str, str]:
        """Open the approval's page and fill in its form."""
        return verdict_form((await self.get(f"/approvals/{approval_id}")).text, verdict, comment)

    async def visits(self, path: str) -> bool:
        """Tell whether the page opens, and is not the way to the sign-in."""
        return (await self.get(path)).status_code == 200

    async def decide(self, approval_id: str, verdict: str = "approve", comment: str = "") -> httpx2.Response:
        return await self.post(f"/approvals/{approval_id}/verdict", await self.form(approval_id, verdict, comment))


def can_vote(page: str) -> bool:
    """Tell whether an approval's page has the form for a verdict."""
    return _SHOWN_FIELD.search(page) is not None


def verdict_form(page: str, verdict: str = "approve", comment: str = "") -> dict[str, str]:
    """Fill in the form on an approval's page."""
    token, shown = found(_TOKEN_FIELD, page), found(_SHOWN_FIELD, page)
    return {"token": token, "shown": shown, "verdict": verdict, "comment": comment}


def found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    assert match, f"{pattern.pattern} is not in the page"
    return match[1]


def approval_of(result: CallToolResult) -> dict[str, Any]:
    meta = result.model_dump(by_alias=True)["_meta"]
    return dict(next(value for key, value in meta.items() if key.endswith("/approval")))


@contextmanager
def open_bank(path: Path, config: str = CONFIG) -> Iterator[Bank]:
    """Make the bank, its gateway and its people. Slow (seconds): one serves all tests that leave it in order."""
    db = path / "bank.db"
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, EXAMPLE / "seed.py", db], check=True, timeout=30)
    folder = make_folder(path / "gateway", config=config, environ={"BANK_TOKEN": TOKEN})
    for who, groups in PEOPLE.items():
        folder.key(who, *groups)
    folder.key("robot", "tellers", "payments-leads", "auditors", kind=IdentityKind.AGENT)
    catalog = (EXAMPLE / "catalog" / "bank.toml").read_text()
    catalog = catalog.replace('"python3"', json.dumps(sys.executable)).replace(
        '"server.py"', json.dumps(str(EXAMPLE / "server.py"))
    )
    folder.server("bank", catalog.replace('"bank.db"', json.dumps(str(db))))
    folder.accept()
    with serving(folder) as gateway:
        yield Bank(gateway, db)


PEOPLE = {
    "alice": ("tellers",),
    "paula": ("tellers", "payments-leads"),
    "carol": ("payments-leads",),
    "dora": ("payments-leads", "auditors"),
    "audrey": ("auditors",),
}
"""By subject: who asks (alice), who asks and leads (paula), who decides (carol, dora), who audits (dora, audrey)."""
