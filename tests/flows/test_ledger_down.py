"""The record cannot be written while the gateway serves: nothing reaches an upstream, and it goes on once it can be again."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from tests.flows.gateway import BOUND_S, Folder, Gateway, lines_of, make_folder, serving, until, until_listed
from tests.real_servers import story_server

CALLS = 20


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(prepared(make_folder(tmp_path_factory.mktemp("disk") / "gateway"))) as gateway:
        yield gateway


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


def prepared(folder: Folder) -> Folder:
    folder.key("alice", "all")
    folder.spawned("story", story_server())
    folder.accept()
    return folder


@contextmanager
def no_room(gateway: Gateway) -> Iterator[None]:
    """Let the process write no byte to any file, as on a full disk. It needs no privilege."""
    soft, hard = resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(data: Path) -> Iterator[None]:
    """Mount the folder read-only over itself; where we are not root, take the right to write from it and its files."""
    if os.geteuid() == 0:
        _mount("--bind", str(data), str(data))
        try:
            _mount("-o", "remount,bind,ro", str(data))
            yield
        finally:
            _unmount(data)
        return
    modes = {path: path.stat().st_mode for path in (*data.iterdir(), data)}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in reversed(modes.items()):
            path.chmod(mode)


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def refused(client: Client, marker: Path) -> None:
    """Make calls, one after the other and side by side. Each must be refused, and none may reach the upstream."""
    before, refusals = lines_of(marker), []

    async def call() -> None:
        with pytest.raises(MCPError, match="cannot write its record, so nothing was done") as caught:
            await client.call_tool("story__count", {"marker": str(marker)})
        refusals.append(caught.value)

    with anyio.fail_after(BOUND_S):
        for _ in range(CALLS // 2):
            await call()
        async with anyio.create_task_group() as tasks:
            for _ in range(CALLS // 2):
                tasks.start_soon(call)
    assert len(refusals) == CALLS
    assert lines_of(marker) == before


async def works(client: Client, marker: Path) -> None:
    before = len(lines_of(marker))
    with anyio.fail_after(BOUND_S):
        assert not (await client.call_tool("story__count", {"marker": str(marker)})).is_error
    assert len(lines_of(marker)) == before + 1


@pytest.mark.parametrize("downstream", ["http 2026", "sse 2025"])
async def test_on_a_full_disk_every_call_is_refused_until_there_is_room_again(
    gateway: Gateway, marker: Path, downstream: str
) -> None:
    async with gateway.client(downstream, gateway.folder.keys["alice"]) as client:
        await until_listed(client, "story__count")
        await works(client, marker)
        with no_room(gateway):
            await refused(client, marker)
            await gateway.until_problem("ledger")
            await refused(client, marker)
        await gateway.until_ready()
        await works(client, marker)


async def test_a_disk_that_fills_up_during_a_call_withholds_its_answer_and_the_record_tells_of_it_later(
    gateway: Gateway, marker: Path
) -> None:
    release = marker.with_name("release")
    async with gateway.client("http 2026", gateway.folder.keys["alice"]) as client, anyio.create_task_group() as tasks:
        withheld = anyio.Event()

        async def call() -> None:
            with pytest.raises(
                MCPError, match="The call ran, but the gateway cannot write its record, so the answer is withheld"
            ):
                await client.call_tool("story__wait", {"marker": str(marker), "until": str(release)})
            withheld.set()

        with anyio.fail_after(BOUND_S):
            tasks.start_soon(call)
            await until(lambda: lines_of(marker) == ["started"], "the upstream is at work")
            with no_room(gateway):
                release.touch()
                await withheld.wait()
            await gateway.until_ready()
            assert lines_of(marker) == ["started", "finished"]
            await until(lambda: not gateway.folder.open_calls(), "the intent has an outcome")
    (outcome,) = gateway.folder.records("call.outcome")[-1:]
    assert (outcome["outcome"]["code"], outcome["outcome"]["reached"]) == ("unrecorded", True)


async def test_on_a_disk_turned_read_only_every_call_is_refused_until_it_can_be_written_again(
    gateway: Gateway, marker: Path
) -> None:
    async with gateway.client("http 2026", gateway.folder.keys["alice"]) as client:
        await works(client, marker)
        with read_only(gateway.folder.data):
            with no_room(gateway):  # what is open stays writable; a disk's own error is what makes the gateway open it anew
                await gateway.until_problem("ledger")
            await refused(client, marker)
            assert gateway.problems()["ledger"]
        await gateway.until_ready()
        await works(client, marker)


async def test_on_a_small_disk_that_fills_up_the_last_calls_are_refused_and_none_is_half_done(
    tmp_path: Path, marker: Path
) -> None:
    folder = make_folder(tmp_path / "gateway")
    with small_disk(folder.data), serving(prepared(folder)) as gateway:
        async with gateway.client("http 2026", folder.keys["alice"]) as client:
            await until_listed(client, "story__count")
            await works(client, marker)
            ballast = fill(folder.data)
            await gateway.until_problem("ledger")
            await refused(client, marker)
            ballast.unlink()
            await gateway.until_ready()
            await works(client, marker)


@contextmanager
def small_disk(data: Path) -> Iterator[None]:
    data.mkdir(mode=0o700)
    _mount("-t", "tmpfs", "-o", "size=2m", "none", str(data))
    try:
        yield
    finally:
        _unmount(data)


def fill(disk: Path) -> Path:
    """Take every byte that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast
