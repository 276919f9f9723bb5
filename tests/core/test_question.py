"""Questions, cursors and times, to the letter."""

import base64
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.core.moments import offset, span_of
from mcpgw.core.question import BadCursor, Place, Question, cursor, place_of, reading

TEXTS = st.text(max_size=20)
QUESTIONS = st.builds(
    Question,
    who=TEXTS,
    tool=TEXTS,
    text=TEXTS,
    rule=TEXTS,
    since_ns=st.integers(0, 2**63 - 1),
    until_ns=st.integers(0, 2**63 - 1),
)
ME = "bank.example/ledger os:audrey"


@given(QUESTIONS, st.integers(0, 2**63 - 1))
def test_a_cursor_leads_back_to_its_question_and_its_place(question: Question, before: int) -> None:
    place = Place(question=question, before=before)
    given_out = cursor(place, given_to=ME)
    assert place_of(given_out, given_to=ME) == place
    assert given_out.isascii() and not set(given_out) & set("+/=&?# ")


@given(QUESTIONS, st.integers(2), st.text("abc-_09", min_size=1, max_size=1))
def test_a_cursor_that_was_damaged_is_none(question: Question, position: int, other: str) -> None:
    given_out = cursor(Place(question=question), given_to=ME)
    position = 2 + position % (len(given_out) - 2)
    damaged = given_out[:position] + other + given_out[position + 1 :]
    if _bytes(damaged) != _bytes(given_out):  # the last character has bits that mean nothing
        with pytest.raises(BadCursor):
            place_of(damaged, given_to=ME)


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text[2:] + "=" * (-len(text[2:]) % 4))


def test_a_cursor_is_of_whoever_was_given_it() -> None:
    mine = cursor(Place(question=Question(who="alice")), given_to=ME)
    for stranger in ("bank.example/ledger os:bob", "other.example/ledger os:audrey", ""):
        with pytest.raises(BadCursor, match="was not given to you by this log"):
            place_of(mine, given_to=stranger)


@pytest.mark.parametrize("text", ["", "q1", "q2AAAA", "q1AAAAAAAAAAAAAAAA", "q1é", "x" * 20_000, "q1" + "A" * 20_000])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadCursor):
        place_of(text, given_to=ME)


def test_only_what_is_asked_for_is_told() -> None:
    assert Question().told() == {}
    assert Question(tool="bank__*", until_ns=5).told() == {"tool": "bank__*", "until_ns": "5"}
    told = Question(tool="bank__*", until_ns=5).told()
    assert Question.of(told) == Question(tool="bank__*", until_ns=5)


@pytest.mark.parametrize(
    "told", [{"whom": "x"}, {"who": ""}, {"who": 3}, {"since_ns": "-1"}, {"since_ns": "x"}, {"until_ns": str(2**63)}]
)
def test_what_no_question_tells_is_refused(told: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Question.of(told)


def test_words_that_are_looked_for_are_beside_the_record_and_not_in_it() -> None:
    asked = reading(Place(question=Question(who="alice", text="Jane Doe"), before=7), actor="os:audrey")
    assert (asked.kind, asked.actor) == ("evidence.read", "os:audrey")
    assert asked.facts == {"what": "log", "who": "alice", "text": True, "before": 7}
    assert asked.document == {"text": "Jane Doe"}
    assert reading(Place(question=Question()), actor="x").facts == {"what": "log"}


NOW_NS = 1_795_000_000 * 10**9
BERLIN = ZoneInfo("Europe/Berlin")


def ns(*moment: int, zone: timezone | ZoneInfo = UTC) -> int:
    return int(datetime(*moment, tzinfo=zone).timestamp()) * 10**9  # type: ignore[misc,arg-type]  # year, month, day, …


@pytest.mark.parametrize(
    ("text", "zone", "first", "end"),
    [
        ("15m", UTC, NOW_NS - 900 * 10**9, NOW_NS - 900 * 10**9 + 1),
        ("2w", UTC, NOW_NS - 1_209_600 * 10**9, NOW_NS - 1_209_600 * 10**9 + 1),
        ("2026-03-15", UTC, ns(2026, 3, 15), ns(2026, 3, 16)),
        ("2026-03-15", BERLIN, ns(2026, 3, 15, zone=BERLIN), ns(2026, 3, 16, zone=BERLIN)),
        ("2026-03-15Z", BERLIN, ns(2026, 3, 15), ns(2026, 3, 16)),
        ("2026-03-29", BERLIN, ns(2026, 3, 28, 23), ns(2026, 3, 29, 22)),  # 23 hours long
        ("2026-10-25", BERLIN, ns(2026, 10, 24, 22), ns(2026, 10, 25, 23)),  # 25 hours long
        ("2026-03-15T09:30", BERLIN, ns(2026, 3, 15, 8, 30), ns(2026, 3, 15, 8, 30) + 1),
        ("2026-03-15T09:30Z", BERLIN, ns(2026, 3, 15, 9, 30), ns(2026, 3, 15, 9, 30) + 1),
        ("2026-03-15T09:30:00.123456Z", UTC, ns(2026, 3, 15, 9, 30) + 123_456_000, ns(2026, 3, 15, 9, 30) + 123_456_001),
    ],
)
def test_ages_days_and_moments_are_understood(text: str, zone: ZoneInfo, first: int, end: int) -> None:
    assert span_of(text, NOW_NS, zone) == (first, end)


def test_a_day_is_of_this_machine_where_no_zone_is_named() -> None:
    first, end = span_of("2026-03-15", NOW_NS, None)
    here = datetime(2026, 3, 15).astimezone()
    assert first == int(here.timestamp()) * 10**9
    assert end - first in {int(timedelta(hours=hours).total_seconds()) * 10**9 for hours in (23, 24, 25)}
    assert span_of("2026-03-15T00:00", NOW_NS, None)[0] == first


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "15",
        "m",
        "15y",
        "2026-3-15",
        "2026-02-30",
        "1969-12-31Z",
        "99999999w",
        "9999-12-31Z",
        "2026-03-15T25:00",
        "9999-12-31T23:59:59-12:00",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        span_of(text, NOW_NS, UTC)


def test_a_time_beyond_all_records_is_none() -> None:
    for text in ("999999999999999999d", "9999-12-31", "0001-01-01"):
        with pytest.raises(ValueError):
            span_of(text, 1_800_000_000_000_000_000, timezone(timedelta(hours=-14)))


@pytest.mark.parametrize(("ns", "text"), [(0, "+0:00.000"), (61_500_000_000, "+1:01.500"), (3_723_004_000_000, "+1:02:03.004")])
def test_stretches_of_time_are_short(ns: int, text: str) -> None:
    assert offset(ns) == text
