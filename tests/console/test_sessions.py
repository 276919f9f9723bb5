"""Sessions and attempts against a clock that the test turns."""

import pytest

from mcpgw.console import attempts
from mcpgw.console.attempts import Attempts
from mcpgw.console.sessions import MAX_IN_ALL, MAX_PER_PERSON, NoSession, Sessions


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_session_ends_when_nothing_is_done_for_too_long(clock: Clock) -> None:
    sessions = Sessions(idle_s=10, max_s=100, clock=clock)
    session_id, _ = sessions.open("key", "alice")
    clock.now += 9
    sessions.find(session_id)
    clock.now += 9
    assert sessions.find(session_id).principal == "alice"
    clock.now += 10
    with pytest.raises(NoSession):
        sessions.find(session_id)


def test_what_a_page_does_by_itself_does_not_keep_a_session_alive(clock: Clock) -> None:
    sessions = Sessions(idle_s=10, max_s=100, clock=clock)
    session_id, _ = sessions.open("key", "alice")
    for _ in range(4):
        clock.now += 2.4
        sessions.find(session_id, is_activity=False)
    clock.now += 2.4
    with pytest.raises(NoSession):
        sessions.find(session_id, is_activity=False)


def test_a_session_ends_at_its_age_however_busy_it_is(clock: Clock) -> None:
    sessions = Sessions(idle_s=10, max_s=25, clock=clock)
    session_id, _ = sessions.open("key", "alice")
    for _ in range(3):
        clock.now += 8
        sessions.find(session_id)
    clock.now += 1
    with pytest.raises(NoSession):
        sessions.find(session_id)


def test_one_browser_too_many_signs_the_longest_idle_one_out(clock: Clock) -> None:
    sessions = Sessions(idle_s=1_000, max_s=1_000, clock=clock)
    other, _ = sessions.open("key", "bob")
    ids = []
    for _ in range(MAX_PER_PERSON):
        clock.now += 1
        ids.append(sessions.open("key", "alice")[0])
    sessions.find(ids[0])
    clock.now += 1
    sessions.open("key", "alice")
    assert sessions.find(ids[0]) and sessions.find(other)
    with pytest.raises(NoSession):
        sessions.find(ids[1])


def test_memory_is_bounded_whoever_signs_in(clock: Clock) -> None:
    sessions = Sessions(idle_s=1_000_000, max_s=1_000_000, clock=clock)
    first, _ = sessions.open("key", "alice")
    for number in range(MAX_IN_ALL):
        clock.now += 1
        last, _ = sessions.open("key", f"person {number}")
    assert sessions.find(last)
    with pytest.raises(NoSession):
        sessions.find(first)


def test_neither_credential_nor_token_is_in_what_a_session_says_of_itself(clock: Clock) -> None:
    session_id, session = Sessions(idle_s=1, max_s=1, clock=clock).open("mcpgw_secret", "alice")
    assert "mcpgw_secret" not in repr(session) and session.token not in repr(session) and session_id not in repr(session)


def test_attempts_come_back_one_by_one(clock: Clock) -> None:
    counted = Attempts(clock)
    for _ in range(attempts.LIMIT):
        assert counted.wait_s("192.0.2.1") == 0
        clock.now += 1
    assert counted.wait_s("192.0.2.1") == attempts.WINDOW_S - attempts.LIMIT
    assert counted.wait_s("192.0.2.2") == 0
    clock.now += attempts.WINDOW_S - attempts.LIMIT
    assert counted.wait_s("192.0.2.1") == 0
    assert counted.wait_s("192.0.2.1") > 0


def test_an_attempt_that_succeeds_is_not_counted(clock: Clock) -> None:
    counted = Attempts(clock)
    for _ in range(3 * attempts.LIMIT):
        assert counted.wait_s("not an address") == 0
        counted.forgive("not an address")


def test_addresses_are_forgotten_before_memory_is_short(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_ADDRESSES", 3)
    counted = Attempts(clock)
    for number in range(50):
        assert counted.wait_s(f"192.0.2.{number}") == 0
    assert len(counted._times) == 3
