"""What a grant covers at this moment, and what it tells people. Pure: no clock, no store."""

from collections.abc import Mapping
from typing import Any

from mcpgw.approval.answers import clock_time
from mcpgw.approval.facts import Facts
from mcpgw.approval.standing import Standing
from mcpgw.core.access import access_of, allowance_of, amount_of, clean_sentences, sentences
from mcpgw.core.canonical import canonical
from mcpgw.core.model import ApprovalRef
from mcpgw.core.visible import visible
from mcpgw.ports import ApprovalState, total_of


def use_of(standing: Standing, bound: Mapping[str, Any], facts: Facts) -> tuple[ApprovalRef, ...]:
    """Return the use of a grant that a held call would be, or nothing where the grant does not cover it.

    `bound` is what the grant's digest is over, and `facts` are the call's of today: who calls through whom, what and how it is
    defined and reached, under which policy, held by which rules on which terms. All of that must be as it was approved.
    """
    approval = standing.approval
    if approval.state is not ApprovalState.APPROVED or standing.is_over or not standing.is_agreed:
        return ()
    if any(canonical(bound[name]) != canonical(fact) for name, fact in facts.common.items()):
        return ()
    access = access_of(bound["access"])
    allowance = allowance_of(access, bound["expires_ns"])
    if approval.allowances != (allowance,):
        return ()  # somebody changed the store: nobody approved this
    amounts = amount_of(access, bound["arguments"], facts.arguments, facts.clean)
    if not all(allowance.has_room(len(approval.uses), total_of(approval.uses), amount) for amount in amounts):
        return ()
    asked = approval.terms.may_be_asked
    return tuple(
        ApprovalRef(id=approval.id, digest=approval.digest, amounts=(amount,), may_be_asked=asked) for amount in amounts
    )


def granted(facts: Mapping[str, Any], *, exact: bool) -> tuple[str, ...]:
    """Return what a grant covers, one sentence each, in characters that cannot deceive; nothing for a call.

    `facts` are those that the digest binds, or the clean ones of the record.
    """
    if "access" not in facts:
        return ()
    access = facts["access"]
    said = sentences(access_of(access), facts["arguments"]) if exact else clean_sentences(access)
    total = [f"{total['at_most']} in all at most, summed up over {total['argument']}."] if (total := access["total"]) else []
    calls = f"{access['max_calls']} calls at most, without asking again."
    return tuple(map(visible, (*said, calls, *total, f"Until {clock_time(facts['expires_ns'])}.")))


def words(facts: Mapping[str, Any]) -> str:
    """Return the requester's own words, in characters that cannot deceive; empty for a call, or where there are none."""
    return visible(facts.get("access", {}).get("reason", ""))
