"""What people must do, as values and as they are stored."""

import json

import pytest

from mcpgw.core.terms import BreakGlass, Freshness, Level, Seats, Terms, as_data, terms_of

LEADS, RISK, HEADS = "group:leads", "group:risk", "user:head"
FULL = Terms(
    levels=(
        Level(seats=(Seats(2, (LEADS,)), Seats(1, (RISK, HEADS))), lasts_ns=100),
        Level(seats=(Seats(1, (HEADS,)),), lasts_ns=50),
    ),
    comment_required=True,
    denial_settles=False,
    freshness=Freshness(max_age_ns=5, acr=("gold",), amr=("mfa",)),
    break_glass=BreakGlass(openers=("group:duty",), lasts_ns=9, reviewers=("group:audit",)),
    admins=("group:admins",),
    unattended=True,
)


@pytest.mark.parametrize("terms", [FULL, Terms.simple((LEADS,)), Terms(levels=())])
def test_terms_are_read_as_they_were_written(terms: Terms) -> None:
    assert terms_of(json.loads(json.dumps(as_data(terms)))) == terms


def test_what_an_older_store_does_not_say_is_as_it_was() -> None:
    old = {"levels": [{"seats": [{"count": 2, "of": [LEADS]}], "lasts_ns": 3_600_000_000_000}]}
    assert terms_of(old) == Terms.simple((LEADS,), 2)


@pytest.mark.parametrize(("level", "end_ns"), [(0, 1_050), (1, 1_100)])
def test_each_level_ends_in_its_own_time(level: int, end_ns: int) -> None:
    assert FULL.lasts_ns == 150
    assert FULL.ends_ns(level, deadline_ns=1_100) == end_ns


def test_who_is_asked_grows_with_the_levels() -> None:
    assert FULL.asked(0) == (LEADS, RISK, HEADS)
    assert FULL.asked(1) == (LEADS, RISK, HEADS)
    assert FULL.everybody == (LEADS, RISK, HEADS, "group:duty")


def test_the_binding_leaves_out_durations_alone() -> None:
    longer = Terms.simple((LEADS,), lasts_s=7_200)
    assert longer.binding() == Terms.simple((LEADS,)).binding()
    assert Terms.simple((LEADS,), 2).binding() != Terms.simple((LEADS,)).binding()
    assert FULL.binding() != Terms(levels=FULL.levels).binding()
    assert Terms(levels=FULL.levels, unattended=True).binding() != Terms(levels=FULL.levels).binding()


def test_seats_and_levels_read_as_words() -> None:
    assert str(FULL.levels[0]) == "2 of group:leads and 1 of group:risk, user:head"


@pytest.mark.parametrize(
    ("asked_for", "is_asked_for"),
    [(Freshness(), False), (Freshness(max_age_ns=1), True), (Freshness(acr=("a",)), True), (Freshness(amr=("a",)), True)],
)
def test_a_fresh_sign_in_is_asked_for_or_not(asked_for: Freshness, is_asked_for: bool) -> None:
    assert asked_for.is_asked_for is is_asked_for
