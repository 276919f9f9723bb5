"""A bank whose approvers may use the gateway's own tools, and decide by them. Its account numbers are not masked, or no
transfer could be approved over MCP."""

from collections.abc import Iterator

import pytest

from tests.approval.world import World
from tests.console.bank import CONFIG, Bank, open_bank

OWN = """
[redaction.profiles.default]
operators = { BANK_ACCOUNT = "keep" }

[roles.approvers]
members = ["group:payments-leads"]
scopes = ["approvals"]

[roles.waiting]
members = ["group:tellers"]
scopes = ["waiting"]

[scopes.approvals]
tools = ["mcpgw__approvals_*"]

[scopes.waiting]
tools = ["mcpgw__approval_status"]
"""


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    config = CONFIG.replace('budget = "200ms"', 'budget = "200ms"\ndecide_over_mcp = true')
    with open_bank(tmp_path_factory.mktemp("own"), config + OWN) as bank:
        yield bank


@pytest.fixture
def world() -> World:
    return World()
