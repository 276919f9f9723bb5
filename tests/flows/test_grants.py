"""A grant from the question to its end: a real gateway, a real bank behind it, people at their terminals and at the page."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import jsonschema_rs
import pytest
from mcp import Client

from mcpgw.core.model import IdentityKind
from mcpgw.own import ACCESS_LIST, REQUEST
from tests.console.bank import CONFIG, Bank, approval_of, open_bank
from tests.flows.gateway import words

GRANTS = """\
approvers = ["group:payments-leads"]
grants = { max_calls = 10, max_for = "8h", max_total = { amount = 100000 } }
may_be_asked = true
"""
MAY_BE_ASKED = "once approved, its server may ask the caller, whose answers nobody approves"
ASKING = """
[roles.asking]
members = ["group:tellers"]
scopes = ["asking"]

[scopes.asking]
tools = ["mcpgw__request_access", "mcpgw__access_list"]
"""
EXAMPLE = {"from_account": "CHK-100001", "to_account": "CHK-100002", "amount": 7000.25, "memo": "rent"}
VARY = {"amount": {"at_least": 5000, "at_most": 9000}}


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    head, _, last = CONFIG.rpartition('approvers = ["group:payments-leads"]\n')
    with open_bank(tmp_path_factory.mktemp("grants"), head + GRANTS + last + ASKING) as bank:
        with closing(sqlite3.connect(bank.db)) as books, books:  # enough for every transfer of these stories
            books.execute("UPDATE accounts SET balance_cents = 100000000 WHERE id = 'CHK-100001'")
        bank.folder.key("bot", "tellers", kind=IdentityKind.AGENT)
        yield bank


def ask(bank: Bank, who: str = "alice", expect: int = 0, vary: Any = VARY, calls: int = 3, total: str = "amount=25000") -> str:
    """Ask as a person at a terminal, and return what the command printed."""
    options = ["--vary", json.dumps(vary), "--calls", str(calls), "--for", "4h", "--reason", "rents of Jane Roe"]
    return bank.folder.cli(
        "access", "request", "bank__transfer", "--arguments", "-", *options, *(["--total", total] if total else []),
        key=bank.key(who), answers=json.dumps(EXAMPLE), expect=expect,
    )  # fmt: skip


async def runs(bank: Bank, cents: int, **call: str) -> bool:
    """Make a transfer; tell whether it ran at once, which the bank's books must confirm, or was held."""
    before = bank.transfers(cents)
    result = await bank.transfer(cents, **call)
    assert bank.transfers(cents) == before + (not result.is_error)
    assert not result.is_error or approval_of(result)["id"].startswith("apr_")
    return not result.is_error


async def test_a_grant_is_asked_for_approved_used_and_used_up(bank: Bank) -> None:
    said = ask(bank)
    grant = said.split(":")[0]
    assert grant.startswith("apr_") and "people are asked, until" in said
    assert not await runs(bank, 700_025)

    shown = bank.folder.cli("approvals", "show", grant, key=bank.key("carol"))
    for line in (
        "A GRANT: not one call, but all that fit this:",
        '"amount": any number from 5000 up to 9000',
        '"to_account": exactly "CHK-100002"',
        "3 calls at most, without asking again.",
        "25000 in all at most, summed up over amount.",
        'The requester\'s own words, which nobody checked: "rents of Jane Roe"',
        "The example, to the letter:",
        f"questions  {MAY_BE_ASKED}",
    ):
        assert line in shown
    assert "all calls that fit this grant" in bank.folder.cli(
        "approvals", "approve", grant, key=bank.key("carol"), answers="y\n"
    )

    assert await runs(bank, 700_026)
    assert await runs(bank, 700_026), "an identical call is a use of its own"
    assert not await runs(bank, 900_001), "more than the bound"
    assert not await runs(bank, 700_026, memo="gift"), "another memo"
    assert not await runs(bank, 700_026, who="paula"), "somebody else"
    assert await runs(bank, 899_900)
    assert not await runs(bank, 700_026), "three calls were granted"

    listed = bank.folder.cli("access", "list", key=bank.key("alice"))
    assert grant in listed and "used up" in listed and "used 3 of 3, 22999.52 of 25000 amount" in listed
    assert grant in bank.folder.cli("approvals", "grants", key=bank.key("carol"))
    assert grant not in bank.folder.cli("access", "list", key=bank.key("paula"))
    (facts,) = [
        json.loads(line)
        for line in bank.folder.cli("approvals", "grants", "--json", key=bank.key("carol")).splitlines()
        if grant in line
    ]
    assert [(use["amount"], use["outcome"]) for use in facts["grant"]["uses"]] == [
        ("7000.26", "done"), ("7000.26", "done"), ("8999", "done"),
    ]  # fmt: skip
    intents = bank.folder.records("call.intent", approval_id=grant)
    assert [record["approval"]["use"] for record in intents] == [
        {"amount": amount, "number": number} for number, amount in enumerate(("7000.26", "7000.26", "8999"), start=1)
    ]
    (held,) = bank.folder.records("call.held", approval_id=grant)
    assert held["approval"]["grant"]["max_calls"] == 3
    counted = bank.folder.cli("approvals", "stats", key=bank.key("carol"))
    assert "5 held calls in 30 days: 5 pending" in counted, "what ran under the grant was not held"
    assert "1 grants: 1 approved; 3 calls by them; 0 by break-glass" in counted


