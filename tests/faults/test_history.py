"""The judge is judged: each breach of a promise, planted into a history without fault, is found, and named by its promise."""

from dataclasses import replace
from typing import Any

import pytest

from tests.faults.clients import understood
from tests.faults.history import INDETERMINATE, INTENT, OUTCOME, PROMISES, Answer, Effect, Entry, History, Said, check

PLAIN = (
    Entry(seq=1, kind=INTENT, time_ns=10, call="c1", deed="pay", tool="do", who="alice"),
    Entry(seq=2, kind=OUTCOME, time_ns=30, call="c1", outcome="completed"),
)
APPROVED = (
    Entry(seq=3, kind="call.held", time_ns=40, call="c2", deed="close", tool="risky", who="alice", approval="a1"),
    Entry(seq=4, kind="approval.voted", time_ns=41, who="carol", approval="a1", verdict="approve"),
    Entry(seq=5, kind="approval.settled", time_ns=42, approval="a1", settled="approved"),
    Entry(seq=6, kind=INTENT, time_ns=43, call="c3", deed="close", tool="risky", who="alice", approval="a1"),
    Entry(seq=7, kind=OUTCOME, time_ns=50, call="c3", outcome="completed", approval="a1"),
)
GRANTED = (
    Entry(seq=30, kind="call.held", deed="any", tool="risky", who="alice", approval="g1", calls=2, total=9),
    Entry(seq=31, kind="approval.voted", who="carol", approval="g1", verdict="approve"),
    Entry(seq=32, kind="approval.settled", approval="g1", settled="approved"),
    Entry(seq=33, kind=INTENT, time_ns=1, call="u1", deed="rent", tool="risky", who="alice", approval="g1", use=1, amount=4),
    Entry(seq=34, kind=INDETERMINATE, call="u1", outcome="indeterminate"),
    Entry(seq=35, kind=INTENT, time_ns=2, call="u2", deed="heat", tool="risky", who="alice", approval="g1", use=2, amount=5),
    Entry(seq=36, kind=INDETERMINATE, call="u2", outcome="indeterminate"),
)
OTHERS = (
    Entry(seq=8, kind="call.refused", call="c4", deed="never", tool="do", who="alice", outcome="refused"),
    Entry(seq=9, kind=INTENT, time_ns=60, call="c5", deed="lost", tool="do", who="alice"),
    Entry(seq=10, kind=INDETERMINATE, time_ns=90, call="c5", outcome="indeterminate"),
    Entry(seq=11, kind=INTENT, time_ns=100, call="c6", deed="down", tool="do", who="alice"),
    Entry(seq=12, kind=OUTCOME, time_ns=101, call="c6", outcome="failed", reached=False),
    Entry(seq=13, kind=OUTCOME, time_ns=110, call="c7", deed="close", outcome="completed", approval="a1"),
)
SOUND = History(
    answers=(
        Answer(deed="pay", said=Said.COMPLETED, call="c1", echo="pay"),
        Answer(deed="close", said=Said.HELD, approval="a1"),
        Answer(deed="close", said=Said.COMPLETED, call="c3", echo="close"),
        Answer(deed="close", said=Said.COMPLETED, call="c7", echo="close", replayed=True),
        Answer(deed="never", said=Said.REFUSED),
        Answer(deed="lost", said=Said.NOTHING),
        Answer(deed="down", said=Said.FAILED, harmless=True),
        Answer(deed="late", said=Said.TURNED_AWAY),
    ),
    effects=(Effect("do", "pay", 20), Effect("risky", "close", 45), Effect("do", "lost", 70)),
    entries=PLAIN + APPROVED + GRANTED + OTHERS,
    left_open={"c5": 80},
)


def without(seq: int) -> History:
    return replace(SOUND, entries=[entry for entry in SOUND.entries if entry.seq != seq])


def changed(number: int, **changes: Any) -> History:
    return replace(SOUND, entries=[replace(entry, **changes) if entry.seq == number else entry for entry in SOUND.entries])


def also(*entries: Entry) -> History:
    return replace(SOUND, entries=[*SOUND.entries, *entries])


def heard(*answers: Answer) -> History:
    return replace(SOUND, answers=[*SOUND.answers, *answers])


def happened(*effects: Effect) -> History:
    return replace(SOUND, effects=[*SOUND.effects, *effects])


def test_a_history_without_fault_passes() -> None:
    assert check(SOUND) == []
    assert check(changed(10, kind=OUTCOME, outcome="completed", time_ns=79)) == []
    assert check(replace(without(10), recovered=False, left_open={})) == []


