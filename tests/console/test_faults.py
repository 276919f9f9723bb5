"""When a room behind the console fails: nothing is shown, nothing is claimed, and nobody is let in."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from mcpgw.app.console import console_routes
from mcpgw.app.network import inbound
from mcpgw.console import ConsoleConfig, Doors, NotForYou, Unclear, make_routes
from mcpgw.console.doors import CatalogView, Page, Proved
from mcpgw.core.entries import Event
from mcpgw.core.errors import AuthenticationError, LedgerUnavailable
from mcpgw.core.model import (
    Identity,
    IdentityKind,
    Origin,
    Refused,
)
from mcpgw.ports import Approval, ApprovalState
from mcpgw.settings import from_text
from tests.console.bank import Person, found

SECRET = "what must not be seen"


@dataclass
class House:
    """Every room of a gateway, small; each can be made to fail."""

    journal_fails: bool = False
    desk_error: Exception | None = None  # None: the desk works
    draining: bool = False
    is_large: bool = False  # the log has more records than one search looks through
    is_damaged: bool = False  # the log has one record, of which nothing can be read
    kind: IdentityKind = IdentityKind.HUMAN
    entries: list[Event] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    read: list[int] = field(default_factory=list)

    async def authenticate(self, credential: str) -> Identity:
        if credential != "good":
            raise AuthenticationError("The API key is not known to this gateway.")
        return Identity(subject="dora", issuer="test", kind=self.kind, method="console", groups=frozenset({"auditors"}))

    async def reject(self, origin: Origin, refused: Refused, principal: str = "") -> Refused:
        self.refused.append(refused.reason)
        return refused

    async def append(self, entry: Event) -> Event:
        if self.journal_fails:
            raise LedgerUnavailable(f"the disk is full: {SECRET}")
        self.entries.append(entry)
        return entry

    async def docket(self, viewer: Identity, states: Sequence[ApprovalState], limit: int) -> tuple[Approval, ...]:
        if self.desk_error:
            raise self.desk_error
        return ()

    async def open_items(self, viewer: Identity) -> tuple[Approval, ...]:
        return ()

    async def show(self, approval_id: str, viewer: Identity) -> Any:
        raise self.desk_error or NotForYou("no")

    async def vote(self, *_: Any, **__: Any) -> Approval:
        raise self.desk_error or NotForYou("no")

    def objection(self, viewer: Identity, approval: Approval) -> str:
        return ""

    def tally(self, approval: Approval) -> str:
        return ""

    async def changed(self, timeout_s: float) -> None:
        return

    log = "bank.example/ledger"

    async def find(self, *_: Any) -> Any:
        if self.is_damaged:
            return Page(records=[_BROKEN], rest=())
        if self.is_large:
            return Page(records=[], rest=(5,))
        raise LedgerUnavailable("others are reading the log", hint="Try again in a moment.")

    async def proved(self, seq: int) -> Sequence[Any]:
        self.read.append(seq)
        return [Proved(record=_BROKEN, payloads={}, gone=("result.clean",), proof="c2sp")] if self.is_damaged else []

    async def session(self, *_: Any) -> Sequence[Any]:
        raise LedgerUnavailable("a record cannot be read", hint="Run `mcpgw verify`.")

    async def checkpoint(self) -> str:
        raise LedgerUnavailable("the log has no checkpoint yet")

    async def catalog(self) -> CatalogView:
        return CatalogView(servers=(), problems=("bank.toml:3: unknown key",))

    def problems(self) -> Mapping[str, str]:
        return {"ledger": "The disk is full."}

    def credential_of(self, scope: Mapping[str, Any]) -> str:
        return dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")

    @asynccontextmanager
    async def person(self, key: str = "good") -> AsyncIterator[Person]:
        doors = Doors(
            authenticator=self, corridor=self, journal=self, desk=self, evidence=self,  # type: ignore[arg-type]  # as far as it goes
            catalog=self.catalog, problems=self.problems, check_host=lambda hosts: None, is_draining=lambda: self.draining,
            bearers=self, credential_of=self.credential_of, challenge=lambda problem: "Bearer",
        )  # fmt: skip
        config = ConsoleConfig(name="x", version="1", public_url="http://gw.example", auditors=("group:auditors",), api=True)
        transport = httpx2.ASGITransport(Starlette(routes=[*make_routes(doors, config)]))
        async with httpx2.AsyncClient(transport=transport, base_url="http://gw.example") as http:
            person = Person(http, "http://gw.example")
            if key:
                assert (await person.sign_in(key)).status_code == 303
            yield person


_INDEX: Mapping[str, str | int] = {
    "time_ns": 0, "kind": "x", "target": "", "outcome": "", "decision": "", "call_id": "", "approval_id": "", "session": "",
}  # fmt: skip
_BROKEN = SimpleNamespace(seq=7, leaf=b"not JSON", hash=b"\0" * 32, index=_INDEX)


async def test_what_cannot_be_recorded_is_not_read() -> None:
    house = House()
    async with house.person() as dora:
        house.journal_fails = True
        for path in ("/log", "/log/7", "/sessions/1"):
            answer = await dora.get(path)
            assert answer.status_code == 503 and SECRET not in answer.text and "cannot reach its record" in answer.text
    assert house.read == []


async def test_who_cannot_be_recorded_is_not_signed_in_but_is_signed_out() -> None:
    house = House()
    async with house.person() as dora:
        token = await dora.token()
        house.journal_fails = True
        assert (await dora.post("/sign-out", {"token": token})).status_code == 303
        assert (await dora.get("/approvals")).status_code == 303
        answer = await dora.sign_in("good")
        assert answer.status_code == 503 and "set-cookie" not in answer.headers


async def test_a_verdict_of_unknown_fate_is_not_called_recorded_nor_refused() -> None:
    house = House()
    async with house.person() as dora:
        form = {"token": await dora.token(), "shown": "x", "verdict": "approve", "comment": ""}
        house.desk_error = LedgerUnavailable(SECRET)
        answer = await dora.post("/approvals/apr_1/verdict", form)
        assert answer.status_code == 503 and "not known whether" in answer.text and SECRET not in answer.text
        assert (await dora.get("/approvals")).status_code == 503


@pytest.mark.parametrize(
    ("error", "status", "seen"),
    [(Unclear("It is not what was bound."), 500, True), (RuntimeError(SECRET), 500, False), (NotForYou("No such."), 404, True)],
)
async def test_a_sheet_that_cannot_be_laid_out_is_not_shown(error: Exception, status: int, seen: bool) -> None:
    house = House(desk_error=error)
    async with house.person() as dora:
        answer = await dora.get("/approvals/apr_1")
        assert answer.status_code == status and (str(error) in answer.text) is seen
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert len(house.refused) == (1 if seen else 0)


async def test_while_it_shuts_down_nothing_is_begun() -> None:
    house = House()
    async with house.person() as dora:
        house.draining = True
        for path in ("/", "/approvals", "/sign-in"):
            assert (await dora.get(path)).status_code == 503
    assert house.refused == []


async def test_a_session_does_not_outlive_a_change_of_who_the_key_belongs_to() -> None:
    house = House()
    async with house.person() as dora:
        house.kind = IdentityKind.AGENT
        assert (await dora.get("/approvals")).status_code == 303
        house.kind = IdentityKind.HUMAN
        assert (await dora.get("/approvals")).status_code == 303


async def test_a_damaged_record_says_so() -> None:
    house = House(is_damaged=True)
    async with house.person() as dora:
        page = (await dora.get("/log/7")).text
        assert 'href="/log/7"' in (await dora.get("/log")).text
    assert "not readable; run `mcpgw verify`" in page and "it is not the hash" in page
    assert "result.clean: not there any more" in page


async def test_a_page_of_the_log_may_hold_nothing_and_not_be_the_last() -> None:
    house = House(is_large=True)
    async with house.person() as dora:
        page = (await dora.get("/log?who=alice")).text
        assert "there are more" in page and "No record matches" not in page
        await dora.get(found(re.compile(r'href="([^"]+)" rel="next"'), page))
    assert house.entries[-1].facts == {"what": "log", "who": "alice", "before": 5}


async def test_a_log_that_cannot_be_read_now_says_what_to_do() -> None:
    async with House().person() as dora:
        for path, hint in (("/log", "Try again in a moment."), ("/sessions/1", "Run `mcpgw verify`.")):
            answer = await dora.get(path)
            assert answer.status_code == 503 and hint in answer.text


async def test_the_start_page_says_what_is_wrong() -> None:
    async with House().person() as dora:
        page = (await dora.get("/")).text
        assert "Not ready" in page and "The disk is full." in page and "no checkpoint yet" in page
        assert "bank.toml:3: unknown key" in (await dora.get("/upstreams")).text


def test_where_the_console_is_off_there_are_no_pages_and_no_links_to_them() -> None:
    text = '[listen]\npublic_url = "https://gw.example"\n[console]\nenabled = '
    on, off = from_text(text + "true", Path()), from_text(text + "false", Path())
    assert console_routes(SimpleNamespace(settings=off)) == ()  # type: ignore[arg-type]  # it is asked for its settings alone
    assert (inbound(on).public_url, inbound(off).public_url) == ("https://gw.example", "")


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (LedgerUnavailable(SECRET), 503, "not known whether"),
        (RuntimeError(SECRET), 500, "not known whether"),
        (NotForYou("Somebody else must decide.", hint="Ask them."), 403, "Somebody else must decide."),
        (ValueError("a comment is required"), 422, "a comment is required"),
    ],
)
async def test_a_program_is_told_of_a_failure_as_a_problem_and_of_nothing_more(
    error: Exception, status: int, detail: str
) -> None:
    house = House(desk_error=error)
    async with house.person(key="") as program:
        body = {"verdict": "deny"}
        answer = await program.http.post("/api/v1/approvals/apr_1/vote", json=body, headers={"Authorization": "Bearer good"})
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert detail in answer.json()["detail"] and SECRET not in answer.text


async def test_programs_are_shown_nothing_that_is_unclear_unrecorded_or_asked_while_it_shuts_down() -> None:
    house = House(desk_error=Unclear("What is kept is not what was bound."))
    async with house.person(key="") as program:
        told = {"Authorization": "Bearer good"}
        assert (await program.http.get("/api/v1/approvals/apr_1", headers=told)).status_code == 500
        house.desk_error = LedgerUnavailable(SECRET)
        answer = await program.http.get("/api/v1/approvals/apr_1", headers=told)
        assert answer.status_code == 503 and SECRET not in answer.text
        house.draining = True
        assert (await program.http.get("/api/v1/approvals", headers=told)).status_code == 503


async def test_evidence_that_cannot_be_read_is_a_problem_and_what_cannot_be_recorded_is_not_read() -> None:
    house = House()
    async with house.person(key="") as program:
        told = {"Authorization": "Bearer good"}
        answer = await program.http.post("/api/v1/evidence/search", json={}, headers=told)
        assert (answer.status_code, answer.json()["detail"]) == (503, "others are reading the log")
        house.journal_fails = True
        answer = await program.http.get("/api/v1/evidence/records/7", headers=told)
        assert answer.status_code == 503 and SECRET not in answer.text and house.read == []
        house.journal_fails = False
        assert (await program.http.get("/api/v1/evidence/records/7", headers=told)).status_code == 404 and house.read == [7]
