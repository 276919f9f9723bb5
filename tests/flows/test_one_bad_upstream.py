"""One upstream that is dead and one that says nothing: the others are listed and called as if they were alone."""

import socket
from collections.abc import Iterator
from contextlib import closing

import anyio
import pytest

from tests.flows.gateway import BOUND_S, Gateway, listening, make_folder, names, serving, until_listed, words
from tests.real_servers import story_server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose upstreams all were well when they were accepted, and of which one is now."""
    folder = make_folder(tmp_path_factory.mktemp("bad") / "gateway")
    folder.key("alice", "all")
    folder.spawned("well", story_server("stdio"))
    with listening(story_server("http")) as port:
        for name, when_down in (("dead", "hide"), ("shown", "list")):
            folder.called(name, "http", f"http://127.0.0.1:{port}/mcp", f'unavailable = "{when_down}"\n')
        folder.accept()
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:  # takes connections, and never says a word
        mute_port = mute.getsockname()[1]
        folder.called("silent", "http", f"http://127.0.0.1:{mute_port}/mcp")
        with serving(folder, ready=False) as gateway:
            yield gateway


@pytest.mark.parametrize("downstream", ["http 2026", "http 2025"])
async def test_a_dead_and_a_silent_upstream_hide_no_other_and_keep_nobody_waiting(gateway: Gateway, downstream: str) -> None:
    async with gateway.client(downstream, gateway.folder.keys["alice"]) as client:
        listed = await until_listed(client, "well__echo")
        assert listed == sorted(listed) == await names(client)
        assert not [name for name in listed if name.startswith(("dead__", "silent__"))]
        assert "shown__echo" in listed, "the catalog says that it is listed while it is down"
        with anyio.fail_after(BOUND_S):
            assert words(await client.call_tool("well__echo", {"text": "here"})) == "here"
            for name in ("dead", "shown"):
                failed = await client.call_tool(f"{name}__echo", {"text": "there"})
                assert failed.is_error and f"'{name}'" in words(failed), "whoever calls it is told which server is down"
