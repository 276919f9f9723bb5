"""What the records of a package say of each other: sessions without gaps, approvals as they were given, changes in a row. Pure.

Records are those that lead to the signed root, in the order of the log. What is wrong here was withheld, or the log has it so.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mcpgw.ledger.completeness import COUNTS
from mcpgw.ledger.erasure import ERASING, SWEPT
from mcpgw.ledger.evidence.lines import whole_number
from mcpgw.ledger.record import Members, counted_as

Problem: TypeAlias = tuple[str, str]
"""What is wrong, in one word, and where: a file, a record, a line, a session."""
Facts: TypeAlias = Mapping[str, Any]
_NANOSECONDS = re.compile("[0-9]{1,19}")
_AMOUNT = re.compile(r"([0-9]{1,18})(?:[.]([0-9]{1,18}))?")


def sessions(facts: Facts, records: Mapping[int, Members]) -> Iterator[Problem]:
    """Each session that is said to be there as a whole is numbered 0, 1, 2, … and has what its end says."""
    whole: dict[str, list[Members]] = {session: [] for session in facts["sessions"]}
    for one in records.values():
        if "session" in one and one["session"]["id"] in whole:
            whole[one["session"]["id"]].append(one)
    for session, found in whole.items():
        numbers = [one["session"]["seq"] for one in found]
        ends = [one for one in found if one["kind"] == "session.closed"]
        wrong = (
            not found or numbers != [*range(len(found))] or found[0]["kind"] != "session.opened" or ends not in ([], found[-1:])
        )
        counts = Counter({"records": len(found)})
        for one in found:
            counts.update(counted_as(one["kind"], one))
        if wrong or any(end["counts"][name] != counts[name] for end in ends for name in COUNTS):
            yield "session", session


def callers(facts: Facts, records: Mapping[int, Members]) -> Iterator[Problem]:
    """No session of a caller whose records are said to be complete is left out of those that are counted."""
    for seq, one in records.items():
        is_counted = facts["start"] <= seq < facts["end"] and "session" in one and "who" in one
        if is_counted and principal(one) in facts["identities"] and one["session"]["id"] not in facts["sessions"]:
            yield "session", one["session"]["id"]


@dataclass(slots=True)
class _Approval:
    """An approval as its records have told it so far."""

    held: Members | None = None
    agreed: dict[str, bool] = field(default_factory=dict)
    """What each voter said last, but for votes that were taken back."""
    ballots: int = 0
    """Votes and withdrawals."""
    proposer: str = ""
    stands: bool = False
    uses: int = 0
    total: int = 0
    """What the uses of a grant add up to, in 10^-18."""


def approvals(facts: Facts, records: Mapping[int, Members]) -> Iterator[Problem]:
    """Whatever ran with an approval was held before, agreed to by enough others, and ran once, or as often as was granted."""
    known: dict[str, _Approval] = {}
    for seq, one in records.items():
        told = one.get("approval", {})
        approval = known.setdefault(told.get("id", ""), _Approval())
        is_right = True
        match one["kind"]:
            case "call.held" if told["how"] == "opened":
                approval.held = one
                is_right = _takes_up(approval, known.get(told.get("accepts", "")))
            case "approval.voted":
                approval.agreed[principal(one)] = told["verdict"] == "approve"
                approval.ballots += 1
            case "approval.vote_withdrawn":
                approval.agreed.pop(principal(one), None)
                approval.ballots += 1
            case "approval.settled" | "approval.break_glass" if told["state"] == "approved":
                is_right = _is_agreed(approval, one)
                approval.stands = True
            case "approval.settled" | "approval.withdrawn" | "approval.revoked" | "approval.proposed":
                approval.stands = False
                approval.proposer = principal(one) if one["kind"] == "approval.proposed" else ""
            case "call.intent" if told:
                is_right = _runs(approval, told)
        if not is_right:
            yield "approval", f"record {seq}"


def _takes_up(approval: _Approval, proposed: _Approval | None) -> bool:
    """Take in that whoever proposed these arguments agrees to them. Right as well where nobody proposed them."""
    held = approval.held or {}
    if "accepts" not in held["approval"]:
        return True
    if proposed is None or not proposed.proposer:
        return False
    approval.agreed, approval.ballots = {proposed.proposer: True}, 1
    return True


def _is_agreed(approval: _Approval, settled: Members) -> bool:
    if approval.held is None or settled["approval"].get("ballots", approval.ballots) != approval.ballots:
        return False
    others = [who for who, agreed in approval.agreed.items() if agreed and who != principal(approval.held)]
    return len(others) >= _needed(approval.held, settled["kind"])


def _needed(held: Members, how: str) -> int:
    """Return how many people have to agree at the least, at whatever level of its escalation."""
    if how == "approval.break_glass":
        return 2
    terms = held["approval"].get("terms")
    if terms is None:
        return int(held["approval"]["quorum"])
    return min(sum(int(seats["count"]) for seats in level["seats"]) for level in terms["levels"])


def _runs(approval: _Approval, told: Mapping[str, Any]) -> bool:
    """Take in that a call ran with it, and tell whether it might."""
    held = (approval.held or {}).get("approval", {})
    might = approval.stands and held.get("digest") == told["digest"]
    grant, use = held.get("grant"), told.get("use")
    if use is None:
        approval.stands = False
        return might and grant is None
    before, approval.uses = approval.uses, use["number"]
    approval.total += _scaled(use["amount"])
    if grant is None or use["number"] != before + 1 or before >= grant["max_calls"]:
        return False
    return might and (not grant["total_of"] or approval.total <= _scaled(grant["max_total"]))


def _scaled(amount: str) -> int:
    """Return an amount in 10^-18, in which each is whole; of what is none, more than any."""
    found = _AMOUNT.fullmatch(amount)
    return int(found[1]) * 10**18 + int((found[2] or "").ljust(18, "0")) if found else 10**40


def changes(facts: Facts, records: Mapping[int, Members]) -> Iterator[Problem]:
    """Within the range, each change of an aspect begins where the one before it ended."""
    last: dict[str, str] = {}
    for seq, one in records.items():
        told = one.get("facts", {})
        if "aspect" in told:
            if facts["start"] <= seq < facts["end"] and last.get(told["aspect"], told["before"]) != told["before"]:
                yield "change", f"record {seq}"
            last[told["aspect"]] = told["after"]


def erased(facts: Facts, records: Mapping[int, Members]) -> dict[int, set[tuple[int, str]]]:
    """Return which of the payloads that are not here each record says that it erased; for -1, of which none says so."""
    absent = {(seq, slot) for seq, slot in facts["absent"]}
    found = {}
    for seq, one in records.items():
        if one["kind"] in ERASING:
            gone = {place for place in absent & _named(seq, one) if _is_due(one, records.get(place[0], {}))}
            absent -= gone
            found[seq] = gone
    return {**found, -1: absent}


def _named(seq: int, one: Members) -> set[tuple[int, str]]:
    """Return what a record says that it erased, as far as that is numbers of records before it."""
    named = set()
    facts = one.get("facts")
    told = facts.get("payloads") if isinstance(facts, dict) else None
    for slot, distances in told.items() if isinstance(told, dict) else ():
        at = 0
        for distance in distances if isinstance(distances, list) else ():
            step = whole_number(distance)
            at += step
            if step < 0 or at >= seq:
                break
            named.add((at, slot))
    return named


def _is_due(erasing: Members, erased: Members) -> bool:
    """Tell whether a payload of that record could be erased: by people always, by a sweep once it was old enough."""
    if erasing["kind"] != SWEPT:
        return True
    facts = erasing.get("facts")
    before_ns = _moment(facts.get("before_ns") if isinstance(facts, dict) else None)
    return 0 <= _moment(erased.get("time_ns")) < before_ns


def _moment(told: object) -> int:
    """Return Unix nanoseconds as records write them; -1 for anything else."""
    return int(told) if isinstance(told, str) and _NANOSECONDS.fullmatch(told) else -1


def principal(one: Members) -> str:
    """Return who a record is about, as searches name him."""
    return f"{one['who']['iss']}#{one['who']['sub']}"
