"""A child's life: what it sees, how it ends, and that it never outlives the gateway."""

import dataclasses
import json
import logging
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from subprocess import PIPE

import anyio
import pytest

from mcpgw.core.errors import UpstreamError
from mcpgw.ports import ServerState
from mcpgw.upstream import HttpServer, ServerConfig, SseServer, StdioServer, UpstreamPool
from mcpgw.upstream.config import confidential
from mcpgw.upstream.stdio import INHERITED
from tests.real_servers import ROOT, odd_server, story_server, story_url
from tests.upstream.world import FINGERPRINT, QUICK, gone, http, line_in, pool_of, python, sse, stdio, texts

SECRET = "hunter2-correct-horse"


async def test_a_child_sees_a_whitelist_of_the_environment_and_what_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("WANTED", "yes")
    config = stdio(story_server(), env={"DB_URL": "sqlite:///x"}, inherit_env=("WANTED", "NOT_SET"))
    async with pool_of(config) as world:
        seen = json.loads(texts(await world.call("environment"))[0])
    assert seen["DB_URL"] == "sqlite:///x"
    assert seen["WANTED"] == "yes"
    assert set(seen) - {"DB_URL", "WANTED", "LC_CTYPE"} <= set(INHERITED)  # CPython itself may set LC_CTYPE (PEP 538)


async def test_secrets_stand_in_no_status_no_log_no_repr_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    code = "import os, sys; print('cannot log in with', os.environ['TOKEN'], sys.argv[1], file=sys.stderr); sys.exit(1)"
    config = StdioServer(
        fingerprint=FINGERPRINT,
        command=sys.executable,
        args=("-c", code, f"--key={SECRET}"),
        env={"TOKEN": f"line1-{SECRET}\nline2-{SECRET}"},
        confidential=(f"--key={SECRET}",),
    )
    headers = {"Authorization": f"Bearer {SECRET}"}
    url = f"http://user:{SECRET}@127.0.0.1:1/mcp?key={SECRET}"
    servers = {"s": config, "h": http(url, headers), "e": sse(url, headers), "n": http(f"nonsense:{SECRET}")}
    async with pool_of(servers, ready=False) as world:
        told = [await world.until(ServerState.DOWN, name) for name in servers]
        for name in servers:
            with pytest.raises(UpstreamError) as caught:
                await world.call("x", server=name)
            assert SECRET not in str(caught.value)
        assert "cannot log in with" in told[0].problem
        assert SECRET not in repr(told) + repr(servers) + repr(world.pool.status()) + caplog.text


async def test_a_child_that_cannot_start_says_why_in_the_admins_status() -> None:
    servers = {
        "missing": stdio(["no-such-program-anywhere"]),
        "folder": stdio([sys.executable], cwd="/no/such/folder"),
        "words": python("import sys; sys.exit('DB_URL is \\x1b[31mnot\\x07 set')"),
    }
    async with pool_of(servers, ready=False) as world:
        problems = {name: (await world.until(ServerState.DOWN, name)).problem for name in servers}
    assert "not installed or not on PATH" in problems["missing"]
    assert "cannot start" in problems["folder"]
    assert "exited with status 1" in problems["words"]
    assert "DB_URL is  [31mnot  set" in problems["words"]


