"""Servers that other people wrote, from PyPI and npm, as their users run them."""

import subprocess
from pathlib import Path

import pytest

from mcpgw.catalog.drift import diff
from mcpgw.catalog.load import read_entry
from mcpgw.catalog.lock import Lock
from mcpgw.core.model import TargetKind
from mcpgw.upstream import HttpServer, SseServer
from tests.real_servers import everything_server, everything_url, fetch_server, filesystem_server, git_server, time_server
from tests.upstream.world import World, http, pool_of, sse, stdio, texts


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for command in (
        ["init", "-q", "-b", "main"],
        ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "--allow-empty", "-m", "begin"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


async def test_time_and_git_from_pypi_answer_in_the_modern_era(pypi_servers: None, repository: Path) -> None:
    async with pool_of({"time": stdio(time_server()), "git": stdio(git_server(repository))}) as world:
        assert world.status("time").protocol_version == "2026-07-28"
        arguments = {"source_timezone": "UTC", "time": "10:00", "target_timezone": "Asia/Tokyo"}
        assert "+9.0h" in texts(await world.call("convert_time", arguments, server="time"))[0]
        assert "begin" in texts(await world.call("git_log", {"repo_path": str(repository)}, server="git"))[0]
        wrong = await world.call("convert_time", {**arguments, "time": "26:00"}, server="time")
        assert wrong.payload.get("isError") is True
        assert flagged(world, "time", "git") == []


async def test_the_filesystem_server_from_npm_reads_a_file(npm_servers: None, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("from disk")
    async with pool_of(stdio(filesystem_server(tmp_path))) as world:
        read = await world.call("read_text_file", {"path": str(tmp_path / "a.txt")})
        assert texts(read) == ["from disk"]
        assert flagged(world, "s") == []


async def test_the_everything_server_from_npm_over_stdio(npm_servers: None) -> None:
    async with pool_of(stdio(everything_server())) as world:
        await everything(world)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["streamableHttp", "sse"])
async def test_the_everything_server_from_npm_over_http(npm_servers: None, transport: str) -> None:
    async with everything_url(transport) as url:
        config: HttpServer | SseServer = sse(url) if transport == "sse" else http(url)
        async with pool_of(config) as world:
            await everything(world)


async def test_the_fetch_server_from_pypi_is_not_flagged_for_its_bold_words(pypi_servers: None) -> None:
    async with pool_of({"fetch": stdio(fetch_server())}) as world:
        assert [tool["name"] for tool in world.pool.definitions("fetch")[TargetKind.TOOL]] == ["fetch"]
        assert flagged(world, "fetch") == []


def flagged(world: World, *servers: str) -> list[str]:
    """Return what `mcpgw catalog accept` would flag of these servers: honest ones must not be."""
    entries = {name: read_entry(f"{name}.toml", name, 'transport = "stdio"\ncommand = "x"\n') for name in servers}
    drifts = diff(entries, Lock(), {name: world.pool.definitions(name) for name in servers})
    return [str(why) for drift in drifts for one in drift.added for why in (*one.hidden, *one.suspicions)]


async def everything(world: World) -> None:
    assert world.status().protocol_version == "2025-11-25"
    assert flagged(world, "s") == []
    definitions = world.pool.definitions("s")
    assert len(definitions[TargetKind.TOOL]) > 10
    assert definitions[TargetKind.RESOURCE]
    assert definitions[TargetKind.PROMPT]
    assert texts(await world.call("echo", {"message": "hi"})) == ["Echo: hi"]
    structured = await world.call("get-structured-content", {"location": "New York"})
    assert "temperature" in structured.payload["structuredContent"]
    await world.call("trigger-long-running-operation", {"duration": 0.2, "steps": 4})
    progress = [notice.params for notice in world.notices if notice.method == "notifications/progress"]
    assert progress == [{"progress": step, "total": 4} for step in range(1, 5)]
    image = await world.call("get-tiny-image")
    assert any(block["type"] == "image" for block in image.payload["content"])
