"""The conformance suite's scenarios of the tasks extension, before a gateway where people approve whatever is held.

Three of its ten scenarios are about what a tool does inside its own task, and cannot be about a gateway, whose tasks are held
calls: `tasks-mrtr-input` (a task that asks its client for input), `tasks-mrtr-composition` (a tool that asks, and then becomes
a task) and `tasks-required-task-error` (a tool that cannot be called without a task; a held call always can).
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
from mcpgw.core.errors import ApprovalConflict
from mcpgw.core.model import Verdict
from mcpgw.ports import ApprovalState
from tests.flows.gateway import Folder, Gateway, make_folder, serving
from tests.flows.suite import before
from tests.real_servers import NODE, NODE_MODULES, ROOT

SUITE = NODE_MODULES / "@modelcontextprotocol/conformance/dist/index.js"
SCENARIOS = {
    "tasks-lifecycle": 9,
    "tasks-capability-negotiation": 5,
    "tasks-wire-fields": 4,
    "tasks-request-state-removal": 3,
    "tasks-request-headers": 5,
    "tasks-dispatch-and-envelope": 9,
    "tasks-status-notifications": 0,  # the suite skips its own check; tests/flows/test_tasks.py has one
}
"""Those that can be about a gateway, and how many checks each one makes."""
RULES = """
[[rules]]
id = "people-look"
effect = "hold"
tools = ["suite__slow_compute", "suite__failing_job", "suite__protocol_error_job", "suite__confirm_delete"]
reason = "People look at this first."
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    if not SUITE.exists():
        pytest.skip("the conformance suite is not installed: scripts/upstreams")
    folder = make_folder(tmp_path_factory.mktemp("suite") / "gateway", RULES)
    for scenario in SCENARIOS:  # an identity each: the identical call of the same caller would get the recorded result
        folder.key(scenario, "all")
    folder.key("carol", "leads")
    folder.spawned("suite", [sys.executable, str(ROOT / "tests/servers/suite_server.py")])
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


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_scenario_passes(gateway: Gateway, scenario: str, tmp_path: Path) -> None:
    async with approving(gateway.folder), before(gateway.url, gateway.folder.keys[scenario]) as url:
        command = [str(NODE), str(SUITE), "server", "--url", url, "--scenario", scenario]

        def run() -> "subprocess.CompletedProcess[str]":
            return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

        done = await anyio.to_thread.run_sync(run)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert f"Passed: {SCENARIOS[scenario]}/{SCENARIOS[scenario]}, 0 failed, 0 warnings" in said, said
