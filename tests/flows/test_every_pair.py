"""Every way into the gateway, times every way out of it: one list, one call, its progress, and its end before its time."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from mcp import Client

from tests.flows.conftest import UPSTREAMS
from tests.flows.gateway import BOUND_S, DOWNSTREAMS, Folder, Gateway, lines_of, names, until, until_listed, words


@pytest.fixture(scope="module", params=DOWNSTREAMS)
async def client(request: pytest.FixtureRequest, stories: Gateway) -> AsyncIterator[Client]:
    async with stories.client(request.param, stories.folder.keys["alice"]) as client:
        await until_listed(client, *(f"{upstream}__echo" for upstream in UPSTREAMS))
        yield client


@pytest.fixture(params=UPSTREAMS)
def upstream(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def folder(stories: Gateway) -> Folder:
    return stories.folder


@pytest.mark.promise("era-every-pair")
async def test_a_listed_tool_answers_and_both_ends_of_its_call_are_on_record(
    folder: Folder, client: Client, upstream: str
) -> None:
    with anyio.fail_after(BOUND_S):
        assert f"{upstream}__add" in await names(client)
        result = await client.call_tool(f"{upstream}__add", {"a": 20, "b": 22})
    assert (result.is_error, result.structured_content) == (False, {"sum": 42})
    intent, outcome = folder.records("call.*")[-2:]
    assert (intent["kind"], outcome["kind"], outcome["outcome"]["class"]) == ("call.intent", "call.outcome", "completed")
    assert intent["call"] == outcome["call"]
    assert (intent["target"]["name"], intent["who"]["sub"]) == (f"{upstream}__add", "alice")


async def test_progress_of_the_upstream_arrives_while_the_call_runs(client: Client, upstream: str) -> None:
    steps: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    with anyio.fail_after(BOUND_S):
        result = await client.call_tool(f"{upstream}__steps", {"count": 3}, progress_callback=on_progress)
    assert words(result) == "3 steps"
    assert steps == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]


@pytest.mark.promise("cancel-passed-on")
async def test_a_call_that_the_client_cancels_is_cancelled_at_the_upstream_and_recorded(
    folder: Folder, client: Client, upstream: str, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call_tool, f"{upstream}__wait", {"marker": str(marker)})
        await until(lambda: lines_of(marker) == ["started"], "the upstream is at work")
        tasks.cancel_scope.cancel()
    await until(lambda: lines_of(marker) == ["started", "cancelled"], "the upstream has heard of it")
    await until(lambda: not folder.open_calls(), "the outcome is recorded")
    (outcome,) = folder.records("call.outcome")[-1:]
    assert (outcome["outcome"]["class"], outcome["outcome"]["code"]) == ("failed", "cancelled")
    with anyio.fail_after(BOUND_S):
        assert words(await client.call_tool(f"{upstream}__echo", {"text": "still here"})) == "still here"
