"""Who called what, who decided, and what was granted: the log of some time, added up. Its size depends on people and tools."""

import json
from collections import Counter
from dataclasses import dataclass, field

from mcpgw.core.model import Identity, JsonObject
from mcpgw.ledger.record import Members, parse, unpack
from mcpgw.ledger.recorded import identity_of
from mcpgw.ledger.spans import SPAN
from mcpgw.ledger.store import Query, Reading

Caller = tuple[str, str, tuple[str, ...]]
"""Principal, kind, and for whom it acts: who is judged as one."""
TargetKey = tuple[str, str]
"""Kind and published name."""


@dataclass(slots=True)
class Uses:
    """What became of somebody's calls of one target."""

    ran: int = 0
    """Calls that were sent to the server, whatever it answered."""
    held: int = 0
    refused: int = 0
    last_ns: int = 0
    """When the last one ran, Unix nanoseconds."""


@dataclass(slots=True)
class Person:
    """A caller, as the newest record has them."""

    who: Members = field(repr=False)
    seen_ns: int
    claims_at: int
    """The record beside which the claims stand; -1: there were none."""
    uses: dict[TargetKey, Uses] = field(default_factory=dict)
    unknown: int = 0
    """Calls of names that nobody publishes."""


@dataclass(slots=True)
class Decided:
    """What somebody decided on others' calls."""

    approved: int = 0
    denied: int = 0
    taken_back: int = 0
    proposed: int = 0
    broke_glass: int = 0
    revoked: int = 0
    reviewed: int = 0
    last_ns: int = 0


@dataclass(slots=True)
class Granted:
    """A grant, or an approval by break-glass."""

    approval_id: str
    who: str
    target: str
    time_ns: int
    max_calls: int = 0
    uses: int = 0
    state: str = "pending"


@dataclass(slots=True)
class Usage:
    people: dict[Caller, Person] = field(default_factory=dict)
    approvers: dict[str, Decided] = field(default_factory=dict)
    grants: dict[str, Granted] = field(default_factory=dict)
    break_glass: dict[str, Granted] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    """Refusals without records of their own, by caller or address."""
    damaged: int = 0
    """Records that cannot be read: `mcpgw verify` says more."""

    def take(self, members: Members, seq: int) -> None:
        """Take in the next record.

        Raises:
            (ValueError, KeyError, TypeError, AttributeError): it is no leaf of ours.
        """
        kind, time_ns = members["kind"], int(members["time_ns"])
        approval = members.get("approval", {})
        if kind in ("call.intent", "call.held", "call.refused") and "call" in members:
            self._called(members, seq, time_ns)
        if kind == "call.held" and "grant" in approval:
            asked, name = members["who"], members["target"]["name"]
            self.grants[approval["id"]] = Granted(
                approval["id"], _principal(asked), name, time_ns, approval["grant"]["max_calls"]
            )
        if kind == "call.intent" and approval.get("id") in self.grants:
            self.grants[approval["id"]].uses += 1
        if kind.startswith("approval."):
            self._decided(kind, members, approval, time_ns)
        if kind == "refusals.counted":
            for line in members["facts"]["counts"]:
                self.counted[line["who"]] += line["count"]

    def identity(self, caller: Caller, store: Reading) -> Identity:
        """Return a caller as they were when last seen, with their claims if these are kept."""
        person = self.people[caller]
        kept = store.payload(person.claims_at, "claims") if person.claims_at >= 0 else ()
        claims: JsonObject = json.loads(unpack(kept[0].packed)) if kept else {}
        return identity_of({**person.who, "scopes": []}, claims)

    def _called(self, members: Members, seq: int, time_ns: int) -> None:
        who, target = members["who"], members["target"]
        caller = (_principal(who), who["kind"], tuple(who["actors"]))
        person = self.people.setdefault(caller, Person(who, time_ns, -1))
        person.who, person.seen_ns = who, time_ns
        person.claims_at = seq if "claims" in members["payloads"] else -1
        if "server" not in target:
            person.unknown += 1
            return
        uses = person.uses.setdefault((target["kind"], target["name"]), Uses())
        match members["kind"]:
            case "call.intent":
                uses.ran, uses.last_ns = uses.ran + 1, time_ns
            case "call.held":
                uses.held += 1
            case _:
                uses.refused += 1

    def _decided(self, kind: str, members: Members, approval: Members, time_ns: int) -> None:
        for granted in [self.grants[approval["id"]]] if approval["id"] in self.grants else []:
            granted.state = approval.get("state", granted.state)
        if kind == "approval.break_glass":
            self.break_glass[approval["id"]] = Granted(approval["id"], "", "", time_ns, state="unreviewed")
        if kind == "approval.reviewed" and approval["id"] in self.break_glass:
            self.break_glass[approval["id"]].state = "reviewed"
        if "who" not in members:
            return
        decided = self.approvers.setdefault(_principal(members["who"]), Decided())
        decided.last_ns = time_ns
        match kind:
            case "approval.voted" if approval.get("break_glass"):
                decided.broke_glass += 1
            case "approval.voted" if approval["verdict"] == "approve":
                decided.approved += 1
            case "approval.voted":
                decided.denied += 1
            case "approval.vote_withdrawn":
                decided.taken_back += 1
            case "approval.proposed":
                decided.proposed += 1
            case "approval.revoked":
                decided.revoked += 1
            case "approval.reviewed":
                decided.reviewed += 1


def usage(store: Reading, start: int, end: int) -> Usage:
    """Add up the records with `start <= seq < end`.

    Raises:
        LedgerUnavailable: they cannot be read.
    """
    found = Usage()
    for first in range(start, end, SPAN):
        for record in store.records(first, min(SPAN, end - first)):
            try:
                if record.seq < end:
                    found.take(parse(record.leaf), record.seq)
            except (ValueError, KeyError, TypeError, AttributeError):
                found.damaged += 1
    for opened in found.break_glass.values():
        for record in store.search(Query(approval_id=opened.approval_id, kind="call.held", limit=1)):
            opened.who, opened.target = str(record.index["principal"]), str(record.index["target"])
    return found


def _principal(who: Members) -> str:
    return f"{who['iss']}#{who['sub']}"
