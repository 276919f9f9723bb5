"""Every record becomes a valid OCSF event that says what happened, and holds no payload."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from ledger_parts import (
    answered,
    asked,
    failed,
    intent,
    manifest,
    opened,
    outcome,
    person,
    proposed,
    refusal,
    rejection,
    reply,
    settled,
    spend,
    unanswered,
    vote,
)
from sink_parts import MemoryLog, Row

import mcpgw.sinks
from mcpgw.core.entries import (
    Event,
    Reviewed,
    Settled,
    SettledAs,
    Stopped,
    StoppedAs,
    Verdict,
    VoteWithdrawn,
)
from mcpgw.core.model import ApprovalRef, RefusalCode
from mcpgw.ledger import Ledger
from mcpgw.ledger.record import parse
from mcpgw.sinks.backfill import trial_event
from mcpgw.sinks.outbox import DamagedRecord, event_of, leaf_hash

SCHEMA = json.loads((Path(mcpgw.sinks.__file__).parent / "ocsf.schema.json").read_text())
VALID = jsonschema_rs.validator_for(SCHEMA)


def event(row: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(event_of(row).body)
    VALID.validate(found)
    return found


async def test_every_kind_of_record_becomes_a_valid_event_of_its_meaning(ledger: Ledger) -> None:
    async def check(entry: Any, code: str, **expected: object) -> Any:
        sealed = await ledger.append(entry)
        (row,) = await ledger.records_after(sealed.seq - 1, 1)
        found = event(row)
        assert found["metadata"]["event_code"] == code
        assert found["metadata"]["uid"] == found["unmapped"]["mcpgw"]["leaf_hash"] == sealed.leaf_hash
        assert found["metadata"]["sequence"] == found["unmapped"]["mcpgw"]["seq"] == sealed.seq
        assert {name: found[name] for name in expected} == expected, code
        return sealed

    begun = await check(intent(), "call.intent", status="Unknown", disposition="Allowed", severity_id=1)
    await check(outcome(begun), "call.outcome", status="Success", disposition="Allowed", severity_id=1, duration=0)
    begun = await ledger.append(intent())
    await check(asked(begun), "call.asked", status="Unknown", disposition="Delayed", severity_id=1)
    await check(answered(begun), "call.answered", status="Success", disposition="Logged", severity_id=1)
    await check(unanswered(begun), "call.unanswered", status_code="unanswered", disposition="Rejected", severity_id=2)
    await check(outcome(begun, reply(is_error=True)), "call.outcome", status="Failure", action="Allowed", severity_id=2)
    begun = await ledger.append(intent())
    await check(outcome(begun, failed()), "call.outcome", status_code="timeout", disposition="Error", severity_id=3)
    await check(refusal(), "call.refused", status_code="denied", action="Denied", disposition="Blocked", severity_id=3)
    await check(refusal(code=RefusalCode.UNAVAILABLE), "call.refused", disposition="Error", severity_id=4)
    await check(refusal(code=RefusalCode.NOT_APPROVED), "call.refused", disposition="Rejected", severity_id=3)
    await check(rejection(), "call.refused", disposition="Unauthorized", severity_id=3)
    await check(opened("apr_1"), "call.held", disposition="Delayed", action="Observed", severity_id=2)
    await check(vote("apr_1"), "approval.voted", disposition="Approved", severity_id=1)
    await check(VoteWithdrawn(approval_id="apr_1", voter=person("bob")), "approval.vote_withdrawn", severity_id=2)
    await check(settled("apr_1", ballots=2), "approval.settled", disposition="Approved", severity_id=1)
    await check(spend("apr_1"), "call.intent", disposition="Allowed")
    await check(opened("apr_2", key="other"), "call.held", type_uid=600399)
    await check(vote("apr_2", verdict=Verdict.DENY), "approval.voted", disposition="Rejected")
    await check(settled("apr_2", SettledAs.DENIED), "approval.settled", disposition="Rejected", status="Failure")
    await ledger.append(opened("apr_4", key="fourth"))
    await check(proposed("apr_4"), "approval.proposed", disposition="Rejected", status="Failure")
    await ledger.append(opened("apr_3", key="third"))
    broken = Settled(approval_id="apr_3", state=SettledAs.APPROVED, reason="two openers", break_glass=True)
    await check(broken, "approval.break_glass", disposition="Approved", severity_id=4)
    await check(Reviewed(approval_id="apr_3", person=person("eve"), comment="fine"), "approval.reviewed", severity_id=2)
    stopped = Stopped(approval_id="apr_3", state=StoppedAs.REVOKED, person=person("eve"))
    await check(stopped, "approval.revoked", disposition="Rejected")
    counts = {"counts": [{"who": "10.0.0.1", "code": "denied", "count": 40}, {"who": "x", "code": "denied", "count": 2}]}
    await check(Event(kind="refusals.counted", actor="gateway", facts=counts), "refusals.counted", count=42, severity_id=3)
    for kind, activity in (("policy.activated", 3), ("evidence.read", 2), ("payload.shredded", 4), ("no_such.kind", 99)):
        await check(Event(kind=kind, actor="admin", facts={"n": 1}), kind, activity_id=activity, type_uid=600300 + activity)


async def test_what_was_erased_is_counted_and_not_listed(ledger: Ledger) -> None:
    facts = {"reason": "case 7", "payloads": {"arguments.clean": [0, 1], "result.clean": [1]}}
    sealed = await ledger.append(Event(kind="payload.shredded", actor="os:admin", facts=facts))
    (row,) = await ledger.records_after(sealed.seq - 1, 1)
    told = event(row)["unmapped"]["mcpgw"]["facts"]
    assert told == {"reason": "case 7", "payloads": {"arguments.clean": 2, "result.clean": 1}}


async def test_a_call_says_who_what_where_and_why(ledger: Ledger) -> None:
    entry = refusal(who="alice", tool="bank__transfer")
    sealed = await ledger.append(entry)
    (row,) = await ledger.records_after(sealed.seq - 1, 1)
    found = event(row)
    assert found["actor"]["user"] == {
        "name": "alice",
        "uid": "https://idp.example#alice",
        "type_id": 1,
        "type": "User",
        "groups": [{"name": "tellers"}],
    }
    assert found["actor"]["session"]["uid"] == parse(row.leaf)["session"]["id"]
    assert found["api"]["operation"] == "bank__transfer"
    assert found["api"]["service"] == {"name": "bank", "uid": "ab" * 32}
    assert found["api"]["response"] == {"error": "denied", "error_message": "no"}
    assert found["src_endpoint"] == {"ip": "127.0.0.1"}
    assert found["authorizations"] == [{"decision": "deny", "policy": {"name": "r1", "uid": "ee" * 32}}]
    assert found["metadata"]["correlation_uid"] == entry.shown.call.id
    extension = found["unmapped"]["mcpgw"]
    assert extension["masked"] == {"arguments": {"US_SSN": manifest().masked[0].count}}
    assert extension["decision"]["rules"] == ["r1"]
    assert extension["log"] == found["metadata"]["log_name"] == "bank.example/mcpgw"


async def test_an_approved_call_names_its_approval(ledger: Ledger) -> None:
    await ledger.append(opened("apr_1"))
    await ledger.append(vote("apr_1"))
    await ledger.append(settled("apr_1", ballots=1))
    sealed = await ledger.append(intent(approval=ApprovalRef(id="apr_1", digest="d1" * 32)))
    rows = await ledger.records_after(-1, 100)
    assert event(rows[sealed.seq])["unmapped"]["mcpgw"]["approval"]["id"] == "apr_1"
    held = event(rows[2])["unmapped"]["mcpgw"]["approval"]
    assert held["terms"]["levels"][0]["seats"] == [{"count": 1, "of": ["group:managers"]}]
    assert "request_key" not in held


async def test_no_payload_and_no_commitment_to_one_leaves(ledger: Ledger) -> None:
    begun = await ledger.append(intent())
    await ledger.append(outcome(begun, reply("the balance is 42")))
    await ledger.append(opened("apr_1"))
    await ledger.append(vote("apr_1", comment="call me at home"))
    bodies = b"".join(event_of(row).body for row in await ledger.records_after(-1, 100))
    for secret in (b"078-05-1120", b"[SSN]", b"balance", b"call me", b"sha256", b"exact", b"salt"):
        assert secret not in bodies


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ({"address": "10.1.2.3", "transport": "http"}, {"ip": "10.1.2.3"}),
        ({"address": "fe80::1", "transport": "http"}, {"ip": "fe80::1"}),
        ({"address": "a-host", "transport": "http"}, {"name": "a-host"}),
        ({"address": "", "transport": "stdio"}, {"name": "stdio", "uid": "n1"}),
        ({}, {"name": "mcpgw", "uid": "n1"}),
    ],
)
def test_where_a_call_came_from(log: MemoryLog, origin: dict[str, str], expected: dict[str, str]) -> None:
    assert event(log.add("call.refused", origin=origin))["src_endpoint"] == expected


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        ("gateway", {"name": "gateway", "uid": "gateway", "type_id": 3, "type": "System"}),
        ("os:alice", {"name": "os:alice", "uid": "os:alice", "type_id": 2, "type": "Admin"}),
        ("unknown", {"name": "unknown", "uid": "unknown", "type_id": 0, "type": "Unknown"}),
        ("https://idp#bob", {"name": "bob", "uid": "https://idp#bob", "type_id": 0, "type": "Unknown"}),
        ("", {"name": "unauthenticated", "type_id": 0, "type": "Unknown"}),
    ],
)
def test_who_acted_where_it_was_no_call(log: MemoryLog, actor: str, expected: dict[str, Any]) -> None:
    assert event(log.add("gateway.started", actor=actor))["actor"]["user"] == expected


def who(**changed: Any) -> dict[str, Any]:
    lists: dict[str, Any] = {"amr": [], "actors": [], "groups": [], "groups_cut": 0, "auth_time": 0}
    return {"iss": "i", "sub": "s", "kind": "agent", "method": "jwt", "client": "", "credential": "", **lists, **changed}


def test_an_agent_is_shown_with_those_it_acts_through(log: MemoryLog) -> None:
    row = log.add(
        "call.intent",
        who=who(actors=["https://idp#copilot"], client="desk-app", credential="key-7"),
        target={"kind": "resource", "name": "file:///x"},
        decision={"effect": "allow", "rules": [], "reason": "", "policy": "ee"},
        masking={"arguments": {"masked": [["PERSON", "a", "d", 2], ["PERSON", "b", "d", 1]], "masked_cut": 4}},
    )
    found = event(row)
    assert found["actor"]["invoked_by"] == "https://idp#copilot"
    assert found["actor"]["app_name"] == "desk-app"
    assert found["actor"]["user"]["type"] == "Agent"
    assert found["actor"]["user"]["credential_uid"] == "key-7"
    assert found["activity_name"] == "Read"
    assert found["authorizations"] == [{"decision": "allow", "policy": {"uid": "ee"}}]
    assert found["unmapped"]["mcpgw"]["masked"] == {"arguments": {"PERSON": 3, "other": 4}}


@pytest.mark.parametrize(("kind", "role"), [("agent", (4, "Agent")), ("human", (0, "Unknown")), ("service", (0, "Unknown"))])
def test_a_call_has_the_context_of_its_message_and_no_model_is_made_up(
    log: MemoryLog, kind: str, role: tuple[int, str]
) -> None:
    target = {"kind": "tool", "name": "bank__transfer", "server": "bank", "fingerprint": "5c"}
    found = event(log.add("call.intent", who=who(kind=kind, client="desk-app"), target=target, origin={"session": "ses_1"}))
    assert found["metadata"]["profiles"] == ["security_control", "ai_operation"]
    assert found["message_context"] == {
        "ai_role_id": role[0], "ai_role": role[1], "uid": "ses_1",
        "service": {"name": "bank", "uid": "5c"}, "application": {"name": "desk-app"},
    }  # fmt: skip
    assert "ai_model" not in found


@pytest.mark.parametrize("members", [{"kind": "gateway.started"}, {"kind": "call.refused", "origin": {"client": "x"}}])
def test_what_reached_out_to_no_server_is_no_ai_operation(log: MemoryLog, members: dict[str, Any]) -> None:
    found = event(log.add(**members))
    assert found["metadata"]["profiles"] == ["security_control"]
    assert "message_context" not in found


@pytest.mark.parametrize("broken", [{}, {"ai_role_id": 4}, {"ai_role_id": 3, "service": {"name": "bank"}}])
def test_the_schema_holds_the_profile_to_its_own_rules(log: MemoryLog, broken: dict[str, Any]) -> None:
    found = event(log.add("call.intent", target={"kind": "tool", "name": "t", "server": "bank"}))
    VALID.validate(found)
    assert not VALID.is_valid({**found, "message_context": broken})
    assert not VALID.is_valid({name: value for name, value in found.items() if name != "message_context"})


def test_the_same_record_is_the_same_event_to_the_byte(log: MemoryLog) -> None:
    row = log.add()
    assert event_of(row) == event_of(Row(row.seq, row.leaf, row.hash))


@pytest.mark.parametrize("leaf", [b"{}", b"[]", b"\xff", b'{"kind":"x","time_ns":"no"}'])
def test_a_record_that_is_not_ours_is_damaged(leaf: bytes) -> None:
    with pytest.raises(DamagedRecord):
        event_of(Row(0, leaf, leaf_hash(leaf)))
    with pytest.raises(DamagedRecord, match="hash"):
        event_of(Row(0, leaf, b"another"))


def test_the_test_event_says_that_it_is_one() -> None:
    trial = trial_event("bank.example/mcpgw", "0.1.0")
    found = json.loads(trial.body)
    VALID.validate(found)
    assert found["metadata"]["labels"] == ["test"]
    assert trial.uid.startswith("test-")
