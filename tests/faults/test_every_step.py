"""`kill -9` at every step of an approved call, before and after each commit: at most one effect, and nobody is told otherwise.

Two people have to approve. Whoever is at the step dies there: the gateway, or the process of the person who votes. Then a
gateway starts again, and everything is looked at: what is stored, what the identical call gets, what people can do about it.
The same at every step of a use of a grant: never more calls, nor a larger total, than were granted.
"""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache

import aiohttp
import anyio
import pytest

from mcpgw.ports import Approval
from tests.faults.clients import ask
from tests.faults.history import Answer, Said
from tests.faults.stage import MORTAL, PEOPLE, STANDS_WITHIN_S, Stage, open_stage
from tests.faults.stores import SQLITE, in_postgres
from tests.faults.uses import CALLS, TOTAL, UseStep, Using
from tests.flows.gateway import BOUND_S, bearer, until
from tests.ledger.postgres_server import cannot_run

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
USE_STEPS = [
    UseStep(moment="before Intent", outcomes=("done",)),
    UseStep(moment="after Intent", outcomes=("done", "indeterminate"), on_postgres=True),
    UseStep(moment="before Outcome", outcomes=("done", "indeterminate"), effects=1),
    UseStep(moment="after Outcome", outcomes=("done", "done"), effects=1),
]
USES_PLAYED = [("sqlite", step) for step in USE_STEPS] + [("postgres", step) for step in USE_STEPS if step.on_postgres]


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Stage]]:
    """The stage of each store, opened when it is first wanted, for all steps that are played on it."""
    with ExitStack() as stack:

        @cache
        def on(store: str) -> Stage:
            if store == "postgres" and (why := cannot_run()):
                pytest.skip(why)
            place = stack.enter_context(in_postgres()) if store == "postgres" else SQLITE
            return stack.enter_context(open_stage(tmp_path_factory.mktemp("steps"), place.url))

        yield on


@pytest.fixture
def stage(store: str, stages: Callable[[str], Stage]) -> Stage:
    return stages(store)


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
        return self.stage.effects(self.deed)

    async def approvals(self) -> list[Approval]:
        """Return what there is of this call at the desk, the newest first."""
        return [one for one in await self.stage.approvals() if one.facts["arguments"]["deed"] == self.deed]

    async def vote(self, person: str) -> None:
        """Vote beside the gateway."""
        (approval,) = await self.approvals()
        await self.stage.vote(person, approval.id)

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


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=BOUND_S)) as http:
        yield http


@pytest.mark.slow
@pytest.mark.parametrize(("store", "step"), PLAYED, ids=[f"{store}-{step.name}" for store, step in PLAYED])
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
    await anyio.to_thread.run_sync(stage.record_is_sound)


@pytest.mark.slow
@pytest.mark.parametrize(("store", "step"), USES_PLAYED, ids=[f"{store}-{step.name}" for store, step in USES_PLAYED])
async def test_whoever_dies_while_a_grant_is_used_leaves_no_more_to_use_than_was_granted(
    stage: Stage, http: aiohttp.ClientSession, step: UseStep
) -> None:
    using = Using(stage, step, http)
    grant = await using.granted()
    assert await using.call("first", 1) is Said.COMPLETED
    await using.dies_calling("fatal", 2)
    await anyio.to_thread.run_sync(stage.restart)

    left = TOTAL - sum(int(use.amount) for use in await using.until_it_stands(grant))
    assert using.effects("fatal") == step.effects
    assert await using.call("beyond", left + 1) is Said.HELD, "the total counts what may have happened"
    assert await using.call("rest", left) is Said.COMPLETED
    spare = [f"spare_{word}" for word in ("one", "two")][: CALLS - len(step.outcomes) - 1]
    assert [await using.call(deed, 0) for deed in spare] == [Said.COMPLETED] * len(spare)
    assert await using.call("over", 0) is Said.HELD, "so does the number of calls"

    used = await using.approval(grant)
    assert (used.state.value, used.usage) == ("approved", f"used {CALLS} of {CALLS}, {TOTAL} of {TOTAL} ms")
    assert [use.outcome for use in used.uses] == [*step.outcomes, "done", *["done"] * len(spare)]
    ran = {deed: using.effects(deed) for deed in ("first", "fatal", "beyond", "rest", *spare, "over")}
    assert ran == {**dict.fromkeys(ran, 1), "fatal": step.effects, "beyond": 0, "over": 0}
    await anyio.to_thread.run_sync(stage.record_is_sound)
