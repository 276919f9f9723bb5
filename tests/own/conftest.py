"""A bank whose approvers may use the gateway's own tools, and decide by them, and where Sam searches for tools. Its account
numbers are not masked, or no transfer could be approved over MCP."""

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

[roles.searchers]
members = ["group:searchers"]
scopes = ["bank:read", "bank:move-money", "searching"]

[scopes.searching]
tools = ["mcpgw__find_tools", "mcpgw__call_tool", "mcpgw__approval_status"]

[profiles.search]
roles = ["searchers"]
search = true
tools = ["bank__lookup_*"]

[[rules]]
id = "searchers-close-nothing"
effect = "deny"
tools = ["bank__close_account"]
roles = ["searchers"]
"""


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    config = CONFIG.replace('budget = "200ms"', 'budget = "200ms"\ndecide_over_mcp = true')
    with open_bank(tmp_path_factory.mktemp("own"), config + OWN) as bank:
        bank.folder.key("sam", "searchers")
        yield bank


@pytest.fixture
def world() -> World:
    return World()
