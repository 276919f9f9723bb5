"""`kill -9` at every step of an approved call, before and after each commit: at most one effect, and nobody is told otherwise.

Two people have to approve. Whoever is at the step dies there: the gateway, or the process of the person who votes. Then a
gateway starts again, and everything is looked at: what is stored, what the identical call gets, what people can do about it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import anyio
import pytest

from mcpgw.app import convert
from mcpgw.cli.common import open_gateway_store
from mcpgw.core.model import Verdict
from mcpgw.ports import Approval
from tests.faults.clients import ask
from tests.faults.evidence import Evidence
from tests.faults.folder import Faults, fault_folder
from tests.faults.history import Answer, History, Said, check
from tests.faults.process import start, until_serving
from tests.faults.stores import SQLITE, in_postgres
from tests.flows.gateway import BOUND_S, Gateway, bearer, until
from tests.ledger.postgres_server import cannot_run

MORTAL = Path(__file__).parent / "mortal.py"
PEOPLE = ("carol", "dave")
AT_WORK = "while the upstream works"
WORKING_MS = 60_000
"""An upstream that is at work for so long is at work when its gateway is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Where death comes, and how everything stands once a gateway has started again."""

    victim: str
    moment: str
    state: str
    """Of the approval; empty where there is none."""
    votes: int = 0
    effects: int = 0
    beside_gateway: bool = True
    """Whether a gateway runs while people vote; it settles as soon as it can, and would be faster than its victim."""

    on_postgres: bool = False
    """Whether it is played there as well, where the death of a gateway is noticed in another way, and later."""

    @property
    def name(self) -> str:
        return f"{self.victim}_{self.moment.replace(' ', '_')}"


STEPS = [
    Step(victim="gateway", moment="before Opened", state=""),
    Step(victim="gateway", moment="after Opened", state="pending", on_postgres=True),
    Step(victim="carol", moment="before Vote", state="pending"),
    Step(victim="carol", moment="after Vote", state="pending", votes=1),
    Step(victim="dave", moment="before Vote", state="pending", votes=1),
    Step(victim="dave", moment="after Vote", state="approved", votes=2, beside_gateway=False),
    Step(victim="dave", moment="before Settled", state="approved", votes=2, beside_gateway=False),
    Step(victim="dave", moment="after Settled", state="approved", votes=2, beside_gateway=False),
    Step(victim="gateway", moment="before Vote", state="pending", votes=1),
    Step(victim="gateway", moment="after Vote", state="approved", votes=2),
    Step(victim="gateway", moment="before Settled", state="approved", votes=2, on_postgres=True),
    Step(victim="gateway", moment="after Settled", state="approved", votes=2),
    Step(victim="gateway", moment="before Intent", state="approved", votes=2, on_postgres=True),
    Step(victim="gateway", moment="after Intent", state="indeterminate", votes=2, on_postgres=True),
    Step(victim="gateway", moment="before send", state="indeterminate", votes=2),
    Step(victim="gateway", moment=AT_WORK, state="indeterminate", votes=2, effects=1),
    Step(victim="gateway", moment="after send", state="indeterminate", votes=2, effects=1, on_postgres=True),
    Step(victim="gateway", moment="before Outcome", state="indeterminate", votes=2, effects=1),
    Step(victim="gateway", moment="after Outcome", state="done", votes=2, effects=1, on_postgres=True),
]
PLAYED = [("sqlite", step) for step in STEPS] + [("postgres", step) for step in STEPS if step.on_postgres]
STANDS_WITHIN_S = 60.0
"""On PostgreSQL whoever is out of sight is not dead at once, so it takes a while until what they had under way is closed."""


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


def started(faults: Faults, orders: Path) -> Gateway:
    gateway = start(faults.folder, [str(MORTAL), str(orders), "serve"])
    until_serving(gateway)
    return gateway


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if request.param == "postgres" and (why := cannot_run()):
        pytest.skip(why)
    with ExitStack() as stack:
        place = stack.enter_context(in_postgres()) if request.param == "postgres" else SQLITE
        faults = stack.enter_context(fault_folder(tmp_path_factory.mktemp("steps"), place.url))
        config = faults.folder.config.read_text()
        faults.folder.config.write_text(config.replace("[approval]\n", "[console]\napi = true\n\n[approval]\nquorum = 2\n"))
        for person in PEOPLE:
            faults.folder.key(person, "leads")
        stage = Stage(faults, started(faults, faults.folder.path.parent / "orders"))
        try:
            yield stage
        finally:
            stage.gateway.process.kill()
            stage.gateway.process.wait(BOUND_S)


@dataclass
class Story:
    """One call, which waits for two people, and the death of somebody on its way."""

    stage: Stage
    step: Step
    http: aiohttp.ClientSession

    @property
    def deed(self) -> str:
        return self.step.name

    async def ask(self) -> Answer:
        """Make the call: the same bytes each time."""
        ms = WORKING_MS if self.step.moment == AT_WORK else 0
        key = self.stage.faults.keys[0]
        answer = await ask(self.http, self.stage.gateway.url, key, "web__risky", self.deed, ms=ms)
        self.stage.answers.append(answer)
        return answer

    def effects(self) -> int:
        return sum(effect.deed == self.deed for effect in self.stage.faults.effects())

    async def approvals(self) -> list[Approval]:
        """Return what there is of this call at the desk, the newest first."""
        async with open_gateway_store(self.stage.faults.folder.path) as store:
            found = await store.ledger.approvals((), 1_000)
        return [approval for approval in found if approval.facts["arguments"]["deed"] == self.deed]

    async def vote(self, person: str) -> None:
        """Vote beside the gateway, as `mcpgw approvals approve` does."""
        async with open_gateway_store(self.stage.faults.folder.path) as store:
            identity = await convert.authenticators(store.settings).authenticate(self.stage.faults.folder.keys[person])
            (approval,) = [one for one in await store.desk.docket(identity) if one.facts["arguments"]["deed"] == self.deed]
            await store.desk.vote(approval.id, identity, Verdict.APPROVE)

    async def vote_over_http(self, person: str, approval_id: str) -> None:
        """Vote at the gateway, which gives no answer any more."""
        credential = bearer(self.stage.faults.folder.keys[person])
        path = f"{self.stage.gateway.url}/api/v1/approvals/{approval_id}"
        async with self.http.get(path, headers=credential) as answer:
            shown = (await answer.json())["shown"]
        with pytest.raises(aiohttp.ClientError):
            await self.http.post(f"{path}/vote", json={"verdict": "approve", "shown": shown}, headers=credential)

    async def die_voting(self, person: str, approval_id: str, moment: str) -> None:
        """Run the command in a process that dies at the moment."""
        orders = self.stage.orders.with_name(f"orders of {person}")
        orders.write_text(moment)
        words = [sys.executable, str(MORTAL), str(orders), "approvals", "approve", approval_id, "--yes"]
        folder = self.stage.faults.folder
        environ = folder.full_environ(folder.keys[person])

        def run() -> "subprocess.CompletedProcess[str]":
            return subprocess.run(words, cwd=folder.path, env=environ, capture_output=True, text=True, timeout=60)

        done = await anyio.to_thread.run_sync(run)
        assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr

    # --- until somebody dies ---------------------------------------------------------------------------------------------

    async def until_death(self) -> None:
        """Live the call up to the step."""
        if self.step.victim == "gateway" and self.step.moment.endswith("Opened"):
            await self._gateway_dies_asked()
            return
        held = await self.ask()
        assert held.said is Said.HELD, held
        if not self.step.beside_gateway:
            assert self.stage.gateway.stop() == 0
        if self.step.victim == "gateway" and self.step.moment.endswith("Settled"):
            await self.vote("carol")
            self.stage.orders.write_text(self.step.moment)
            await self.die_voting("dave", held.approval, "after Vote")  # so it is the gateway that settles
            self.stage.killed()
            return
        if self.step.victim == "gateway" and self.step.moment.endswith("Vote"):
            await self.vote("carol")
            self.stage.orders.write_text(self.step.moment)
            await self.vote_over_http("dave", held.approval)
            self.stage.killed()
            return
        for person in PEOPLE:
            if person == self.step.victim:
                await self.die_voting(person, held.approval, self.step.moment)
                return
            await self.vote(person)
        await self._gateway_dies_asked()

    async def _gateway_dies_asked(self) -> None:
        """Ask, and hear nothing more."""
        if self.step.moment != AT_WORK:
            self.stage.orders.write_text(self.step.moment)
        async with anyio.create_task_group() as tasks:
            if self.step.moment == AT_WORK:
                tasks.start_soon(self._kill_while_it_works)
            answer = await self.ask()
        assert answer.said is Said.NOTHING, answer
        self.stage.killed()

    async def _kill_while_it_works(self) -> None:
        await until(self.effects, "the upstream is at work")
        os.kill(self.stage.gateway.process.pid, signal.SIGKILL)

    # --- and after that --------------------------------------------------------------------------------------------------

    async def until_it_stands(self) -> Sequence[Approval]:
        """Wait until what is due has been done, and return the approvals of this call."""
        wanted = [self.step.state] * bool(self.step.state)
        with anyio.fail_after(STANDS_WITHIN_S):
            found = await self.approvals()
            while [one.state.value for one in found] != wanted:
                await anyio.sleep(0.1)
                found = await self.approvals()
        return found

    async def runs_once(self, votes: int) -> None:
        """Give the votes that lack, and call again, twice: it runs, and then its result is repeated."""
        if not self.step.state:
            assert (await self.ask()).said is Said.HELD
        for person in PEOPLE[votes:]:
            await self.vote(person)
        first, second = await self.ask(), await self.ask()
        assert (first.said, first.replayed) == (Said.COMPLETED, False), first
        assert (second.said, second.replayed) == (Said.COMPLETED, True), second
        assert self.effects() == 1

    async def is_never_sent_again(self, approval: Approval) -> None:
        """The identical call is refused until a person has said what they found; then it is a new question."""
        folder = self.stage.faults.folder
        refused = await self.ask()
        assert refused.said is Said.REFUSED and "its outcome is unknown" in refused.text, refused
        listed = await folder.acli("approvals", "list", key=folder.keys["carol"])
        assert f"{approval.id}: the outcome of web__risky is unknown" in listed
        resolve = ("approvals", "resolve", approval.id, "--happened", "yes" if self.step.effects else "no")
        await folder.acli(*resolve, key=folder.keys["carol"], expect=2)  # it takes a comment
        assert (await self.ask()).said is Said.REFUSED
        said = await folder.acli(*resolve, "--comment", "Looked at the upstream.", key=folder.keys["carol"])
        assert "resolved; it is indeterminate" in said
        assert approval.id not in await folder.acli("approvals", "list", key=folder.keys["carol"])
        anew = await self.ask()
        assert anew.said is Said.HELD and anew.approval != approval.id, anew

    async def is_told_again(self) -> None:
        again = await self.ask()
        assert (again.said, again.replayed, again.echo) == (Said.COMPLETED, True, self.deed), again

    def record_is_sound(self) -> None:
        """Everything that was heard, done and recorded so far agrees, and the log verifies."""
        entries = Evidence(self.stage.faults.database).read()
        effects = self.stage.faults.effects()
        assert check(History(answers=self.stage.answers, effects=effects, entries=entries)) == []
        assert "✓" in self.stage.faults.folder.cli("verify")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=BOUND_S)) as http:
        yield http


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "step"), PLAYED, ids=[f"{store}-{step.name}" for store, step in PLAYED], indirect=["stage"])
async def test_whoever_dies_at_this_step_leaves_one_effect_at_most_and_an_honest_state(
    stage: Stage, http: aiohttp.ClientSession, step: Step
) -> None:
    story = Story(stage, step, http)
    await story.until_death()
    if stage.gateway.process.poll() is not None:
        await anyio.to_thread.run_sync(stage.restart)
    approvals = await story.until_it_stands()
    assert story.effects() == step.effects
    for approval in approvals:
        assert len(approval.votes) == step.votes
    match step.state:
        case "indeterminate":
            await story.is_never_sent_again(approvals[0])
        case "done":
            await story.is_told_again()
        case _:
            await story.runs_once(step.votes)
    assert story.effects() == (1 if step.state != "indeterminate" else step.effects)
    await anyio.to_thread.run_sync(story.record_is_sound)
