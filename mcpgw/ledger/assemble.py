"""Approvals as the desk sees them: projection rows joined with the payloads that their records commit to."""

import json
import logging
from collections.abc import Sequence

from mcpgw.core.canonical import commitment
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.model import (
    AlreadyDone,
    CleanJson,
    CleanReply,
    Commitment,
    FailureCode,
    Json,
    JsonObject,
    Manifest,
    Masked,
    ReplyKind,
)
from mcpgw.ledger.approvals import ApprovalRow
from mcpgw.ledger.erasure import Erasures
from mcpgw.ledger.record import Members, parse, unpack
from mcpgw.ledger.store import Reading, StoredPayload, StoredRecord
from mcpgw.ports import Approval, ApprovalState, Previewed

logger = logging.getLogger(__name__)


def assemble(store: Reading, rows: Sequence[ApprovalRow]) -> tuple[Approval, ...]:
    """Join the rows with their facts and, where done, with the reply that was recorded.

    Raises:
        LedgerUnavailable: what a row points at is missing or was altered.
    """
    beside = _Beside(store)
    return tuple(_approval(store, row, beside) for row in rows)


class _Beside:
    """What stands beside records. What was erased is read once, and only where something is not there."""

    def __init__(self, store: Reading) -> None:
        self._store = store
        self._known: list[Erasures] = []

    def payload(self, record: StoredRecord, slot: str) -> Sequence[Json]:
        """Return a payload, checked against its commitment; nothing where it was erased.

        Raises:
            LedgerUnavailable: it is missing or was altered.
        """
        stored = self._store.payload(record.seq, slot)
        if not stored and self._is_erased(record.seq, slot):
            return []
        return [_checked(record, slot, stored)]

    def _is_erased(self, seq: int, slot: str) -> bool:
        self._known = self._known or [Erasures(self._store.erasing())]
        return self._known[0].by(seq, slot) >= 0


def _approval(store: Reading, row: ApprovalRow, beside: _Beside) -> Approval:
    (held,) = store.records(row.held_seq, 1)
    return Approval(
        id=row.id,
        state=row.state,
        digest=row.digest,
        request_key=row.request_key,
        call_id=row.call_id,
        requester=row.requester,
        actors=row.actors,
        target=row.target,
        facts=next(iter(beside.payload(held, "facts")), _facts(row, held)),
        exact=row.exact,
        terms=row.terms,
        level=row.level,
        rule_ids=row.rule_ids,
        reason=row.reason,
        policy_hash=row.policy_hash,
        opened_ns=row.opened_ns,
        deadline_ns=row.deadline_ns,
        usable_until_ns=row.usable_until_ns,
        settled_ns=row.settled_ns,
        votes=row.votes,
        break_glass=row.break_glass,
        remarks=row.remarks,
        allowances=row.allowances,
        uses=row.uses,
        done=_done(store, row, beside) if row.state is ApprovalState.DONE else (),
        preview=_preview(store, row, beside),
        offer=row.offer,
        offered=row.offered,
        taken_by=row.taken_by,
    )


def _facts(row: ApprovalRow, held: StoredRecord) -> CleanJson:
    """Return what the record itself says of an approval whose facts were erased."""
    target = parse(held.leaf)["target"]
    named = {name: target[name] for name in ("kind", "name", "server")}
    bound = {"server_fingerprint": target["fingerprint"], "definition_hash": target["definition"]}
    asked = {"access": {"vary": {}, "reason": ""}} if row.allowances else {}
    return CleanJson({"target": {**named, **bound}, "arguments": {}, "erased": True, **asked})


def _preview(store: Reading, row: ApprovalRow, beside: _Beside) -> tuple[Previewed, ...]:
    if not row.preview_event:
        return ()
    (found,) = store.find(row.preview_event)
    members = parse(found.leaf)
    outcome, problem = members["outcome"], ""
    reply: JsonObject = {}
    try:
        if "reply" in outcome:
            kept = beside.payload(found, "result.clean")
            reply, problem = next(iter(kept), {}), "" if kept else "Its output was erased."
    except LedgerUnavailable as error:
        problem = f"Its output cannot be shown: {error}"
    if "reply" not in outcome:
        late = outcome.get("code") == FailureCode.CANCELLED
        problem = "The server did not answer within the time for previews." if late else outcome["reason"]
    elif outcome["class"] == "tool_error":
        problem = problem or "The server answered with an error."
    return (Previewed(call_id=members["call"], reply=reply, problem=problem),)


def _done(store: Reading, row: ApprovalRow, beside: _Beside) -> tuple[AlreadyDone, ...]:
    (outcome,) = store.find(row.outcome_event)
    members = parse(outcome.leaf)
    raw = members["payloads"]["result.raw"]
    replies = (
        CleanReply(
            kind=ReplyKind(members["outcome"]["reply"]),
            payload=payload,
            raw=Commitment(digest=raw["sha256"], salt=b"", size=raw["size"]),  # the salt is not kept: see `_Sheet.commit`
            manifest=_manifest(members["masking"]["result"]),
        )
        for payload in beside.payload(outcome, "result.clean")
    )
    return tuple(AlreadyDone(approval_id=row.id, call_id=row.spent_call, reply=reply) for reply in replies)


def _checked(record: StoredRecord, slot: str, found: Sequence[StoredPayload]) -> Json:
    """Return a payload if it is what was recorded: what an approver sees or a caller gets again is nothing else."""
    for stored in found:
        try:
            body = unpack(stored.packed)
            if commitment(stored.salt, body) == parse(record.leaf)["payloads"][slot]["sha256"]:
                return json.loads(body)
        except ValueError:
            logger.warning("the payload %s of record %d is not even of the right form", slot, record.seq)
        raise LedgerUnavailable(f"the payload {slot} of record {record.seq} was altered", hint="Run `mcpgw verify`.")
    raise LedgerUnavailable(f"the payload {slot} of record {record.seq} is missing", hint="Run `mcpgw verify`.")


def _manifest(members: Members) -> Manifest:
    masked = tuple(Masked(entity, path, detector, count) for entity, path, detector, count in members["masked"])
    return Manifest(profile=members["profile"], profile_hash=members["hash"], masked=masked)
