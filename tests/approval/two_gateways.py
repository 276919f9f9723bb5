"""Many people at two gateways on one store, over many held calls: each is settled once, each call runs once.

Nothing is simulated: two processes of `mcpgw serve`, the SDK's clients at both, and people at both, half of them at the pages
of the console and half with a program over the HTTP API. Each call is made at both gateways at once, again and again until its
result is there. The people go through the calls, several of them at the same one at the same time, and vote on all that they
still find open. Two of them have to agree.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import httpx2
from mcp import Client

from tests.console.bank import TLS, Person, can_vote, verdict_form
from tests.faults.clients import spelled, understood_result
from tests.faults.evidence import Evidence
from tests.faults.folder import Faults, fault_folder
from tests.faults.history import INTENT, Answer, Entry, History, Said, check
from tests.faults.process import start, until_serving
from tests.flows.gateway import BOUND_S, Gateway, bearer

QUORUM = 2
TOGETHER = 4
"""People who are at the same call at the same time: one at the page and one with a program, at either gateway."""
_PAUSE_S = 0.2
"""Before a client that was told to come back asks again."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the race was."""

    holds: int
    people: int
    votes: int
    too_late: int
    """Votes that found the call decided, or somebody else's vote being counted."""
    asked: int
    """Answers that clients heard, those that repeat a result among them."""
    records: int

    def __str__(self) -> str:
        return (
            f"{self.holds} held calls, {self.people} people at two gateways, {self.votes} votes counted and {self.too_late} too"
            f" late, {self.asked} answers, {self.records} records: each settled once, each run once, the record verifies"
        )


@dataclass
class Race:
    faults: Faults
    gateways: Sequence[Gateway]
    people: Sequence[str]
    deeds: Sequence[str]
    answers: list[Answer] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    """Approvals by deed."""
    too_late: int = 0

    async def run(self) -> None:
        """Hold every call, then let everybody decide and everybody call again, until each call has its result at both."""
        async with AsyncExitStack() as stack:
            callers = [
                [await stack.enter_async_context(gateway.client("http 2026", key)) for gateway in self.gateways]
                for key in self.faults.keys
            ]
            deeds = [self.deeds[number :: len(callers)] for number in range(len(callers))]
            async with anyio.create_task_group() as tasks:
                for clients, hers in zip(callers, deeds, strict=True):
                    tasks.start_soon(self._hold, clients[0], hers)
            voters = [
                await stack.enter_async_context(voter(self.gateways[number % 2], self.faults.folder.keys[name], number))
                for number, name in enumerate(self.people)
            ]
            async with anyio.create_task_group() as tasks:
                for clients, hers in zip(callers, deeds, strict=True):
                    for client in clients:
                        tasks.start_soon(self._call_again, client, hers)
                for number, vote in enumerate(voters):
                    tasks.start_soon(self._decide, vote, number // TOGETHER)

    async def _hold(self, client: Client, deeds: Sequence[str]) -> None:
        for deed in deeds:
            answer = await self._ask(client, deed)
            assert answer.said is Said.HELD, answer
            self.held[deed] = answer.approval

    async def _call_again(self, client: Client, deeds: Sequence[str]) -> None:
        left = list(deeds)
        while left:
            left = [deed for deed in left if (await self._ask(client, deed)).said is not Said.COMPLETED]
            await anyio.sleep(_PAUSE_S if left else 0)

    async def _ask(self, client: Client, deed: str) -> Answer:
        result = await client.call_tool("web__risky", {"deed": deed})
        answer = understood_result(deed, result.model_dump(by_alias=True, mode="json", exclude_none=True))
        self.answers.append(answer)
        return answer

    async def _decide(self, vote: "Vote", place: int) -> None:
        """Go once through all the calls, from a place of one's own on."""
        ids = [*self.held.values()]
        at = place * TOGETHER * len(ids) // max(1, len(self.people))
        for approval_id in ids[at:] + ids[:at]:
            self.too_late += await vote(approval_id) is False

    # --- judging ---------------------------------------------------------------------------------------------------------

    def judge(self) -> Counts:
        """Raises: AssertionError: something was settled or run more or less than once, or the record does not say so."""
        once = dict.fromkeys(self.deeds, 1)
        evidence = Evidence(self.faults.database)
        entries, effects = evidence.read(), self.faults.effects()
        assert check(History(answers=self.answers, effects=effects, entries=entries)) == []
        assert Counter(effect.deed for effect in effects) == once
        assert Counter(entry.deed for entry in entries if entry.kind == INTENT) == once
        assert len(set(self.held.values())) == len(self.deeds)
        settled = [entry for entry in entries if entry.kind == "approval.settled"]
        assert Counter(entry.approval for entry in settled) == dict.fromkeys(self.held.values(), 1)
        assert {entry.settled for entry in settled} == {"approved"}
        votes = [entry for entry in entries if entry.verdict]
        for approval_id in self.held.values():
            _must_be_of_different_people([vote for vote in votes if vote.approval == approval_id])
        heard = Counter(answer.deed for answer in self.answers if answer.said is Said.COMPLETED)
        assert heard == dict.fromkeys(self.deeds, len(self.gateways)), "each call has its result at both gateways"
        assert "✓" in self.faults.folder.cli("verify")
        return Counts(len(self.deeds), len(self.people), len(votes), self.too_late, len(self.answers), evidence.records)


def _must_be_of_different_people(votes: Sequence[Entry]) -> None:
    voters = {vote.who for vote in votes}
    assert len(voters) == len(votes) >= QUORUM, votes


# --- people --------------------------------------------------------------------------------------------------------------

Vote = Callable[[str], Awaitable[bool | None]]
"""Looks at one approval and approves it. Returns whether that was in time, or nothing where it was decided already."""


@asynccontextmanager
async def voter(gateway: Gateway, key: str, number: int) -> AsyncIterator[Vote]:
    """Let somebody vote from an address of their own: every second pair at the page, the others by a program."""
    told = {"X-Forwarded-For": f"192.0.2.{number + 1}", "X-Forwarded-Proto": "http"}
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=BOUND_S, headers=told, verify=TLS) as http:
        person = Person(http, gateway.url)
        if number // 2 % 2:
            yield partial(_by_program, http, bearer(key))
        else:
            assert (await person.sign_in(key)).status_code == 303
            yield partial(_by_page, person)


