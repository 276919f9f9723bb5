"""Asked to stop in the middle of calls, the gateway finishes or records each of them, and closes what it opened."""

import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp.shared.exceptions import MCPError

from tests.flows.gateway import BOUND_S, MODERN, Folder, Gateway, lines_of, make_folder, serving, until, until_listed, words
from tests.real_servers import story_server


def prepared(tmp_path: Path) -> Folder:
    folder = make_folder(tmp_path / "gateway")
    folder.key("alice", "all")
    folder.spawned("story", story_server())
    folder.accept()
    return folder


def listens(gateway: Gateway) -> bool:
    try:
        gateway.problems()
    except httpx2.TransportError:
        return False
    return True


async def test_calls_under_way_are_answered_or_ended_and_each_has_its_outcome(tmp_path: Path) -> None:
    folder, release = prepared(tmp_path), tmp_path / "release"
    quick, slow = tmp_path / "quick", tmp_path / "slow"
    answers: dict[str, Any] = {}

    with serving(folder) as gateway:

        async def call(name: str, downstream: str, **arguments: str) -> None:
            async with gateway.client(downstream, folder.keys["alice"]) as client:
                await until_listed(client, "story__wait")
                try:
                    answers[name] = words(await client.call_tool("story__wait", arguments))
                except MCPError as error:
                    answers[name] = str(error)

        with anyio.fail_after(BOUND_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: call("quick", "http 2026", marker=str(quick), until=str(release)))
                tasks.start_soon(lambda: call("slow", "sse 2025", marker=str(slow)))
                await until(lambda: lines_of(quick) and lines_of(slow), "both calls are with the upstream")
                gateway.process.send_signal(signal.SIGTERM)
                await until(lambda: not listens(gateway), "the end has begun")
                release.touch()
        assert await anyio.to_thread.run_sync(gateway.process.wait) == 0
    assert answers["quick"] == "waited"
    assert answers["slow"] != "waited"
    assert lines_of(slow)[:2] == ["started", "cancelled"]
    ends = sorted((record["outcome"]["class"], record["outcome"].get("code", "")) for record in folder.records("call.outcome"))
    assert ends == [("completed", ""), ("failed", "cancelled")]
    assert folder.records()[-1]["kind"] == "gateway.stopped"


async def test_killed_in_the_middle_of_a_call_the_next_start_says_that_its_end_is_unknown(tmp_path: Path) -> None:
    folder, marker = prepared(tmp_path), tmp_path / "marker"

    with serving(folder) as gateway:
        with anyio.fail_after(BOUND_S):
            async with anyio.create_task_group() as tasks:

                async def call() -> None:
                    with suppress(Exception):  # whatever a client makes of a gateway that vanishes
                        await begin()

                async def begin() -> None:
                    async with gateway.client("http 2026", folder.keys["alice"]) as client:
                        await until_listed(client, "story__wait")
                        await client.call_tool("story__wait", {"marker": str(marker)})

                tasks.start_soon(call)
                await until(lambda: lines_of(marker), "the call is with the upstream")
                gateway.process.kill()
                await anyio.to_thread.run_sync(gateway.process.wait)
                tasks.cancel_scope.cancel()
        (lost,) = folder.open_calls()
        with serving(folder) as again:
            assert again.process.poll() is None
    (indeterminate,) = folder.records("call.indeterminate")
    assert indeterminate["call"] == lost
    assert lines_of(marker)[0] == "started" and "finished" not in lines_of(marker)


async def test_a_stdio_gateway_that_is_told_to_end_records_the_call_that_it_gives_up(tmp_path: Path) -> None:
    folder, marker = prepared(tmp_path), tmp_path / "marker"
    environ = folder.full_environ(folder.keys["alice"])
    command = [sys.executable, "-m", "mcpgw", "stdio", "-C", str(folder.path)]
    async with await anyio.open_process(command, env=environ) as gateway:
        assert gateway.stdin is not None
        call = {"name": "story__wait", "arguments": {"marker": str(marker)}}
        for message in (request(1, "tools/list", {}), request(2, "tools/call", call)):
            await gateway.stdin.send(json.dumps(message).encode() + b"\n")
        await until(lambda: lines_of(marker), "the call is with the upstream")
        gateway.terminate()
        with anyio.fail_after(BOUND_S):
            assert await gateway.wait() == 0
    (outcome,) = folder.records("call.outcome")
    assert (outcome["outcome"]["class"], outcome["outcome"]["code"]) == ("failed", "cancelled")
    assert folder.records()[-1]["kind"] == "gateway.stopped"
    await until(lambda: "cancelled" in lines_of(marker), "the upstream has heard of it")


def request(number: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
    names = {"protocolVersion": MODERN, "clientCapabilities": {}, "clientInfo": {"name": "raw", "version": "0"}}
    meta = {f"io.modelcontextprotocol/{key}": value for key, value in names.items()}
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": meta}}
