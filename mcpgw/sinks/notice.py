"""Telling people about held calls: which records are news, and what is said of them.

A notice is made of the approval as the ledger's projection knows it at that moment, arguments masked as in the record. It never
decides anything: its link opens a page, because mail scanners follow links. What is no longer news is not sent: a call that
was decided meanwhile, or whose deadline has passed, needs nobody any more.
"""

import fnmatch
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from mcpgw.core.access import clean_sentences
from mcpgw.core.visible import visible
from mcpgw.ports import Approval, ApprovalState
from mcpgw.sinks.config import NoticeFeed
from mcpgw.sinks.outbox import FIRST, DamagedRecord, OutboxRecord, OutgoingEvent, leaf_hash

_NEWS_S = 3600.0
"""How long a record that asks nobody for anything is still worth a message after an outage."""
_MAX_ARGUMENTS = 2000
"""Characters of arguments in a notice; the page shows all of them."""
_SEVERITIES = {"held": 3, "escalated": 4, "settled": 1, "break_glass": 4, "indeterminate": 4}
"""OCSF's scale, as `OutgoingEvent` has it."""

OCCASIONS: Mapping[str, str] = {
    "held": "a call waits for a verdict",
    "escalated": "nobody decided in time, so others are asked",
    "settled": "it was approved, denied, also with a proposal, withdrawn or revoked, or its deadline passed",
    "break_glass": "it was approved in an emergency, and has to be reviewed",
    "indeterminate": "an approved call ran and its outcome is not known",
}
"""What a notifier can be told to speak of."""


class Approvals(Protocol):
    """The part of `ports.ApprovalStore` that notices are made of."""

    async def approval(self, approval_id: str) -> tuple[Approval, ...]: ...


