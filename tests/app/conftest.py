"""One bank with a past for all tests that look back: each looks at what came after its own start."""

from collections.abc import Iterator

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.app.past import Past, Present, Story, make_past


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Past:
    return make_past(tmp_path_factory.mktemp("past"))


@pytest.fixture(scope="session")
def portal(kept: Past) -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def present(kept: Past, portal: BlockingPortal) -> Iterator[Present]:
    with portal.wrap_async_context_manager(kept.open()) as present:
        yield present


@pytest.fixture
def story(kept: Past, present: Present, portal: BlockingPortal) -> Story:
    return Story(kept, present, portal, kept.size())
