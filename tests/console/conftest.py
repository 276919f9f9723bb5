"""One bank for all tests of the console: each asks for a transfer of its own amount, so that none sees another's."""

from collections.abc import Iterator

import pytest

from tests.console.bank import Bank, open_bank


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    with open_bank(tmp_path_factory.mktemp("console")) as bank:
        yield bank
