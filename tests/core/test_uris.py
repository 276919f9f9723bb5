"""Published URIs lead back to exactly what they were made of, and no two servers' ever meet."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.core.naming import is_server_name
from mcpgw.core.uris import MAX_URI, UpstreamUri, is_publishable, published_uri, upstream_uri

SERVERS = st.from_regex(r"[a-z0-9]([a-z0-9-]|_(?!_)){0,30}", fullmatch=True).filter(is_server_name)
HOSTILE = st.sampled_from(
    [
        "",
        "ui://",
        "ui:",
        "UI://x",
        "mcpgw+",
        "mcpgw+a+b",
        "ui://a/b",
        "+",
        "++",
        "%2B",
        "..",
        "//",
        "x:%00",
        "\ud800",
        "\u202e",
        "é",
    ]
)
URIS = st.one_of(st.text(max_size=60), HOSTILE, st.lists(HOSTILE, max_size=4).map("".join))


@pytest.mark.promise("resource-uris-apart")
@given(SERVERS, URIS)
def test_what_was_published_is_restored_exactly(server: str, uri: str) -> None:
    assert upstream_uri(published_uri(server, uri)) == UpstreamUri(server, uri)


@pytest.mark.promise("resource-uris-apart")
@given(SERVERS, URIS, SERVERS, URIS)
def test_no_two_meet(one: str, uri: str, other: str, another: str) -> None:
    same = published_uri(one, uri) == published_uri(other, another)
    assert same is ((one, uri) == (other, another))


@given(URIS)
def test_restoring_is_total_and_only_a_published_form_leads_anywhere(text: str) -> None:
    found = upstream_uri(text)
    assert found == UpstreamUri() or published_uri(found.server, found.uri) == text


@given(SERVERS, st.from_regex(r"[a-z][a-z0-9.+-]{0,10}:[ -~]{0,30}", fullmatch=True))
def test_a_published_uri_has_a_scheme_that_is_one(server: str, uri: str) -> None:
    assert re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", published_uri(server, uri))


@pytest.mark.parametrize(
    ("server", "uri", "published"),
    [
        ("bank", "file:///a", "mcpgw+bank+file:///a"),
        ("my_bank", "file:///a", "mcpgw+my.bank+file:///a"),
        ("bank", "ui://view/main", "ui://bank/view/main"),
        ("my_bank", "ui://view", "ui://my_bank/view"),
        ("bank", "UI://view", "mcpgw+bank+UI://view"),
        ("bank", "x://{a}{?b}", "mcpgw+bank+x://{a}{?b}"),
        ("bank", "", "mcpgw+bank+"),
    ],
)
def test_how_uris_are_published(server: str, uri: str, published: str) -> None:
    assert published_uri(server, uri) == published


@pytest.mark.parametrize(
    "text",
    [
        "file:///a",
        "mcpgw+bank",
        "mcpgw++x:y",
        "mcpgw+mcpgw+x:y",
        "mcpgw+my_bank+x:y",
        "mcpgw+Bank+x:y",
        "MCPGW+bank+x:y",
        "mcpgw+bank+ui://view",
        "bank+x:y",
        "ui://",
        "ui://bank",
        "ui://Bank/x",
        "ui://mcpgw/x",
        "",
    ],
)
def test_what_leads_to_no_server(text: str) -> None:
    assert upstream_uri(text) == UpstreamUri()


def test_what_cannot_be_carried() -> None:
    assert is_publishable("x:" + "y" * (MAX_URI - 2)) and is_publishable("x:ü 日本")
    for uri in ("x:" + "y" * MAX_URI, "x:\n", "x:\0", "x:\u202e", "x:\u200b", "x:\ud800", "x:\u2028"):
        assert not is_publishable(uri), uri
