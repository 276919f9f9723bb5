"""The pipe: hostile lines, a revoked key, and a real process with a real end."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from mcpgw.core.model import FailureCode, RefusalCode
from mcpgw.inbound.config import InboundConfig
from tests.inbound.doors import World
from tests.inbound.raw import INITIALIZE, legacy, modern
from tests.inbound.wire import MODERN, piped

PROGRAM = [sys.executable, "-m", "tests.inbound.stdio_program"]


class Wire:
    """A client that writes lines as they are."""

    def __init__(self, writer: Any, lines: Any) -> None:
        self._writer = writer
        self._lines = lines

    def send(self, line: bytes | dict[str, Any]) -> None:
        self._writer.write((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
        self._writer.flush()

    async def answer(self) -> Any:
        return json.loads(await self._lines.readline())


async def test_a_malformed_line_is_answered_and_recorded_and_the_next_one_is_served() -> None:
    world = World(config=InboundConfig(version="1", max_body_bytes=10_000, max_depth=8))
    hostile: list[tuple[bytes, int]] = [
        (b"not json", -32700),
        (b"[]", -32600),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"' + b"x" * 30_000 + b'"}}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":' + b"[" * 9 + b"]" * 9 + b"}}", -32600),
        (b"\xff\xfe", -32700),
    ]
    with anyio.fail_after(10):
        async with piped(world.server(), world, "alice-key") as (writer, lines):
            wire = Wire(writer, lines)
            for line, code in hostile:
                wire.send(line)
                assert (await wire.answer())["error"]["code"] == code, line[:40]
            wire.send(b"")
            wire.send(b"  \r")
            wire.send(modern("tools/call", {"name": "bank__echo"}))
            assert (await wire.answer())["result"]["resultType"] == "complete"
    assert [entry.refused.code for entry in world.rejections()] == [RefusalCode.MALFORMED] * len(hostile)
    assert {entry.origin.transport for entry in world.rejections()} == {"stdio"}


async def test_a_revoked_key_stops_at_the_next_line() -> None:
    world = World()
    with anyio.fail_after(10):
        async with piped(world.server(), world, "alice-key") as (writer, lines):
            wire = Wire(writer, lines)
            wire.send(modern("tools/list"))
            assert "result" in await wire.answer()
            del world.keys.keys["alice-key"]
            wire.send(legacy("notifications/cancelled", {"requestId": 1}, request_id=None))  # is not answered
            wire.send(modern("tools/list"))
            answer = await wire.answer()
            world.keys.keys = None  # a fault of the room behind
            wire.send(modern("tools/list"))
            fault = await wire.answer()
    assert fault["error"]["message"] == "The gateway could not check the credential."
    assert answer == {"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": "The key is unknown or revoked."}}
    unauthenticated, unavailable = RefusalCode.UNAUTHENTICATED, RefusalCode.UNAVAILABLE
    assert [entry.refused.code for entry in world.rejections()] == [unauthenticated, unauthenticated, unavailable]


async def test_a_client_that_reads_no_more_ends_its_calls() -> None:
    world = World()
    with anyio.fail_after(10):
        async with piped(world.server(), world, "alice-key") as (writer, lines):
            wire = Wire(writer, lines)
            wire.send(modern("tools/call", {"name": "bank__wait"}))
            await world.upstreams.started.wait()
            await lines.aclose()
            wire.send(b"not json")
            await world.upstreams.cancelled.wait()
    assert [outcome.result.code for outcome in world.outcomes()] == [FailureCode.CANCELLED]


async def test_calls_under_way_are_answered_after_the_client_closed_its_end() -> None:
    world = World()
    with anyio.fail_after(10):
        async with piped(world.server(), world, "alice-key") as (writer, lines):
            wire = Wire(writer, lines)
            wire.send(INITIALIZE)
            await wire.answer()
            wire.send(legacy("notifications/initialized", request_id=None))
            wire.send(legacy("tools/call", {"name": "bank__wait"}))
            await world.upstreams.started.wait()
            writer.close()
            world.upstreams.release.set()
            assert (await wire.answer())["result"]["content"][0]["text"] == "{}"
            assert await lines.readline() == b""


@pytest.mark.promise("stdio-only-messages")
@pytest.mark.parametrize("mode", [MODERN, "legacy"])
async def test_a_real_process_speaks_both_eras_and_nothing_else_on_stdout(mode: str) -> None:
    program = StdioServerParameters(command=PROGRAM[0], args=PROGRAM[1:], cwd=Path.cwd())
    with anyio.fail_after(20):
        async with Client(program, mode=mode, cache=None) as client:
            assert "bank__echo" in {tool.name for tool in (await client.list_tools()).tools}
            assert (await client.call_tool("bank__echo", {"a": 1})).content[0].text == '{"a": 1}'


async def test_a_script_may_write_its_questions_and_close_the_pipe() -> None:
    questions = b"".join(json.dumps(message).encode() + b"\n" for message in (modern("tools/call", {"name": "bank__echo"}),))
    with anyio.fail_after(20):
        done = await anyio.run_process(PROGRAM, input=questions)
    answer, after = done.stdout.splitlines()
    assert json.loads(answer)["result"]["content"] == [{"type": "text", "text": "{}"}]
    assert after == b"stdout is the program's own again"
    assert b"a stray print of some library" in done.stderr
    assert b"1 outcomes" in done.stderr


async def test_a_client_that_keeps_the_pipe_open_does_not_keep_the_process_alive() -> None:
    with anyio.fail_after(20):
        async with await anyio.open_process(PROGRAM) as process:
            assert process.stdin is not None and process.stdout is not None
            await process.stdin.send(json.dumps(INITIALIZE).encode() + b"\n")
            assert b'"protocolVersion"' in await process.stdout.receive()
            process.send_signal(signal.SIGINT)
            await process.wait()
