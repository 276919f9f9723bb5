"""SIGTERM under load: what is under way is answered or recorded, the exit code is 0, and the next start finds nothing open."""

import random
from pathlib import Path

import aiohttp
import anyio
import pytest

from tests.faults.clients import Crowd, ask
from tests.faults.evidence import Evidence
from tests.faults.folder import approving, fault_folder
from tests.faults.history import INDETERMINATE, Answer, History, Said, check
from tests.faults.process import descendants, start, survivors, until_serving
from tests.flows.gateway import BOUND_S, serving, until

CLIENTS, SLOW = 16, 4


@pytest.mark.slow
async def test_a_gateway_that_is_told_to_stop_under_load_leaves_nothing_open(tmp_path: Path) -> None:
    with fault_folder(tmp_path) as faults, approving(faults), anyio.fail_after(180):
        gateway = start(faults.folder)
        await anyio.to_thread.run_sync(until_serving, gateway)
        crowd = Crowd(faults.keys, lambda: gateway.url, random.Random(11))
        slow: list[Answer] = []
        timeout = aiohttp.ClientTimeout(total=BOUND_S)
        async with aiohttp.ClientSession(timeout=timeout) as http, anyio.create_task_group() as tasks:

            async def beyond_the_grace(number: int) -> None:
                slow.append(await ask(http, gateway.url, faults.keys[number], "web__do", f"slow_{number}", ms=60_000))

            for number in range(SLOW):
                tasks.start_soon(beyond_the_grace, number)
            async with anyio.create_task_group() as load:
                load.start_soon(crowd.run, CLIENTS)
                wanted = {Said.COMPLETED, Said.HELD, Said.REFUSED}
                await until(lambda: wanted <= {answer.said for answer in crowd.answers}, "the load is on")
                children = descendants(gateway.process.pid)
                code = await anyio.to_thread.run_sync(gateway.stop)
                load.cancel_scope.cancel()
        assert code == 0, "".join(gateway.log)
        assert children and survivors(children) == []
        assert [answer.said for answer in slow] == [Said.GIVEN_UP] * SLOW

        evidence = Evidence(faults.database)
        entries = evidence.read()
        answers = [*crowd.answers, *slow]
        assert check(History(answers=answers, effects=faults.effects(), entries=entries)) == []
        assert Said.TURNED_AWAY in {answer.said for answer in answers}
        with serving(faults.folder):
            pass
        assert not [entry for entry in evidence.read() if entry.kind == INDETERMINATE]
