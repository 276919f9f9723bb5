"""Every server is spoken to in the newest protocol that it knows, and none is lost over the question."""

import anyio
import pytest

from mcpgw.ports import ServerState
from mcpgw.upstream import Limits
from tests.real_servers import odd_server
from tests.upstream.world import QUICK, pool_of, stdio, texts


@pytest.mark.promise("era-newest-common")
@pytest.mark.parametrize(
    ("era", "version"),
    [
        ("modern", "2026-07-28"),
        ("legacy", "2025-11-25"),
        ("old-python", "2025-11-25"),
        ("2024", "2024-11-05"),
        ("dies-of-probe", "2025-11-25"),
    ],
)
async def test_the_newest_common_version_is_spoken(era: str, version: str) -> None:
    async with pool_of(stdio(odd_server("--era", era))) as world:
        assert world.status().protocol_version == version
        assert texts(await world.call("echo", {"text": "hello"})) == ["hello"]


@pytest.mark.promise("era-fallback")
async def test_a_server_that_ignores_the_modern_question_is_asked_the_legacy_way() -> None:
    limits = Limits(probe_s=0.3, backoff_first_s=0.05)
    async with pool_of(stdio(odd_server("--era", "silent")), limits=limits) as world:
        assert world.status().protocol_version == "2025-11-25"


async def test_a_modern_server_that_starts_too_slowly_for_the_question_is_still_spoken_to_in_its_era() -> None:
    limits = Limits(probe_s=0.3, backoff_first_s=0.05)
    async with pool_of(stdio(odd_server("--era", "late")), limits=limits) as world:
        assert world.status().protocol_version == "2026-07-28"
        assert len([status for status in world.told.statuses if status.state is ServerState.DOWN]) == 0


@pytest.mark.promise("era-unknown-version")
@pytest.mark.parametrize(
    ("era", "problem"),
    [
        ("future", "speaks no protocol version that the gateway knows"),
        ("newer", "refused `initialize` with JSON-RPC error -32022"),
    ],
)
async def test_a_server_of_an_unknown_version_is_down_and_says_why(era: str, problem: str) -> None:
    async with pool_of(stdio(odd_server("--era", era)), ready=False) as world:
        status = await world.until(ServerState.DOWN)
        assert problem in status.problem


@pytest.mark.promise("era-envelope")
async def test_modern_requests_carry_the_envelope_and_legacy_ones_do_not() -> None:
    for era, enveloped in (("modern", True), ("legacy", False)):
        async with pool_of(stdio(odd_server("--era", era))) as world:
            meta = (await world.call("params")).payload["structuredContent"]["_meta"]
            assert ("io.modelcontextprotocol/protocolVersion" in meta) is enveloped
            if enveloped:
                assert meta["io.modelcontextprotocol/clientCapabilities"] == {}
                assert meta["io.modelcontextprotocol/clientInfo"]["name"] == "mcpgw"


async def test_a_server_that_never_answers_delays_nobody() -> None:
    limits = Limits(probe_s=20, handshake_s=20, stop_s=0.3)
    servers = {"good": stdio(odd_server()), "mute": stdio(["sleep", "60"])}
    with anyio.fail_after(10):
        async with pool_of(servers, limits=limits, ready=False) as world:
            await world.until(ServerState.READY, "good")
            assert world.status("mute").state is ServerState.STARTING
            assert texts(await world.call("echo", {"text": "hi"}, server="good")) == ["hi"]


async def test_mute_servers_are_given_up_after_their_time() -> None:
    limits = Limits(probe_s=0.2, handshake_s=0.2, stop_s=0.3, backoff_first_s=5)
    async with pool_of(stdio(["sleep", "60"]), limits=limits, ready=False) as world:
        status = await world.until(ServerState.DOWN)
        assert "did not answer `initialize` in time" in status.problem
    assert QUICK.handshake_s > 1