@pytest.mark.promise("stdio-shutdown")
async def test_a_child_ends_by_itself_when_its_input_closes(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    code = f"import sys; sys.stdin.read(); open({str(marker)!r}, 'w').write('ended by itself\\n')"
    async with pool_of(python(code), ready=False):
        await anyio.sleep(0.3)
    await line_in(marker, "ended by itself")


@pytest.mark.promise("stdio-shutdown")
async def test_a_stubborn_child_and_its_children_are_killed(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    code = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({str(marker)!r}, "w").write(f"{{os.getpid()}}\\n{{child.pid}}\\nready\\n")
time.sleep(60)
"""
    with anyio.fail_after(10):
        async with pool_of(python(code), ready=False):
            await line_in(marker, "ready")
        for pid in map(int, marker.read_text().split()[:2]):
            await gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent-death signal")
async def test_a_child_dies_with_a_gateway_that_was_killed(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    child = f"import os, time; open({str(marker)!r}, 'w').write(f'{{os.getpid()}}\\nready\\n'); time.sleep(60)"
    gateway = f"""
import anyio, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.upstream.world import pool_of, python
async def main():
    async with pool_of(python({child!r}), ready=False):
        await anyio.sleep_forever()
anyio.run(main)
"""
    async with await anyio.open_process([sys.executable, "-c", gateway], stdin=None, stdout=PIPE) as process:
        await line_in(marker, "ready")
        process.send_signal(signal.SIGKILL)
    await gone(int(marker.read_text().split()[0]))


LEAVER = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.closerange(0, 3)
        with open(sys.argv[1], "a") as file:
            file.write(f"{os.getpid()}\\nready\\n")
        time.sleep(60)
    os._exit(0)
os.wait()
time.sleep(60 * (sys.argv[2] == "stays"))
"""
"""Leaves a grandchild in a session of its own, whose parent is gone; then stays itself, or goes."""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process inherit orphans")
@pytest.mark.parametrize("then", ["stays", "goes"])
async def test_a_grandchild_in_a_session_of_its_own_ends_with_its_server(then: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with anyio.fail_after(10):
        async with pool_of(python(LEAVER, str(marker), then), ready=False):
            await line_in(marker, "ready")
        for pid in [int(line) for line in marker.read_text().split() if line != "ready"]:
            await gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent-death signal, and lets a process inherit orphans")
async def test_a_grandchild_in_a_session_of_its_own_dies_with_a_gateway_that_was_killed(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    gateway = f"""
import anyio, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.upstream.world import pool_of, python
async def main():
    async with pool_of(python({LEAVER!r}, {str(marker)!r}, "stays"), ready=False):
        await anyio.sleep_forever()
anyio.run(main)
"""
    async with await anyio.open_process([sys.executable, "-c", gateway], stdin=None, stdout=PIPE) as process:
        await line_in(marker, "ready")
        process.send_signal(signal.SIGKILL)
    await gone(int(marker.read_text().split()[0]))


LIMITED = """
import json, resource, sys
from pathlib import Path
limits = {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in ("CORE", "DATA", "NOFILE", "CPU")}
Path(sys.argv[1]).write_text(json.dumps(limits) + "\\nready\\n")
try:
    bytearray(400 * 2**20)
except MemoryError:
    sys.exit(3)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the launcher that sets them is Linux's")
async def test_a_child_has_the_limits_of_its_configuration_and_no_core_dumps(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    command = [sys.executable, "-c", LIMITED, str(marker)]
    async with pool_of(stdio(command, memory_mb=200, open_files=64, cpu_s=30), ready=False) as world:
        problem = (await world.until(ServerState.DOWN)).problem
        limits = json.loads(marker.read_text().splitlines()[0])
    assert limits == {"CORE": [0, 0], "DATA": [200 * 2**20] * 2, "NOFILE": [64, 64], "CPU": [30, 30]}
    assert "exited with status 3" in problem  # what it asked for beyond them, it did not get


async def test_a_child_that_burns_its_cpu_time_is_ended_and_said_to_be() -> None:
    async with pool_of(stdio([sys.executable, "-c", "while True: pass"], cpu_s=1), ready=False) as world:
        assert "was ended by SIG" in (await world.until(ServerState.DOWN)).problem


async def test_a_child_that_closes_its_output_and_lives_on_is_down_and_ended(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    code = f"""
import os, time
open({str(marker)!r}, "w").write(f"{{os.getpid()}}\\nready\\n")
os.close(1)
time.sleep(60)
"""
    async with pool_of(
        python(code), limits=dataclasses.replace(QUICK, backoff_first_s=30, backoff_ceiling_s=30), ready=False
    ) as world:
        assert "closed its output" in (await world.until(ServerState.DOWN)).problem
        await gone(int(marker.read_text().split()[0]))


async def test_only_what_changed_is_restarted(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    one, two = stdio(odd_server("--journal", str(marker))), stdio(odd_server())
    async with pool_of({"kept": one, "changed": two, "removed": two}) as world:
        statuses = len([status for status in world.told.statuses if status.name == "kept"])
        world.pool.configure(
            {"kept": stdio(odd_server("--journal", str(marker))), "changed": stdio(odd_server("--era", "2024"))}
        )
        assert [status.name for status in world.pool.status()] == ["changed", "kept"]
        await world.until(ServerState.READY, "changed")
        assert world.status("changed").protocol_version == "2024-11-05"
        assert len([status for status in world.told.statuses if status.name == "kept"]) == statuses
        with pytest.raises(UpstreamError, match="not configured") as caught:
            await world.call("echo", server="removed")
        assert caught.value.sent is False
    assert marker.read_text().count('"initialize"') == 1


async def test_a_call_under_way_may_finish_while_its_server_is_replaced(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    async with pool_of(stdio(story_server())) as world:
        answers: list[str] = []

        async def wait() -> None:
            answers.extend(texts(await world.call("wait", {"marker": str(marker), "seconds": 0.3})))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await line_in(marker, "started")
            world.pool.configure({"s": stdio(odd_server())})
        assert answers == ["waited"]
        await world.until(ServerState.READY)
        assert texts(await world.call("echo", {"text": "new"})) == ["new"]


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["stdio", "http", "sse"])
async def test_a_call_that_outlasts_the_patience_of_a_stop_fails_and_may_have_acted(transport: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    async with AsyncExitStack() as stack:
        if transport == "stdio":
            config: ServerConfig = stdio(odd_server("--journal", str(marker)))
        else:
            url = await stack.enter_async_context(story_url(transport))
            config = sse(url) if transport == "sse" else http(url)
        world = await stack.enter_async_context(pool_of(config))
        failures: list[UpstreamError] = []

        async def wait() -> None:
            with pytest.raises(UpstreamError) as caught:
                await world.call(*(("hang", {"seconds": 30}) if transport == "stdio" else ("wait", {"marker": str(marker)})))
            failures.append(caught.value)

        with anyio.fail_after(15):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await anyio.sleep(0.3) if transport == "stdio" else await line_in(marker, "started")
                world.pool.configure({})
        assert [failure.sent for failure in failures] == [True]


async def test_a_permit_for_the_server_as_it_was_does_not_open_the_new_one() -> None:
    async with pool_of(StdioServer(fingerprint="another", command=odd_server()[0], args=tuple(odd_server()[1:]))) as world:
        with pytest.raises(UpstreamError, match="reconfigured") as caught:
            await world.call("echo")
        assert caught.value.sent is False


async def test_a_pool_is_configured_only_while_it_is_entered() -> None:
    async def nothing(*_: object) -> None: ...

    pool = UpstreamPool(on_definitions=nothing, on_status=nothing, version="0", limits=QUICK)
    with pytest.raises(RuntimeError):
        pool.configure({})
    assert pool.status() == []
    assert pool.definitions("s") == {}


def test_values_that_may_be_secret_stand_in_no_repr_of_the_configuration() -> None:
    configs = (
        StdioServer(fingerprint="f", command="c", args=(SECRET,), env={"A": SECRET}, confidential=(SECRET,)),
        HttpServer(fingerprint="f", url=f"http://x/?{SECRET}", headers={"A": SECRET}),
        SseServer(fingerprint="f", url=f"http://x/?{SECRET}", headers={"A": SECRET}),
    )
    assert SECRET not in repr(configs)
    assert confidential(configs[0]) == (SECRET,)
    assert confidential(configs[1]) == ()


@pytest.mark.parametrize("value", [f"--key={SECRET}", f"Bearer {SECRET}", f"postgres://user:{SECRET}@host:5432/db", SECRET])
def test_the_secret_inside_a_value_is_confidential_by_itself(value: str) -> None:
    assert SECRET in confidential(StdioServer(fingerprint="f", command="c", confidential=(value,)))
