"""What a query means: rare words before common ones, names before prose, and the same order every time."""

import random
from typing import Any

import pytest

from mcpgw.own.ranking import Document, ranked, words


def tool(name: str, description: str = "", title: str = "", **arguments: str) -> Document:
    properties = {argument: {"type": "string", "description": about} for argument, about in arguments.items()}
    definition = {"title": title, "description": description, "inputSchema": {"type": "object", "properties": properties}}
    return Document.of(name, definition)


SHELF = [
    tool("cards__block_card", "Block a card at once, for instance when it was lost."),
    tool("cards__list_cards", "List the cards of a customer."),
    tool("core__list_accounts", "List the accounts of a customer.", customer="The customer's number."),
    tool("core__get_balance", "Return what an account holds.", account="Account number."),
    tool("pay__transfer", "Move money between two accounts.", title="Bank transfer", iban="IBAN of the receiver."),
    tool("pay__transfer_status", "Say what became of a transfer."),
    tool("docs__search", "Search documents by words.", query="Words."),
]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("block my lost card", "cards__block_card"),
        ("balance", "core__get_balance"),
        ("list accounts", "core__list_accounts"),
        ("list account", "core__list_accounts"),
        ("transferring money", "pay__transfer"),
        ("pay__transfer_status", "pay__transfer_status"),
        ("PAY__TRANSFER", "pay__transfer"),
        ("iban", "pay__transfer"),
        ("documents", "docs__search"),
    ],
)
def test_the_first_hit_is_the_one_that_was_meant(query: str, first: str) -> None:
    assert ranked(query, SHELF)[0] == first


def test_the_order_depends_on_nothing_but_the_definitions() -> None:
    shelf = [*SHELF, tool("b__same", "A twin."), tool("a__same", "A twin.")]
    expected = ranked("a twin that lists cards", shelf)
    for seed in range(5):
        random.Random(seed).shuffle(shelf)
        assert ranked("a twin that lists cards", shelf) == expected
    assert expected.index("a__same") + 1 == expected.index("b__same")


@pytest.mark.parametrize("query", ["", "  ", "zeppelin", "!?", "\ud800", "x" * 5_000])
def test_a_query_that_means_nothing_finds_nothing(query: str) -> None:
    assert ranked(query, SHELF) == []
    assert ranked(query, []) == []


def test_the_words_of_a_name_are_what_people_would_say() -> None:
    assert list(words("listBankAccounts_v2 \uff29\uff22\uff21\uff2e addresses policies SWIFT-Code")) == [
        "list", "bank", "account", "v2", "iban", "addresse", "policy", "swift", "code",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "definition",
    [
        {},
        {"description": None},
        {"inputSchema": True},
        {"inputSchema": {"properties": [1]}},
        {"inputSchema": {"properties": {"a": 1}}},
    ],
)
def test_an_odd_definition_is_found_by_its_name(definition: dict[str, Any]) -> None:
    assert ranked("odd", [Document.of("x__odd", definition)]) == ["x__odd"]