async def _by_page(person: Person, approval_id: str) -> bool | None:
    page = (await person.get(f"/approvals/{approval_id}")).text
    if not can_vote(page):
        return None
    voted = await person.post(f"/approvals/{approval_id}/verdict", verdict_form(page))
    assert voted.status_code in (303, 409), voted.text
    return voted.status_code == 303


async def _by_program(http: httpx2.AsyncClient, credential: dict[str, str], approval_id: str) -> bool | None:
    sheet = (await http.get(f"/api/v1/approvals/{approval_id}", headers=credential)).json()
    if "vote" not in sheet["deeds"]:
        return None
    verdict = {"verdict": "approve", "shown": sheet["shown"]}
    voted = await http.post(f"/api/v1/approvals/{approval_id}/vote", json=verdict, headers=credential)
    assert voted.status_code in (200, 409), voted.text
    return voted.status_code == 200


@contextmanager
def raced(path: Path, *, url: str = "", holds: int, people: int) -> Iterator[Race]:
    """Make the folder and its people, with the log at `url` if that is not empty, and run two gateways until the block ends."""
    with ExitStack() as stack:
        faults = stack.enter_context(fault_folder(path, url))
        config = faults.folder.config.read_text()
        config = config.replace("[approval]\n", f"[approval]\nquorum = {QUORUM}\n")
        pages = 'port = 0\npublic_url = "http://gateway.example"\ntrusted_proxies = ["127.0.0.1"]\n'
        faults.folder.config.write_text(config.replace("port = 0\n", pages) + "\n[console]\napi = true\n")
        names = [f"person-{spelled(number)}" for number in range(people)]
        for name in names:
            faults.folder.key(name, "leads")
        gateways = []
        for _ in range(2):
            gateway = start(faults.folder)
            gateways.append(gateway)
            stack.callback(gateway.process.wait)
            stack.callback(gateway.process.kill)
            until_serving(gateway)
        yield Race(faults, gateways, names, [f"deed_{spelled(number)}" for number in range(holds)])
