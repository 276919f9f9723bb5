"""Small real entries, for tests and for the processes that tests start."""

import itertools
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio

from mcpgw.core.allowance import Allowance
from mcpgw.core.entries import (
    Interviewed,
    Opened,
    Proposed,
    Refusal,
    Rejection,
    Settled,
    SettledAs,
    Turn,
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
    Failed,
    FailureCode,
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
    UnknownTarget,
)
from mcpgw.core.terms import Terms
from mcpgw.ledger.describe import RecordContext
from mcpgw.ledger.ids import new_id
from mcpgw.ledger.journal import Ledger
from mcpgw.ledger.store import Query

ORIGIN = "bank.example/mcpgw"
CONTEXT = RecordContext(version="0.1.0", config_hash="c0" * 32, catalog_hash="ca" * 32)
ORIGIN_OF_CALL = Origin(transport="http", protocol_version="2026-07-28", request_id="1", address="127.0.0.1", session="s1")
RULING = Ruling(rule_ids=("r1",), reason="because", policy_hash="ee" * 32)
HOUR_NS = 3_600_000_000_000
Open = Callable[..., AbstractAsyncContextManager[Ledger]]
"""Opens the test's ledger again, as another process or after a restart would."""
_numbers = itertools.count()


def person(subject: str) -> Identity:
    return Identity(
        subject=subject, issuer="https://idp.example", kind=IdentityKind.HUMAN, method="jwt", groups=frozenset({"tellers"})
    )


def target(name: str = "bank__transfer") -> Target:
    server, _, tool = name.partition("__")
    return Target(
        kind=TargetKind.TOOL,
        name=name,
        server=server,
        server_fingerprint="ab" * 32,
        upstream_name=tool,
        definition={"name": tool},
        definition_hash="cd" * 32,
    )


def manifest(count: int = 1) -> Manifest:
    return Manifest(profile="default", profile_hash="ff" * 32, masked=(Masked("US_SSN", "rows[*].ssn", "column@1", count),))


def shown(who: str = "alice", tool: str = "bank__transfer", unknown: bool = False) -> ShownCall:
    named = UnknownTarget(kind=TargetKind.TOOL, name=tool) if unknown else target(tool)
    call = Call(
        id=new_id(), identity=person(who), target=named, arguments={"ssn": "078-05-1120"}, origin=ORIGIN_OF_CALL, received_ns=1
    )
    raw = Commitment(digest="0a" * 32, salt=b"s" * 32, size=21)
    return ShownCall(call=call, arguments=CleanJson({"ssn": "[SSN]", "n": next(_numbers)}), raw=raw, manifest=manifest())


def intent(who: str = "alice", tool: str = "bank__transfer", approval: ApprovalRef | None = None) -> Intent:
    return Intent(shown=shown(who, tool), allow=Allow(ruling=RULING, approval=approval))


def reply(text: str = "done", is_error: bool = False) -> CleanReply:
    payload = CleanJson({"content": [{"type": "text", "text": text}], "isError": is_error})
    raw = Commitment(digest="0b" * 32, salt=b"t" * 32, size=99)
    return CleanReply(kind=ReplyKind.RESULT, payload=payload, raw=raw, manifest=manifest(3))


def outcome(sealed: Sealed[Intent], result: CleanReply | Failed | None = None) -> Outcome:
    return Outcome(intent=sealed, result=reply() if result is None else result, latency_ns={"upstream": 12})


def asked(sealed: Sealed[Intent], question: str = "Which day?") -> Interviewed:
    clean = {"q": {"method": "elicitation/create", "params": {"mode": "form", "message": question}}}
    return Interviewed(intent=sealed, turn=Turn.ASKED, clean=clean)


def answered(sealed: Sealed[Intent], answer: str = "Monday") -> Interviewed:
    clean = {"inputResponses": {"q": {"action": "accept", "content": {"day": answer}}}}
    return Interviewed(intent=sealed, turn=Turn.ANSWERED, clean=clean)


def unanswered(sealed: Sealed[Intent]) -> Interviewed:
    return Interviewed(intent=sealed, turn=Turn.UNANSWERED, reason="The caller did not answer in time.")


def failed() -> Failed:
    return Failed(code=FailureCode.TIMEOUT, reason="too slow", reached=True)


def refusal(who: str = "alice", tool: str = "bank__transfer", code: RefusalCode = RefusalCode.DENIED) -> Refusal:
    return Refusal(shown=shown(who, tool), refused=Refused(code=code, reason="no"), ruling=RULING)


def rejection(address: str = "10.0.0.1") -> Rejection:
    origin = Origin(transport="http", protocol_version="", address=address)
    return Rejection(origin=origin, refused=Refused(code=RefusalCode.UNAUTHENTICATED, reason="who are you"))


def opened(
    approval_id: str, *, key: str = "key", deadline_ns: int = 0, who: str = "alice", allowances: tuple[Allowance, ...] = ()
) -> Opened:
    """A hold that ends in an hour, unless said otherwise."""
    return Opened(
        shown=shown(who),
        hold=Hold(ruling=RULING, terms=Terms.simple(("group:managers",))),
        approval_id=approval_id,
        digest="d1" * 32,
        request_key=key,
        facts=CleanJson({"tool": "bank__transfer", "arguments": {"ssn": "[SSN]"}}),
        exact=b"encrypted under the desk's key",
        deadline_ns=deadline_ns or time.time_ns() + HOUR_NS,
        allowances=allowances,
    )


def allowance(calls: int = 3, total: str = "100") -> Allowance:
    """A grant for two hours."""
    return Allowance(max_calls=calls, until_ns=time.time_ns() + 2 * HOUR_NS, total_of="amount", max_total=total)


def use(approval_id: str, amount: str = "10", digest: str = "d1" * 32) -> Intent:
    return intent(approval=ApprovalRef(id=approval_id, digest=digest, amounts=(amount,)))


def vote(approval_id: str, who: str = "bob", verdict: Verdict = Verdict.APPROVE, comment: str = "fine by me") -> Vote:
    return Vote(approval_id=approval_id, voter=person(who), verdict=verdict, comment=comment)


def proposed(approval_id: str, key: str = "other", who: str = "bob", comment: str = "for less") -> Proposed:
    return Proposed(
        approval_id=approval_id,
        person=person(who),
        comment=comment,
        shown="5e" * 32,
        fits=("group:managers",),
        changed=("amount",),
        arguments=Commitment(digest="0c" * 32, salt=b"u" * 32, size=12),
        request_key=key,
        exact=b"what is proposed, encrypted under the desk's key",
    )


def settled(approval_id: str, state: SettledAs = SettledAs.APPROVED, ballots: int = 0) -> Settled:
    return Settled(approval_id=approval_id, state=state, reason=f"it was {state.value}", ballots=ballots)


def spend(approval_id: str, digest: str = "d1" * 32) -> Intent:
    return intent(approval=ApprovalRef(id=approval_id, digest=digest))


async def buried(ledger: Ledger) -> None:
    """Return once the calls of dead nodes are closed: all those of one node are, in one transaction."""
    while not await ledger.search(Query(kind="call.indeterminate")):
        await anyio.sleep(0.05)
        await ledger.recover()
