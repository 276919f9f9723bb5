"""Names that are nearly another server's are told; honest families of names are not."""

import pytest

from mcpgw.catalog.lookalikes import near_names


@pytest.mark.parametrize(
    ("one", "other", "are_near"),
    [
        ("transfer_funds", "transfer_fund", True),
        ("transfer_funds", "transfer_fumds", True),
        ("transfer_funds", "transferr_funds", True),
        ("transfer_funds", "transfer-funds", True),
        ("transfer_funds", "TransferFunds", True),
        ("transfer_l", "transfer_1", True),
        ("confirm_payment", "confinn_payment", False),
        ("confirm_payment", "confirrn_payment", True),
        ("transfer_funds", "transfer_funds", False),
        ("transfer_funds", "transfer_money", False),
        ("transfer_1", "transfer_2", False),
        ("report-2024", "report-2025", False),
        ("mail", "main", False),
    ],
)
def test_one_character_or_none_to_the_eye_is_near(one: str, other: str, are_near: bool) -> None:
    found = list(near_names({"a": {one}, "b": {other}}))

    assert found == ([(("a", one), ("b", other))] if are_near else [])


def test_names_of_one_server_are_its_own_matter() -> None:
    assert list(near_names({"a": {"transfer_funds", "transfer_fund"}, "b": {"something_else"}})) == []


def test_each_pair_is_told_once_and_in_order() -> None:
    near = list(near_names({"c": {"list_accounts"}, "a": {"list_account"}, "b": {"list_accounts", "other_things"}}))

    assert near == [
        (("a", "list_account"), ("b", "list_accounts")),
        (("a", "list_account"), ("c", "list_accounts")),
    ]
