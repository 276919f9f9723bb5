"""One gateway for all stories that leave it as they found it."""

from collections.abc import Iterator

import pytest

from tests.flows.gateway import Gateway, listening, make_folder, serving
from tests.real_servers import story_server

NARROW = """
[roles.narrow]
members = ["group:narrow"]
scopes = ["echoes"]

[scopes.echoes]
tools = ["*__echo"]
"""
UPSTREAMS = ("pipe", "web", "events")
"""The story server three times: over stdio, Streamable HTTP and HTTP+SSE."""


@pytest.fixture(scope="session")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before one server on each transport. Alice may call everything; Bob may only echo."""
    folder = make_folder(tmp_path_factory.mktemp("stories") / "gateway", NARROW)
    folder.key("alice", "all")
    folder.key("bob", "narrow")
    with listening(story_server("http")) as web, listening(story_server("sse")) as events:
        folder.spawned("pipe", story_server("stdio"))
        folder.called("web", "http", f"http://127.0.0.1:{web}/mcp")
        folder.called("events", "sse", f"http://127.0.0.1:{events}/sse")
        folder.accept()
        with serving(folder) as gateway:
            yield gateway
