"""One world per test."""

import pytest

from tests.approval.world import World


@pytest.fixture
def world() -> World:
    return World()
