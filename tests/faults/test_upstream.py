"""An upstream that goes away in the middle of calls: each call has one outcome, which says whether an effect is possible."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import anyio
import pytest

from tests.faults.clients import ask
from tests.faults.evidence import Evidence
from tests.faults.folder import Faults, fault_folder
from tests.faults.history import OUTCOME, Answer, History, Said, check
from tests.faults.process import one_of
from tests.flows.gateway import BOUND_S, Gateway, serving, until

AT_ONCE = 8


@dataclass
class Scene:
    faults: Faults
    gateway: Gateway
    http: aiohttp.ClientSession
    answers: list[Answer] = field(default_factory=list)

    async def ask(self, tool: str, deed: str, ms: int = 0) -> Answer:
        answer = await ask(self.http, self.gateway.url, self.faults.keys[0], tool, deed, ms=ms)
        self.answers.append(answer)
        return answer

    async def works(self, server: str, deed: str) -> None:
        """Wait until the server is back: until then calls fail, and say that they had no effect."""
        with anyio.fail_after(BOUND_S):
            attempt = 0
            while (answer := await self.ask(f"{server}__do", f"{deed}_{attempt}")).said is not Said.COMPLETED:
                assert answer.harmless, answer
                attempt += 1
                await anyio.sleep(0.1)

    def effects(self, prefix: str) -> int:
        return sum(effect.deed.startswith(prefix) for effect in self.faults.effects())

    def outcomes(self, prefix: str) -> list[tuple[str, bool]]:
        """Return outcome and `reached` of every intent for such deeds, and judge the whole history on the way."""
        entries = Evidence(self.faults.database).read()
        assert check(History(answers=self.answers, effects=self.faults.effects(), entries=entries)) == []
        calls = {entry.call for entry in entries if entry.deed.startswith(prefix)}
        return [(e.outcome, e.reached) for e in entries if e.call in calls and e.kind == OUTCOME]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Faults, Gateway]]:
    with fault_folder(tmp_path_factory.mktemp("upstream")) as faults, serving(faults.folder) as gateway:
        yield faults, gateway


@pytest.fixture
async def scene(running: tuple[Faults, Gateway]) -> AsyncIterator[Scene]:
    timeout = aiohttp.ClientTimeout(total=BOUND_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
        yield Scene(*running, http)


@pytest.mark.parametrize("tool", ["web__cut", "pipe__cut", "pipe__die"])
async def test_a_connection_that_is_cut_in_the_middle_of_a_call_is_one_failure_that_may_have_had_an_effect(
    scene: Scene, tool: str
) -> None:
    await scene.works(tool.split("__")[0], f"{tool}_before")
    answer = await scene.ask(tool, f"{tool}_lost")
    assert answer.said is Said.FAILED and not answer.harmless
    assert scene.outcomes(f"{tool}_lost") == [("failed", True)]
    assert scene.effects(f"{tool}_lost") == 1
    await scene.works(tool.split("__")[0], f"{tool}_after")


@pytest.mark.parametrize("server", ["pipe", "web"])  # the latter last: nobody starts it again
async def test_an_upstream_that_is_killed_in_the_middle_of_many_calls_gives_each_its_one_failure(
    scene: Scene, server: str
) -> None:
    await scene.works(server, f"{server}_before")
    parent, command = (scene.gateway.process.pid, "stdio") if server == "pipe" else (os.getpid(), "http")
    upstream = one_of(parent, f"deed_server.py {command}")
    with anyio.fail_after(BOUND_S):
        async with anyio.create_task_group() as tasks:
            for number in range(AT_ONCE):
                tasks.start_soon(scene.ask, f"{server}__do", f"{server}_killed_{number}", 60_000)
            await until(lambda: scene.effects(f"{server}_killed") == AT_ONCE, "all calls have had their effect")
            os.kill(upstream.pid, signal.SIGKILL)
    answers = [answer for answer in scene.answers if answer.deed.startswith(f"{server}_killed")]
    assert [(answer.said, answer.harmless) for answer in answers] == [(Said.FAILED, False)] * AT_ONCE
    assert scene.outcomes(f"{server}_killed") == [("failed", True)] * AT_ONCE
    if server == "pipe":
        await scene.works("pipe", "pipe_after")
    else:
        down = await scene.ask("web__do", "web_down")
        assert down.said is Said.FAILED and down.harmless
        assert scene.outcomes("web_down") == [("failed", False)] and scene.effects("web_down") == 0


async def test_what_was_lost_upstream_is_never_sent_again(scene: Scene, tmp_path: Path) -> None:
    """The checks above look right after the failure; a late repetition would be seen here, at the end of them all."""
    deeds = [effect.deed for effect in scene.faults.effects()]
    assert len(deeds) == len(set(deeds)) > 2 * AT_ONCE