class Notices:
    """Makes a notice of each record that is news to one notifier. Its `compose` is a `delivery.Compose`."""

    def __init__(self, feed: NoticeFeed, approvals: Approvals, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._feed = feed
        self._approvals = approvals
        self._now_ns = now_ns

    async def compose(self, record: OutboxRecord) -> OutgoingEvent | None:
        """Return the notice that the record calls for, or nothing.

        Raises:
            DamagedRecord: somebody changed the record.
            LedgerUnavailable: the approval cannot be read.
        """
        members = _members(record)
        occasion = _occasion(members)
        if occasion not in self._feed.occasions:
            return None
        for approval in await self._approvals.approval(members["approval"]["id"]):
            if self._is_news(occasion, approval, int(members["time_ns"])):
                body = notice(occasion, approval, self._feed.console_url)
                return OutgoingEvent(
                    seq=record.seq,
                    uid=record.hash.hex(),
                    kind=members["kind"],
                    time_ns=int(members["time_ns"]),
                    severity=_SEVERITIES[occasion],
                    body=json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode(),
                )
        return None

    def _is_news(self, occasion: str, approval: Approval, time_ns: int) -> bool:
        wanted = self._feed.rules
        if wanted and not any(fnmatch.fnmatchcase(rule, glob) for rule in approval.rule_ids for glob in wanted):
            return False
        if occasion in {"held", "escalated"}:
            return approval.state is ApprovalState.PENDING and self._now_ns() < approval.deadline_ns
        return self._now_ns() - time_ns < _NEWS_S * 1e9


def notice(occasion: str, approval: Approval, console_url: str) -> dict[str, Any]:
    """Return what is said of an approval: plain JSON values, every text `visible` and one line.

    `text` says it all to a person; the other members are for programs. `arguments` is JSON text whose values are masked as in
    the record, and in which nothing can pass for a link, a mention or markup of a chat.
    """
    facts = approval.facts
    arguments = inert(json.dumps(facts.get("arguments", {}), ensure_ascii=True, sort_keys=True))
    shown = arguments if len(arguments) <= _MAX_ARGUMENTS else f"{arguments[:_MAX_ARGUMENTS]}… (the page shows all of it)"
    said: dict[str, Any] = {
        "occasion": occasion,
        "approval": approval.id,
        "state": approval.state.value,
        "who": inert(visible(approval.requester)),
        "through": [inert(visible(actor)) for actor in approval.actors],
        "tool": inert(visible(approval.target)),
        "rules": [inert(visible(rule)) for rule in approval.rule_ids],
        "reason": inert(visible(approval.reason)),
        "arguments": shown,
        "grant": inert(visible(_grant(approval))),
        "deadline": _clock(approval.decide_by_ns),
        "link": f"{console_url}/approvals/{approval.id}" if console_url else "",
    }
    if not said["grant"]:
        del said["grant"]
    return {**said, "title": _title(occasion, said), "text": _text(said)}


def trial_notice(origin: str) -> OutgoingEvent:
    """Return a notice that is about nothing, to try a notifier."""
    now_ns = time.time_ns()
    text = f"The gateway whose log is {origin} can reach you. Nothing waits, and nothing is to be done."
    said = {"occasion": "test", "title": "Test of a notifier", "text": text}
    body = json.dumps(said, separators=(",", ":")).encode()
    return OutgoingEvent(
        seq=FIRST,
        uid=hashlib.sha256(body + str(now_ns).encode()).hexdigest(),
        kind="test",
        time_ns=now_ns,
        severity=1,
        body=body,
    )


def inert(text: str) -> str:
    """Return the text with what chats and mail programs act upon written as JSON's escapes.

    Inside a JSON text that changes no value. What callers send must not become a link, a mention or markup on its way to
    an approver.
    """
    return _ACTED_UPON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_ACTED_UPON = re.compile(r"[<>&@`(]|(?<=:)/")
"""Tags and entities, mentions, code, Markdown's links, and the slash that makes an address of what stands before it."""


def _occasion(members: Mapping[str, Any]) -> str:
    """Return what the record is news of; nothing if it is none."""
    approval = members.get("approval", {})
    match members["kind"]:
        case "call.held" if approval["how"] == "opened":
            return "held"
        case "approval.escalated":
            return "escalated"
        case "approval.settled" | "approval.break_glass" | "approval.proposed" | "approval.withdrawn" | "approval.revoked":
            return "settled"
        case "call.indeterminate" if approval:
            return "indeterminate"
    return ""


def _members(record: OutboxRecord) -> Mapping[str, Any]:
    if leaf_hash(record.leaf) != record.hash:
        raise DamagedRecord("the record does not have its hash")
    members: Mapping[str, Any] = json.loads(record.leaf)
    return members


def _grant(approval: Approval) -> str:
    """Return what is asked for where it is more than one call; empty where it is one."""
    for allowance in approval.allowances:
        covered = clean_sentences(approval.facts["access"])
        until = f"until {_clock(allowance.until_ns)}"
        return f"not one call, but {allowance}, {until}: {'; '.join(covered)} ({approval.usage})"
    return ""


def _title(occasion: str, said: Mapping[str, Any]) -> str:
    match occasion:
        case "held" if "grant" in said:
            return f"Approval of a grant needed: {said['tool']}"
        case "held":
            return f"Approval needed: {said['tool']}"
        case "escalated":
            return f"Approval needed, nobody has decided yet: {said['tool']}"
        case "break_glass":
            return f"Break-glass, to be reviewed: {said['tool']}"
        case "indeterminate":
            return f"Outcome unknown: {said['tool']}"
    return f"{said['state'].capitalize()}: {said['tool']}"


def _text(said: Mapping[str, Any]) -> str:
    lines = [
        f"Tool: {said['tool']}",
        f"Asked for by: {said['who']}" + "".join(f", through {actor}" for actor in said["through"]),
        f"Rule: {', '.join(said['rules'])} - {said['reason']}",
        *([f"Grant: {said['grant']}"] if "grant" in said else []),
        f"{'For example' if 'grant' in said else 'Arguments'}, masked: {said['arguments']}",
        f"State: {said['state']}; deadline {said['deadline']}",
        f"Look at it and decide: {said['link']}" if said["link"] else f"Look at it: mcpgw approvals show {said['approval']}",
    ]
    return "\n".join(lines)


def _clock(time_ns: int) -> str:
    """RFC 3339, UTC, whole seconds."""
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
