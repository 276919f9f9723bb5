"""`kill -9` of a `mcpgw stdio` beside a running `serve` on the same folder. Who records what it left behind?

The living process, within one window of refusals (10 s), or whatever next opens the record for writing, at once.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import anyio
import pytest

from mcpgw.ledger.floods import FloodLimits
from tests.faults.clients import ENVELOPE, ask
from tests.faults.evidence import Evidence
from tests.faults.folder import Faults, fault_folder
from tests.faults.history import INDETERMINATE, OUTCOME, History, Said, check
from tests.faults.process import descendants, survivors
from tests.flows.gateway import BOUND_S, Gateway, serving, until

WINDOW_S = FloodLimits().window_s


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Faults, Gateway]]:
    with fault_folder(tmp_path_factory.mktemp("stdio")) as faults, serving(faults.folder) as gateway:
        yield faults, gateway


@contextmanager
def stdio(faults: Faults) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "mcpgw", "stdio"],
        cwd=faults.folder.path,
        env=faults.folder.full_environ(faults.keys[1]),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


async def killed_in_a_call(faults: Faults, deed: str) -> None:
    """Start a gateway over stdio, let it make a call on each upstream, and kill it in the middle of both."""
    with stdio(faults) as process:
        assert process.stdin is not None
        for number, server in enumerate(("web", "pipe")):
            arguments = {"deed": f"{deed}_{server}", "ms": 60_000}
            params = {"name": f"{server}__do", "arguments": arguments, "_meta": ENVELOPE}
            process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}) + "\n")
        process.stdin.flush()
        wanted = {f"{deed}_web", f"{deed}_pipe"}
        await until(lambda: wanted <= {effect.deed for effect in faults.effects()}, "both calls have had their effect")
        children = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(BOUND_S)
        assert children and survivors(children) == []
    evidence = Evidence(faults.database)
    entries = evidence.read()
    assert check(History(effects=faults.effects(), entries=entries, recovered=False)) == []
    assert {entry.deed for entry in entries if entry.call in evidence.open_calls()} >= wanted


def buried(faults: Faults, deed: str) -> list[str]:
    """Return the nodes that recorded the calls of these deeds as indeterminate."""
    calls = {entry.call for entry in Evidence(faults.database).read() if entry.deed.startswith(deed)}
    return [record["node"] for record in faults.folder.records(INDETERMINATE) if record["call"] in calls]


@pytest.mark.slow
async def test_the_living_gateway_records_what_a_killed_one_left_behind_and_its_own_calls_go_on(
    running: tuple[Faults, Gateway],
) -> None:
    faults, gateway = running
    (serve,) = (record["facts"]["node"] for record in faults.folder.records("gateway.started"))
    timeout = aiohttp.ClientTimeout(total=3 * BOUND_S)
    async with aiohttp.ClientSession(timeout=timeout) as http, anyio.create_task_group() as tasks:
        answers = []

        async def own_call() -> None:
            answers.append(await ask(http, gateway.url, faults.keys[0], "web__do", "own", ms=int(WINDOW_S * 1500)))

        with anyio.fail_after(3 * BOUND_S):
            tasks.start_soon(own_call)
            await until(lambda: any(effect.deed == "own" for effect in faults.effects()), "the call is under way")
            await killed_in_a_call(faults, "living")
            await until(lambda: len(buried(faults, "living")) == 2, "the living gateway has recorded both")
    assert buried(faults, "living") == [serve, serve]
    assert [answer.said for answer in answers] == [Said.COMPLETED]
    entries = Evidence(faults.database).read()
    assert check(History(answers=answers, effects=faults.effects(), entries=entries)) == []
    assert [entry.kind for entry in entries if entry.call == answers[0].call][1:] == [OUTCOME]


async def test_whoever_opens_the_record_next_records_it_at_once(running: tuple[Faults, Gateway]) -> None:
    faults, _ = running
    with anyio.fail_after(2 * BOUND_S):
        await killed_in_a_call(faults, "next")
        await faults.folder.acli("approvals", "list", key=faults.approver)
    assert len(buried(faults, "next")) == 2


async def test_after_both_are_killed_the_next_start_records_the_calls_of_both(tmp_path: Path) -> None:
    with fault_folder(tmp_path) as faults:
        with anyio.fail_after(3 * BOUND_S):
            await killed_in_a_call(faults, "first")
            await killed_in_a_call(faults, "second")
        with serving(faults.folder):
            (serve,) = (record["facts"]["node"] for record in faults.folder.records("gateway.started")[-1:])
            assert buried(faults, "second") == [serve, serve]
    assert len(buried(faults, "first")) == 2  # by the second gateway, as it started
