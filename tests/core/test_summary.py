"""A record in one line: who, what, how it ended, and why."""

from typing import Any

import pytest

from mcpgw.core.summary import is_attended, reason_of, summary_of

INDEX: dict[str, str | int] = {
    "time_ns": 7, "kind": "call.intent", "target": "bank__pay", "outcome": "", "decision": "allow", "session": "s1",
}  # fmt: skip


def why(**members: Any) -> str:
    return summary_of(1, INDEX, members).why


def test_a_call_is_told_by_its_caller_its_decision_and_what_decided() -> None:
    decision = {"rules": ["role:tellers", "hours"], "reason": "Granted."}
    told = summary_of(
        3, INDEX, {"who": {"iss": "mcpgw:keys", "sub": "alice"}, "decision": decision, "approval": {"id": "apr_1"}}
    )
    assert (told.seq, told.time_ns, told.kind, told.target, told.session) == (3, 7, "call.intent", "bank__pay", "s1")
    assert (told.who, told.result, told.why) == ("mcpgw:keys#alice", "allow", "[role:tellers, hours] Granted. apr_1")


def test_how_it_ended_goes_before_what_was_decided_and_that_before_what_became_of_an_approval() -> None:
    assert summary_of(1, {**INDEX, "outcome": "failed"}, {}).result == "failed"
    undecided = {**INDEX, "decision": ""}
    assert summary_of(1, undecided, {"approval": {"verdict": "deny", "state": "denied"}}).result == "deny"
    assert summary_of(1, undecided, {"approval": {"state": "expired"}}).result == "expired"
    assert summary_of(1, undecided, {}).result == ""


def test_the_reason_of_the_end_goes_before_all_others() -> None:
    parts = {"outcome": {"reason": "It hangs."}, "decision": {"reason": "Granted."}}
    assert (reason_of(parts), reason_of({"approval": {"reason": "Late."}}), reason_of({})) == ("It hangs.", "Late.", "")


def test_an_event_is_told_by_its_actor_and_its_first_facts_and_its_reason_before_them() -> None:
    assert summary_of(1, INDEX, {"actor": "os:root"}).who == "os:root"
    facts = {"what": "log", "note": "", "many": [1], "count": 3, "since": "x" * 30, "reason": "Audit of May"}
    assert why(facts=facts) == "reason Audit of May, what log, count 3"
    assert why(facts={"since": "x" * 30}) == f"since {'x' * 21}..."
    assert why() == ""


@pytest.mark.parametrize("members", [{}, {"origin": {}}, {"origin": {"attended": True}}])
def test_a_call_is_attended_unless_it_says_otherwise(members: dict[str, Any]) -> None:
    assert is_attended(members)


def test_a_call_for_which_nobody_waited_says_so() -> None:
    assert not is_attended({"origin": {"attended": False}})
    assert why(origin={"attended": False}) == "(unattended)"
