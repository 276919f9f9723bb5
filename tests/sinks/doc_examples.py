"""The example events of docs/siem.md, made by the code itself; a test holds the page to them.

PYTHONPATH=tests/sinks .venv/bin/python tests/sinks/doc_examples.py
"""

import json
from collections.abc import Iterator
from typing import Any

from sink_parts import MemoryLog

from mcpgw.sinks.outbox import event_of

WHO: dict[str, Any] = {
    "iss": "https://idp.bank.example", "sub": "alice", "kind": "human", "method": "jwt", "client": "claude-desktop",
    "credential": "8a1f", "auth_time": 1795256000, "amr": ["pwd", "otp"], "actors": [], "groups": ["tellers"], "groups_cut": 0,
}  # fmt: skip
TARGET = {
    "kind": "tool", "name": "bank__transfer", "server": "bank", "fingerprint": "5c1d…", "upstream": "transfer",
    "definition": "9e77…",
}  # fmt: skip
ORIGIN = {
    "transport": "http", "protocol": "2026-07-28", "request": "17", "address": "10.20.30.40", "client": "claude/1.2",
    "traceparent": "", "session": "ses_4f2a",
}  # fmt: skip
PLACE: dict[str, Any] = {"gateway": {"version": "0.1.0", "config": "77aa…", "catalog": "c0de…"}, "node": "node_1"}
CALL: dict[str, Any] = {**PLACE, "call": "01a1fda9-4143", "who": WHO, "target": TARGET, "origin": ORIGIN}
MASKED = {"masked": [["US_SSN", "rows[*].ssn", "column@1", 3]], "masked_cut": 0}


def ruling(effect: str, rule: str, reason: str) -> dict[str, Any]:
    return {"effect": effect, "rules": [rule], "reason": reason, "policy": "e41b…"}


def entries() -> Iterator[tuple[str, str, dict[str, Any]]]:
    outcome = {"outcome": {"class": "completed", "reply": "result"}, "masking": {"result": MASKED}}
    yield "A call that ran", "call.outcome", {**CALL, **outcome, "latency_ns": {"policy": 310_000, "upstream": 41_000_000}}
    refused = {"outcome": {"class": "refused", "code": "denied", "reason": "Tellers do not move more than 10,000."}}
    yield "A call that was refused", "call.refused", {**CALL, "decision": ruling("deny", "limit", "Over the limit."), **refused}
    terms = {"levels": [{"seats": [{"count": 1, "of": ["group:leads"]}], "lasts_ns": 3_600_000_000_000}]}
    approval = {"id": "apr_7", "how": "opened", "terms": terms, "deadline_ns": "1795260000000000000"}
    hold = {"decision": ruling("hold", "four-eyes", "Transfers need a second person."), "approval": approval}
    yield "A call that waits for people", "call.held", {**CALL, **hold}
    voter = {**WHO, "sub": "bob", "groups": ["leads"]}
    yield "A vote", "approval.voted", {**PLACE, "who": voter, "approval": {"id": "apr_7", "verdict": "approve"}}
    named = {"added": ["rule limit"], "removed": [], "changed": [], "unnamed": 0}
    file = {"name": "config.toml", "owner": "root", "written_ns": "1795256000000000000"}
    facts = {"aspect": "policy", "before": "e41b…", "after": "f02c…", **named, "file": file}
    yield "A change of the rules", "policy.activated", {**PLACE, "actor": "unknown", "facts": facts}
    lost = {"seq": 812, "kind": "call.outcome", "leaf_hash": "3d9e…", "why": "the receiver answered 400"}
    yield (
        "An event that a receiver refused",
        "sink.failed",
        {**PLACE, "actor": "gateway", "facts": {"sink": "soc", "events": [lost]}},
    )


def examples() -> Iterator[tuple[str, str]]:
    """Yield a title and the event as the page shows it: one attribute a line."""
    log = MemoryLog()
    for title, kind, members in entries():
        event = json.loads(event_of(log.add(kind, **members)).body)
        lines = [f'  "{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in event.items()]
        yield title, "{\n" + ",\n".join(lines) + "\n}"


if __name__ == "__main__":
    for title, text in examples():
        print(f"### {title}\n\n```json\n{text}\n```\n")
