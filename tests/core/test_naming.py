"""Published names that real hosts accept."""

import pytest

from mcpgw.core.errors import ConfigError, GatewayError, UpstreamError
from mcpgw.core.naming import is_published_name, is_server_name, published_name, skeleton


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("bank__transfer", True),
        ("A-b_9", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("bank.transfer", False),
        ("bank/transfer", False),
        ("überweisung", False),
        ("bank__transfer\n", False),
    ],
)
def test_hosts_accept_a_narrow_alphabet(name: str, fits: bool) -> None:
    assert is_published_name(name) is fits


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("bank", True),
        ("core-banking_2", True),
        ("mcpgw", False),  # the gateway's own tools
        ("bank__eu", False),  # the separator must be found
        ("bank_", False),  # bank_ + __ + x could be read as bank + ___x
        ("Bank", False),
        ("-bank", False),
        ("x" * 32, False),
    ],
)
def test_server_names_leave_the_separator_unambiguous(name: str, fits: bool) -> None:
    assert is_server_name(name) is fits


@pytest.mark.parametrize(
    ("tool", "name"),
    [
        ("transfer", "bank__transfer"),
        ("get.rates/eur", "bank__get_rates_eur"),
        ("\uff54ransfer", "bank__transfer"),  # full-width t: NFKC first, so that it collides instead of looking alike
    ],
)
def test_a_tool_is_published_under_its_server(tool: str, name: str) -> None:
    assert published_name("bank", tool) == name


def test_names_that_a_hurried_reader_confuses_share_a_skeleton() -> None:
    assert skeleton("bank__Transfer-1") == skeleton("bank__transfer_l") == skeleton("bank__transfer_I")
    assert skeleton("bank__transfer") != skeleton("bank__transfers")
    for one, other in (("modern", "modem"), ("vvire", "wire"), ("c1ose", "dose"), ("send_mail", "sendMail"), ("b8", "bb")):
        assert skeleton(one) == skeleton(other)


def test_errors_carry_place_and_hint() -> None:
    error = ConfigError("unknown key `lable`", where="config.toml:3", hint="Did you mean `label`?")
    assert (str(error), error.hint, error.where) == (
        "config.toml:3: unknown key `lable`",
        "Did you mean `label`?",
        "config.toml:3",
    )
    assert str(ConfigError("no config.toml")) == "no config.toml"
    assert isinstance(UpstreamError("gone", sent=False), GatewayError)
