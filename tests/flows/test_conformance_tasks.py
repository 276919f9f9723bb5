"""The conformance suite's scenarios of the tasks extension, before a gateway where people approve whatever is held.

Nine are about tasks that are held calls: of the two about input, the first has a rule that lets the server ask in the middle of
the approved call, the second one that holds the call once it brings answers. `tasks-required-task-error` is about a tool that
works only as a task of its server's, and about a client of 2026-07-28 that declares no tasks: the server is told so, and its
refusal reaches the client whole.
"""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from mcpgw.app import convert
from mcpgw.cli.common import open_gateway_store
from mcpgw.core.entries import Verdict
from mcpgw.core.errors import ApprovalConflict
from mcpgw.ports import ApprovalState
from tests.flows.gateway import Folder, Gateway, listening, make_folder, serving
from tests.flows.raw_tasks import TASKS, raw_client
from tests.flows.suite import SUITE, before
from tests.real_servers import NODE, ROOT, task_server

SCENARIOS = {
    "tasks-lifecycle": 9,
    "tasks-capability-negotiation": 5,
    "tasks-wire-fields": 4,
    "tasks-request-state-removal": 3,
    "tasks-request-headers": 5,
    "tasks-dispatch-and-envelope": 9,
    "tasks-status-notifications": 0,  # the suite skips its own check; tests/flows/test_tasks.py has one
    "tasks-mrtr-input": 4,
    "tasks-mrtr-composition": 2,
}
"""Those that can be about held calls, and how many checks each one makes."""
RULES = """
[[rules]]
id = "people-look"
effect = "hold"
tools = ["suite__slow_*", "suite__*_job", "suite__confirm_delete", "suite__multi_input"]
may_be_asked = true
reason = "People look at this first."

[[rules]]
id = "people-look-at-answers"
effect = "hold"
tools = ["suite__test_tool_with_task"]
when = "size(answers) > 0"
"""
QUESTIONS = """
[defaults]
questions = ["form"]

[tools.test_tool_with_task]
redaction = { profile = "names" }
"""
NAMES = """
[redaction.profiles.names]
operators = { PERSON = "keep" }
"""
"""The suite looks for the name that its client gave."""


MAY_ASK_NOTHING = "asked for input, though it was told that it may ask nothing"
HELD_QUESTIONS = """
[[rules]]
id = "people-look"
effect = "hold"
tools = ["suite__confirm_delete"]
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    if not SUITE.exists():
        pytest.skip("the conformance suite is not installed: scripts/upstreams")
    folder = make_folder(tmp_path_factory.mktemp("suite") / "gateway", RULES + NAMES)
    for scenario in SCENARIOS:  # an identity each: the identical call of the same caller would get the recorded result
        folder.key(scenario, "all")
    folder.key("carol", "leads")
    folder.spawned("suite", [sys.executable, str(ROOT / "tests/servers/suite_server.py")], QUESTIONS)
    folder.accept()
    with serving(folder) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def its_url() -> Iterator[str]:
    """Run a server that makes tasks of its own; yield its URL."""
    with listening(task_server()) as port:
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.fixture(scope="module")
def in_front_of_it(tmp_path_factory: pytest.TempPathFactory, its_url: str) -> Iterator[Gateway]:
    if not SUITE.exists():
        pytest.skip("the conformance suite is not installed: scripts/upstreams")
    folder = make_folder(tmp_path_factory.mktemp("behind") / "gateway", HELD_QUESTIONS)
    folder.key("alice", "all")
    folder.key("carol", "leads")
    folder.called("suite", "http", its_url)
    folder.accept()
    with serving(folder) as gateway:
        yield gateway


@asynccontextmanager
async def approving(folder: Folder) -> AsyncIterator[None]:
    """Let Carol approve whatever is held, as soon as it is."""

    async def approve() -> None:
        async with open_gateway_store(folder.path) as store:
            carol = await convert.authenticators(store.settings).authenticate(folder.keys["carol"])
            while True:
                for held in await store.desk.docket(carol, [ApprovalState.PENDING]):
                    try:
                        await store.desk.vote(held.id, carol, Verdict.APPROVE)
                    except ApprovalConflict:
                        continue  # cancelled meanwhile
                await store.ledger.changed(1.0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(approve)
        yield
        tasks.cancel_scope.cancel()


async def played(scenario: str, url: str, folder: Path) -> str:
    """Run one scenario against the URL, and return what the suite printed."""

    def run() -> "subprocess.CompletedProcess[str]":
        command = [str(NODE), str(SUITE), "server", "--url", url, "--scenario", scenario]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)

    done = await anyio.to_thread.run_sync(run)
    return done.stdout + done.stderr


@pytest.mark.promise("tasks-scenarios")
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_scenario_passes(gateway: Gateway, scenario: str, tmp_path: Path) -> None:
    async with approving(gateway.folder), before(gateway.url, gateway.folder.keys[scenario]) as url:
        said = await played(scenario, url, tmp_path)
    assert f"Passed: {SCENARIOS[scenario]}/{SCENARIOS[scenario]}, 0 failed, 0 warnings" in said, said


async def test_a_tool_that_works_only_as_a_task_refuses_through_the_gateway_as_the_suite_asks(
    in_front_of_it: Gateway, tmp_path: Path
) -> None:
    async with before(in_front_of_it.url, in_front_of_it.folder.keys["alice"]) as url:
        said = await played("tasks-required-task-error", url, tmp_path)
    assert "Passed: 3/3, 0 failed, 0 warnings" in said, said


async def test_a_server_that_wants_to_ask_in_the_middle_of_a_call_is_told_of_no_capability(in_front_of_it: Gateway) -> None:
    """The catalog lets it ask nothing. It asks all the same, and its call fails."""
    folder = in_front_of_it.folder
    async with raw_client(in_front_of_it.url, folder.keys["alice"]) as alice:
        failed = await alice.call("suite__test_tool_with_task", {})
        assert failed["isError"] and MAY_ASK_NOTHING in failed["content"][0]["text"]
        held = await alice.held("suite__confirm_delete", {"filename": "a"})
        async with approving(folder):
            task = await alice.ended(held)
        assert task["status"] == "completed" and task["result"]["isError"]
        end = folder.records("call.outcome")[-1]["outcome"]
        assert MAY_ASK_NOTHING in end["reason"] and end["reached"]
        alice.declares = {}
        refused = await alice.refused("tools/call", {"name": "suite__test_tool_with_task", "arguments": {}})
        assert (refused["code"], refused["data"]["requiredCapabilities"]) == (-32021, {"extensions": {TASKS: {}}})
