"""Several workers share one model: a process loads it once and forks them, on Linux."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from mcpgw.core.errors import ConfigError, RedactionError
from mcpgw.core.model import Call, Masking
from mcpgw.redaction import PresidioRedactor, RedactionConfig, wire
from mcpgw.redaction.processes import Forker, shares_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each worker loads its own model")

MakeCall = Callable[..., Call]
PROSE, CLEAN = "Yesterday Margaret Thornbury rang.", "Yesterday <PERSON> rang."
BOUND_S = 60


def shared(**settings: object) -> PresidioRedactor:
    return PresidioRedactor(RedactionConfig(workers=2, inline_bytes=0, **settings))  # type: ignore[arg-type]


def no_model(**settings: int) -> bytes:
    return wire.frame(wire.settings(RedactionConfig(model="none", **settings)))


def status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":")[1].split()[0] for line in lines if line.startswith(f"{field}:"))


def memory_kb(pid: int, *fields: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in fields)


def limits(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return {line[:26].strip(): line[26:].split()[:2] for line in lines}


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def parents(redactor: PresidioRedactor) -> set[int]:
    return {int(status(pid, "PPid")) for pid in redactor.pids}


async def ended(*pids: int) -> None:
    """Wait until the processes are gone, or wait to be reaped by whoever inherited them."""
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            while status(pid, "State") != "Z":
                await anyio.lowlevel.checkpoint()


def test_a_model_is_shared_where_there_is_one_and_several_workers() -> None:
    assert shares_model(RedactionConfig(workers=2))
    assert not shares_model(RedactionConfig(workers=1))
    assert not shares_model(RedactionConfig(workers=2, model="none"))


async def test_two_workers_share_one_model_and_the_next_one_needs_no_load() -> None:
    redactor = shared()
    with anyio.fail_after(BOUND_S):
        await redactor.start()
        for _ in range(4):
            assert (await redactor.clean_text(PROSE, Masking()))[0] == CLEAN
        (forker,) = parents(redactor)
        assert len(redactor.pids) == 2
        for pid in (*redactor.pids, forker):
            assert status(pid, "Threads") == "1"
        for pid in redactor.pids:
            own = memory_kb(pid, "Private_Clean", "Private_Dirty")
            assert own * 3 < memory_kb(pid, "Rss"), "most of what a worker holds is not its own"
        killed, other = redactor.pids
        os.kill(killed, signal.SIGKILL)
        while redactor.complete:
            await anyio.lowlevel.checkpoint()
        assert redactor.ready, "the other one is at work"
        for _ in range(2):
            assert (await redactor.clean_text(PROSE, Masking()))[0] == CLEAN
        assert redactor.complete and other in redactor.pids and killed not in redactor.pids
        assert parents(redactor) == {forker}, "forked by the one that has the model"
        left = (*redactor.pids, forker)
        await redactor.aclose()
        await ended(*left)
        assert redactor.pids == ()


async def test_workers_end_with_the_one_that_forked_them_and_another_takes_its_place() -> None:
    redactor = shared()
    with anyio.fail_after(BOUND_S):
        await redactor.start()
        before, (forker,) = redactor.pids, parents(redactor)
        os.kill(forker, signal.SIGKILL)
        await ended(forker, *before)
        while redactor.ready:
            await anyio.lowlevel.checkpoint()
        for _ in range(2):
            assert (await redactor.clean_text(PROSE, Masking()))[0] == CLEAN
        assert redactor.complete and set(redactor.pids).isdisjoint(before)
        (other,) = parents(redactor)
        assert other != forker
        left = (*redactor.pids, other)
        await redactor.aclose()
        await ended(*left)


@pytest.mark.parametrize(("model", "why"), [("absent_model", "not installed"), ("json", "could not be loaded")])
async def test_a_model_that_cannot_be_loaded_is_refused_as_with_one_worker(model: str, why: str) -> None:
    redactor = shared(model=model)
    with anyio.fail_after(BOUND_S), pytest.raises(ConfigError, match=why):
        await redactor.start()
    assert redactor.pids == () and not redactor.ready


def forkers() -> list[int]:
    """Return the processes of this one that fork workers."""
    children = [int(pid) for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()]
    return [pid for pid in children if b"mcpgw.redaction.forker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_a_start_that_takes_too_long_or_is_called_off_leaves_nothing() -> None:
    late, called_off = shared(start_timeout_s=0.05), shared()
    with anyio.fail_after(BOUND_S):
        with pytest.raises(RedactionError, match="not loaded within"):
            await late.start()
        await called_off.begin()
        assert len(forkers()) == 1 and called_off.pids == (), "they are forked once the model is loaded"
        await called_off.aclose()
        assert forkers() == []
        with pytest.raises(RedactionError, match="not running"):
            await called_off.clean_text(PROSE, Masking())


async def test_a_worker_has_the_limits_and_the_environment_of_one_that_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCPGW_SECRET_OF_THE_GATEWAY", "x")
    with anyio.fail_after(BOUND_S):
        forker = await Forker.spawn(no_model(memory_mb=1024))
        worker = await forker.fork()
        assert worker.alive and worker.pid == 0
        await worker.greeting()
        bounds = limits(worker.pid)
        assert bounds["Max address space"] == [str(1024 << 20)] * 2 and bounds["Max core file size"] == ["0", "0"]
        for pid in (forker.pid, worker.pid):
            assert b"PATH=" in environment(pid) and b"MCPGW_SECRET" not in environment(pid)
        job = wire.job(Masking(), b'{"ssn": "219-09-9999"}', envelope=False)
        await worker.send(wire.frame(job))
        assert b"<US_SSN>" in await worker.receive()
        await worker.kill()
        await worker.kill()
        assert not worker.alive and forker.alive
        await forker.kill()


async def test_a_hung_worker_is_killed_alone() -> None:
    with anyio.fail_after(BOUND_S):
        forker = await Forker.spawn(no_model())
        hung, other = await forker.fork(), await forker.fork()
        await hung.greeting()
        await other.greeting()
        os.kill(hung.pid, signal.SIGSTOP)
        await hung.kill()
        assert not hung.alive and other.alive and forker.alive
        await other.kill()
        await forker.kill()


async def test_one_that_delivers_no_worker_is_ended_with_the_worker_that_never_came() -> None:
    with anyio.fail_after(BOUND_S):
        forker = await Forker.spawn(no_model())
        os.kill(forker.pid, signal.SIGSTOP)
        worker = await forker.fork()
        await worker.kill()
        assert not worker.alive and not forker.alive
        with pytest.raises(OSError, match="ended"):
            await forker.fork()


async def test_a_worker_that_ended_before_it_greeted_is_not_waited_for() -> None:
    with anyio.fail_after(BOUND_S):
        forker = await Forker.spawn(no_model())
        os.kill(forker.pid, signal.SIGSTOP)
        worker = await forker.fork()
        os.kill(forker.pid, signal.SIGKILL)
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await worker.greeting()
        assert not worker.alive
        await worker.kill()


GATEWAY = """
import anyio, os, signal, sys
from tests.redaction.test_forked import no_model
from mcpgw.redaction.processes import Forker

async def main():
    forker = await Forker.spawn(no_model())
    worker = await forker.fork()
    await worker.greeting()
    os.kill(worker.pid, signal.SIGSTOP)
    print(forker.pid, worker.pid, flush=True)
    await anyio.sleep_forever()

anyio.run(main)
"""


def killed_gateway() -> list[int]:
    """Return the processes that a gateway had started, one of them hanging, when it was killed."""
    with subprocess.Popen([sys.executable, "-c", GATEWAY], stdout=subprocess.PIPE, text=True) as gateway:
        assert gateway.stdout is not None
        started = [int(pid) for pid in gateway.stdout.readline().split()]
        gateway.kill()
    return started


async def test_nothing_outlives_a_gateway_that_was_killed() -> None:
    started = killed_gateway()
    assert len(started) == 2
    with anyio.fail_after(BOUND_S):
        await ended(*started)
