"""The redactor dies, hangs, or has no model: no reply leaves, that is on record, and the gateway goes on by itself."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from mcp.shared.exceptions import MCPError

from tests.flows.gateway import BOUND_S, CONFIG, Folder, Gateway, lines_of, make_folder, serving, until, until_listed, words
from tests.real_servers import story_server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """With the real language model."""
    config = CONFIG.replace('model = "none"', 'model = "en_core_web_sm"\ntimeout = "2s"\nmax_bytes = 20_000\ninline_bytes = 0')
    with serving(prepared(tmp_path_factory.mktemp("model") / "gateway", config)) as gateway:
        yield gateway


def prepared(path: Path, config: str) -> Folder:
    folder = make_folder(path, config=config)
    folder.key("alice", "all")
    folder.spawned("story", story_server())
    folder.accept()
    return folder


def redactors(gateway: Gateway) -> list[int]:
    """Return the process ids of the gateway's redaction workers."""
    children = Path(f"/proc/{gateway.process.pid}/task").glob("*/children")
    pids = [int(pid) for task in children for pid in task.read_text().split()]
    return [pid for pid in pids if b"mcpgw.redaction.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_people_in_prose_are_masked_by_the_model(gateway: Gateway) -> None:
    async with gateway.client("http 2026", gateway.folder.keys["alice"]) as client:
        with anyio.fail_after(BOUND_S):
            answer = words(await client.call_tool("story__echo", {"text": "Margaret Thornbury rang: a@example.com"}))
    assert "Thornbury" not in answer and "a@example.com" not in answer
    assert "rang" in answer


async def test_killed_while_idle_it_comes_back_without_a_call(gateway: Gateway) -> None:
    (worker,) = redactors(gateway)
    os.kill(worker, signal.SIGKILL)
    assert "another one is being started" in await gateway.until_problem("redactor")
    await gateway.until_ready()
    assert redactors(gateway) not in ([], [worker])


async def test_hanging_while_a_reply_is_on_its_way_the_reply_is_withheld_and_the_next_one_is_not(
    gateway: Gateway, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    async with gateway.client("http 2026", gateway.folder.keys["alice"]) as client, anyio.create_task_group() as tasks:

        async def hang() -> None:
            await until(lambda: lines_of(marker), "the upstream is at work")
            for worker in redactors(gateway):
                os.kill(worker, signal.SIGSTOP)

        with anyio.fail_after(BOUND_S):
            tasks.start_soon(hang)
            result = await client.call_tool("story__wait", {"marker": str(marker), "seconds": 1})
            assert result.is_error and "withheld" in words(result) and "waited" not in words(result)
            assert "may have had an effect" in words(result)
            await gateway.until_ready()
            assert words(await client.call_tool("story__echo", {"text": "hello"})) == "hello"
    withheld, after = gateway.folder.records("call.outcome")[-2:]
    assert (withheld["outcome"]["code"], withheld["outcome"]["reached"]) == ("redaction", True)
    assert after["outcome"]["class"] == "completed"


async def test_a_reply_that_it_refuses_is_withheld(gateway: Gateway) -> None:
    async with gateway.client("http 2026", gateway.folder.keys["alice"]) as client:
        with anyio.fail_after(BOUND_S):
            result = await client.call_tool("story__echo", {"text": "x" * 15_000})  # which comes back twice: text and structure
    assert result.is_error and "withheld" in words(result) and "xxx" not in words(result)
    (outcome,) = gateway.folder.records("call.outcome")[-1:]
    assert outcome["outcome"]["code"] == "redaction"


async def test_hanging_before_the_call_nothing_is_asked_of_the_upstream(gateway: Gateway, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    async with gateway.client("http 2026", gateway.folder.keys["alice"]) as client:
        await gateway.until_ready()
        for worker in redactors(gateway):
            os.kill(worker, signal.SIGSTOP)
        with (
            anyio.fail_after(BOUND_S),
            pytest.raises(MCPError, match="could not be redacted for the record, so nothing was done"),
        ):
            await client.call_tool("story__count", {"marker": str(marker)})
        assert lines_of(marker) == []
        await gateway.until_ready()
        with anyio.fail_after(BOUND_S):
            assert not (await client.call_tool("story__count", {"marker": str(marker)})).is_error
    assert lines_of(marker) == ["called"]
    (refusal,) = gateway.folder.records("call.refused")[-1:]
    assert refusal["outcome"]["code"] == "unavailable"


async def test_a_model_that_is_not_installed_is_named_and_no_call_gets_through(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    folder = prepared(tmp_path / "gateway", CONFIG.replace('model = "none"', 'model = "en_core_web_trf"'))
    with serving(folder, ready=False) as gateway:
        await until(lambda: "not installed" in gateway.problems().get("redactor", ""), "the missing model is named")
        assert "pip install" in gateway.problems()["redactor"]
        async with gateway.client("http 2026", folder.keys["alice"]) as client:
            await until_listed(client, "story__count")
            with anyio.fail_after(BOUND_S), pytest.raises(MCPError, match="nothing was done"):
                await client.call_tool("story__count", {"marker": str(marker)})
    assert lines_of(marker) == []
    assert [record["outcome"]["code"] for record in folder.records("call.refused")] == ["unavailable"]