BREACHES = {
    "an answer without a record": (heard(Answer(deed="x", said=Said.COMPLETED, call="c9", echo="x")), "no recorded outcome"),
    "an answer whose outcome is lost": (without(2), "no recorded outcome"),
    "an answer to a call that is only indeterminate": (
        heard(Answer(deed="lost", said=Said.COMPLETED, call="c5", echo="lost")),
        "no recorded outcome",
    ),
    "an answer that belongs to somebody else": (
        replace(SOUND, answers=[replace(SOUND.answers[0], echo="close")]),
        "answered with 'close'",
    ),
    "one outcome answered twice": (heard(SOUND.answers[0]), "answered 2 times"),
    "a replay without a record": (without(13), "no recorded outcome"),
    "a hold without a record": (heard(Answer(deed="pay", said=Said.HELD, approval="a2")), "told held a2 1 times"),
    "a refusal without a record": (without(8), "told refused"),
    "a second refusal without a second record": (heard(SOUND.answers[4]), "told refused  2 times"),
    "a call that was given up without a record": (heard(Answer(deed="x", said=Said.GIVEN_UP)), "told given up"),
    "a failure without a record": (without(12), "told failed"),
    "an answer that means nothing": (heard(Answer(deed="pay", said=Said.ODD, text="?")), "means nothing"),
    "an effect without an intent": (happened(Effect("do", "stolen", 20)), "asked without an intent"),
    "an effect of another tool than intended": (
        replace(SOUND, effects=[Effect("risky", "pay", 20), *SOUND.effects[1:]]),
        "asked without an intent",
    ),
    "an effect before its intent": (changed(1, time_ns=21), "asked before the intent"),
    "an effect twice": (happened(Effect("do", "pay", 25)), "pay: 2 effects"),
    "a lost call executed again": (happened(Effect("do", "lost", 95)), "lost: 2 effects"),
    "two intents for one call": (also(replace(PLAIN[0], seq=20)), "call c1: 2 intents"),
    "two intents for one deed": (
        also(replace(PLAIN[0], seq=20, call="c9"), Entry(seq=21, kind=INDETERMINATE, call="c9")),
        "pay: 2 intents",
    ),
    "two outcomes for one call": (also(replace(PLAIN[1], seq=20)), "call c1: 2 ends"),
    "an outcome and an indeterminate": (also(Entry(seq=20, kind=INDETERMINATE, call="c1")), "call c1: 2 ends"),
    "an outcome without an intent": (
        also(Entry(seq=20, kind=OUTCOME, call="c9", outcome="failed")),
        "without an intent before",
    ),
    "a completed outcome without an effect": (replace(SOUND, effects=SOUND.effects[1:]), "completed, with 0 effects"),
    "an effect that is recorded as not reached": (happened(Effect("do", "down", 101)), "never having reached"),
    "an effect that the client was told did not happen": (happened(Effect("do", "down", 101)), "told that there was no effect"),
    "an approval spent twice": (
        also(replace(APPROVED[3], seq=20, call="c9"), Entry(seq=21, kind=INDETERMINATE, call="c9")),
        "spent 2 times",
    ),
    "an approval spent on something else": (changed(3, deed="open"), "asked for ['open'], spent on close"),
    "an approval that nobody gave": (without(4), "without anybody else's approval"),
    "an approval that the requester gave": (changed(4, who="alice"), "without anybody else's approval"),
    "an approval that was denied": (changed(5, settled="denied"), "without anybody else's approval"),
    "an approval given afterwards": (changed(5, seq=20), "without anybody else's approval"),
    "a risky call without an approval": (changed(6, approval=""), "ran without an approval"),
    "a grant used more often than was granted": (changed(30, calls=1), "2 of 1 calls"),
    "a grant used for more than was granted": (changed(35, amount=6), "10 of 9 in all"),
    "a use that is not numbered": (changed(35, use=1), "numbered [1, 1]"),
    "a grant that nobody gave": (without(31), "without anybody else's approval"),
    "a call that was turned away, and ran": (
        replace(SOUND, answers=[Answer(deed="lost", said=Said.TURNED_AWAY)]),
        "turned away, but it ran",
    ),
    "an intent without an end": (without(10), "has no end"),
    "an open call that got an outcome from nowhere": (changed(10, kind=OUTCOME, outcome="completed"), "died in the middle"),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_planted_breach_is_found(breach: str) -> None:
    history, complaint = BREACHES[breach]
    assert any(complaint in problem for problem in check(history)), check(history)


def test_each_promise_is_broken_by_one_of_these_breaches() -> None:
    unbroken = {promise.__name__ for promise in PROMISES}
    for history, _ in BREACHES.values():
        unbroken -= {promise.__name__ for promise in PROMISES if check(history, [promise])}
    assert unbroken == set()


# --- what counts as heard ------------------------------------------------------------------------------------------------

RESULT = '{"jsonrpc":"2.0","id":"d","result":{"structuredContent":{"deed":"d"},"content":[],"_meta":{"mcpgw/call":{"id":"c"}}}}'


def test_an_answer_that_arrived_whole_counts_even_where_the_connection_then_broke() -> None:
    assert understood("d", 200, RESULT.encode()).call == "c"
    assert understood("d", 200, f"event: message\r\ndata: {RESULT}\r\n".encode()).call == "c"


@pytest.mark.parametrize("heard", [b"", RESULT[:-1].encode(), f"data: {RESULT[:-9]}".encode()])
def test_an_answer_that_was_cut_off_says_nothing(heard: bytes) -> None:
    assert understood("d", 200, heard).said is Said.NOTHING


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, "", Said.TURNED_AWAY),
        (401, "no", Said.ODD),
        (200, '{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no"}}', Said.ODD),
        (200, '{"error":{"message":"The gateway is shutting down, so it was given up. It may"}}', Said.GIVEN_UP),
        (
            200,
            '{"error":{"message":"The gateway cannot write its record, so nothing was done. Try again later."}}',
            Said.NOTHING_DONE,
        ),
        (200, '{"error":{"message":"The call ran, but the gateway cannot write its record, so the answer"}}', Said.WITHHELD),
        (200, '{"result":{"isError":true,"content":[{"type":"text","text":"Down. It had no effect."}]}}', Said.FAILED),
        (200, '{"result":{"_meta":{"mcpgw/refused":{"rules":[]}}}}', Said.REFUSED),
        (200, '{"result":{"_meta":{"mcpgw/approval":{"id":"a"}}}}', Said.HELD),
        (200, '{"result":{"content":[]}}', Said.ODD),
    ],
)
def test_every_kind_of_answer_is_told_apart(status: int, body: str, said: Said) -> None:
    assert understood("d", status, body.encode()).said is said