async def test_a_grant_is_revoked_and_withdrawn_while_it_is_used(bank: Bank) -> None:
    for verb, who in ((("approvals", "revoke"), "dora"), (("access", "withdraw"), "alice")):
        grant = ask(bank, vary={**VARY, "memo": {"one_of": ["rent", verb[0]]}}).split(":")[0]
        bank.folder.cli("approvals", "approve", grant, "--yes", key=bank.key("carol"))
        assert await runs(bank, 710_000, memo=verb[0])
        bank.folder.cli(*verb, grant, "-m", "enough", key=bank.key(who))
        assert not await runs(bank, 710_000, memo=verb[0])
        shown = bank.folder.cli("access", "show", grant, key=bank.key("alice"))
        assert "used 1 of 3" in shown and "one of 2 values" in shown and "The example as recorded" in shown


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"calls": 11}, "At most 10 calls may be granted here, and 11 were asked for."),
        ({"total": ""}, "A grant needs a total of amount here, of at most 100000."),
        ({"total": "amount=100001"}, "The total of amount may be at most 100000 here."),
        ({"vary": {"amount": {"at_most": 100}}}, "The example itself is not within what is asked for."),
    ],
)
def test_what_may_not_be_asked_for_is_refused_with_the_reason(bank: Bank, changes: dict[str, Any], why: str) -> None:
    assert why in ask(bank, expect=1, **changes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"calls": 0}, "the number of calls must be between 1 and 500"),
        ({"vary": {"amount": {"most": 1}}}, "'most', which is none of"),
        ({"total": "amount"}, "is not ARGUMENT=MAX"),
    ],
)
def test_what_is_no_request_is_a_usage_error(bank: Bank, changes: dict[str, Any], why: str) -> None:
    assert why in " ".join(ask(bank, expect=2, **changes).replace("│", " ").split())


async def tool(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, words(result)
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def test_an_agent_asks_over_mcp_and_a_person_decides_on_the_page(bank: Bank) -> None:
    asked = {
        "tool": "bank__transfer", "arguments": EXAMPLE, "max_calls": 2, "minutes": 60, "reason": "for Jane Roe",
        "vary": {**VARY, "memo": {"any": True}}, "total": {"argument": "amount", "at_most": 20_000},
    }  # fmt: skip
    async with bank.client("bot") as bot:
        answer = await tool(bot, "mcpgw__request_access", **asked)
        jsonschema_rs.validator_for(REQUEST.output).validate(answer)
        grant = answer["id"]
        async with bank.person("carol") as carol:
            docket = (await carol.get("/approvals")).text
            assert "<strong>Grant</strong> of 2 calls, 20000 in all of amount" in docket
            page = (await carol.get(f"/approvals/{grant}")).text
            assert "A grant: not one call, but all that fit this" in page
            assert "<strong>&#34;memo&#34;: ANY VALUE AT ALL</strong>" in page
            assert "<blockquote>for Jane Roe</blockquote>" in page and MAY_BE_ASKED in page
            assert (await carol.decide(grant, comment="until five")).status_code == 303
        assert await runs(bank, 720_000, memo="anything", who="bot")
        (listed,) = (await tool(bot, "mcpgw__access_list"))["grants"]
        jsonschema_rs.validator_for(ACCESS_LIST.output).validate({"grants": [listed]})
        assert (listed["id"], listed["state"], listed["used"]) == (grant, "approved", "used 1 of 2, 7200 of 20000 amount")
        async with bank.person("dora") as dora:
            page = (await dora.get(f"/approvals/{grant}")).text
            assert "Used 1 of 2, 7200 of 20000 amount." in page
            form = {"token": await dora.token(), "deed": "revoke", "comment": "stop"}
            assert (await dora.post(f"/approvals/{grant}/deed", form)).status_code == 303
        assert not await runs(bank, 720_000, memo="anything", who="bot")
        assert (await tool(bot, "mcpgw__access_list"))["grants"] == []
        assert (await tool(bot, "mcpgw__access_list", all=True))["grants"][0]["state"] == "revoked"
        refused = await bot.call_tool("mcpgw__request_access", {**asked, "tool": "bank__balance", "vary": {}, "total": {}})
        assert refused.is_error
        answers = {"mcpgw/answers": {"inputResponses": {"k": {"action": "accept"}}}}
        refused = await bot.call_tool("mcpgw__request_access", {**asked, "arguments": {**EXAMPLE, **answers}})
        assert refused.is_error and "an argument whose name begins with mcpgw/" in words(refused)
    said = bank.folder.records("call.refused")[-1]["outcome"]
    assert said["code"] == "malformed" and said["reason"] in words(refused)
    kept = json.dumps(bank.folder.records())
    assert "Roe" not in kept and "CHK-100002" not in kept


def test_the_record_verifies_and_what_stands_beside_it_is_as_it_says(bank: Bank) -> None:
    bank.folder.cli("verify")
    bank.folder.cli("ledger", "rebuild", "--check")
