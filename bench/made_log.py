"""A log of so many records, made fast: the writer's own batches, many of them in one transaction of the database.

The records are those of calls as a gateway writes them: intents and outcomes with their payloads, each tenth call refused, each
hundredth held, approved and spent.
"""

import itertools
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcpgw.core.entries import (
    Entry,
    Opened,
    Refusal,
    Settled,
    SettledAs,
    Verdict,
    Vote,
)
from mcpgw.core.model import (
    Allow,
    ApprovalRef,
    Call,
    CleanJson,
    CleanReply,
    Commitment,
    Hold,
    Identity,
    IdentityKind,
    Intent,
    Manifest,
    Masked,
    Origin,
    Outcome,
    RefusalCode,
    Refused,
    ReplyKind,
    Ruling,
    Sealed,
    ShownCall,
    Target,
    TargetKind,
)
from mcpgw.core.terms import Terms
from mcpgw.ledger import RecordContext, new_id
from mcpgw.ledger.describe import Recordable, draft
from mcpgw.ledger.keys import load_signer
from mcpgw.ledger.record import Draft, Record
from mcpgw.ledger.sessions import SessionRow, Sessions
from mcpgw.ledger.store import Database
from mcpgw.ledger.writer import Batch

CONTEXT = RecordContext(version="bench", config_hash="c0" * 32, catalog_hash="ca" * 32)
ORIGIN = "bench.example/ledger"
_TRANSACTION = 5000
"""Records in one transaction of the database: not durable one by one, so fast."""
_HOUR_NS = 3_600_000_000_000
_AGENT = Identity(subject="bench", issuer="mcpgw", kind=IdentityKind.AGENT, method="api_key", groups=frozenset({"staff"}))
_PERSON = Identity(subject="manager", issuer="mcpgw", kind=IdentityKind.HUMAN, method="api_key", groups=frozenset({"heads"}))
_TARGET = Target(
    kind=TargetKind.TOOL,
    name="bank__lookup",
    server="bank",
    server_fingerprint="ab" * 32,
    upstream_name="lookup",
    definition={"name": "lookup"},
    definition_hash="cd" * 32,
)
_MASKED = (Masked("EMAIL", "content[*].text", "pattern.email@1", 1),)
_MANIFEST = Manifest(profile="default", profile_hash="ff" * 32, masked=_MASKED)
RULING = Ruling(rule_ids=("r1",), reason="", policy_hash="ee" * 32)
TEXT = "Ticket 00000000. Please send the statement to <EMAIL> before Friday. " * 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who calls what, and when: taken in turn, in steps that share no factor with what else repeats."""

    people: Sequence[Identity] = (_AGENT,)
    targets: Sequence[Target] = (_TARGET,)
    clock: Callable[[], int] = time.time_ns

    def shown(self, number: int) -> ShownCall:
        one = shown(number)
        who, what = self.people[number * 7 % len(self.people)], self.targets[number * 11 % len(self.targets)]
        return replace(one, call=replace(one.call, identity=who, target=what))


_ALONE = Cast()


def many(count: int, since_ns: int, until_ns: int) -> Cast:
    """Return 211 people with 41 tools of 8 servers, whose records are spread evenly over that time."""
    moments = (since_ns + number * (until_ns - since_ns) // count for number in itertools.count())
    return Cast(
        people=[replace(_AGENT, subject=f"agent-{number}", groups=frozenset({f"team-{number % 10}"})) for number in range(211)],
        targets=[
            replace(_TARGET, name=f"server{number % 8}__tool{number}", server=f"server{number % 8}") for number in range(41)
        ],
        clock=lambda: next(moments),
    )


def make_log(database: Database, keys: Path, count: int, *, commit: int, cast: Cast = _ALONE) -> None:
    """Append at least `count` records to a log, with a signed checkpoint over each `commit` of them."""
    signer = load_signer(keys, ORIGIN)
    node = new_id()
    calls = _calls(cast)
    entry = next(calls)
    standing: Sequence[SessionRow] = ()

    def described(what: Recordable) -> Draft:
        return draft(what, node=node, context=CONTEXT)

    with closing(database.connect()) as store:
        end = store.size() + count
        written = 0
        while written < end:
            tx = store.begin()
            head = tx.head()
            sessions = Sessions(tx, standing)
            stop = min(head.frontier.size + _TRANSACTION, end)
            while (written := head.frontier.size) < stop:
                batch = Batch(
                    tx, head, log=ORIGIN, node=node, sessions=sessions, describe=described, clock=cast.clock
                )  # fmt: skip
                for _ in range(commit):
                    entry = calls.send(_sealed(entry, batch.append(entry, described(entry))))
                head = batch.finish(signer)
            tx.commit()
            standing = sessions.standing()


def _calls(cast: Cast) -> Generator[Entry, Sealed[Any], None]:
    """Yield what to record, call after call; each is answered with its seal."""
    for number in itertools.count():
        if number % 100 == 50:
            yield from _held(new_id(), cast)
        elif number % 10 == 5:
            refused = Refused(code=RefusalCode.DENIED, reason="Nobody may transfer after closing time.")
            yield Refusal(shown=cast.shown(number), refused=refused, ruling=RULING)
        else:
            intent = yield Intent(shown=cast.shown(number), allow=Allow(ruling=RULING))
            yield Outcome(intent=intent, result=reply(number), latency_ns={"upstream": 1_000_000})


def _held(approval: str, cast: Cast) -> Generator[Entry, Sealed[Any], None]:
    facts = CleanJson({"tool": _TARGET.name, "arguments": {"text": TEXT}})
    yield Opened(
        shown=shown(0),
        hold=Hold(ruling=RULING, terms=Terms.simple(("group:heads",))),
        approval_id=approval,
        digest="d1" * 32,
        request_key=approval,
        facts=facts,
        exact=b"",
        deadline_ns=cast.clock() + _HOUR_NS,
    )
    yield Vote(approval_id=approval, voter=_PERSON, verdict=Verdict.APPROVE, comment="fine by me")
    yield Settled(approval_id=approval, state=SettledAs.APPROVED, reason="one of one approved", ballots=1)
    ref = ApprovalRef(id=approval, digest="d1" * 32)
    intent = yield Intent(shown=shown(0), allow=Allow(ruling=RULING, approval=ref))
    yield Outcome(intent=intent, result=reply(0), latency_ns={"upstream": 1_000_000})


def _sealed(entry: Entry, record: Record) -> Sealed[Any]:
    return Sealed(entry=entry, seq=record.seq, leaf_hash=record.hash.hex(), event_id=record.event_id, time_ns=record.time_ns)


def shown(number: int) -> ShownCall:
    origin = Origin(transport="http", protocol_version="2026-07-28", request_id="1", address="127.0.0.1", client="bench/1")
    call = Call(id=new_id(), identity=_AGENT, target=_TARGET, arguments={}, origin=origin, received_ns=time.time_ns())
    raw = Commitment(digest="0a" * 32, salt=b"s" * 32, size=150)
    return ShownCall(call=call, arguments=CleanJson({"text": TEXT, "n": number}), raw=raw, manifest=_MANIFEST)


def reply(number: int) -> CleanReply:
    raw = Commitment(digest="0b" * 32, salt=b"t" * 32, size=200)
    payload = CleanJson({"content": [{"type": "text", "text": f"{TEXT} {number}"}]})
    return CleanReply(kind=ReplyKind.RESULT, payload=payload, raw=raw, manifest=_MANIFEST)
