"""How the desk works: how long people take, who decides, what expires, and which rules hold what is always approved. Pure.

Grants are counted apart: one stands for many calls, and says nothing of how often people let through what its rule holds.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mcpgw.ports import Approval, ApprovalState

PERCENTILES = (50, 90, 99)
ALWAYS = 5
"""So often must a rule have held, and people have approved each time, before it counts as one that could be relaxed."""

_SAID_YES = frozenset(
    {ApprovalState.APPROVED, ApprovalState.SPENT, ApprovalState.DONE, ApprovalState.FAILED, ApprovalState.INDETERMINATE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleStats:
    """What became of the calls that one rule held first."""

    rule: str
    held: int
    approved: int
    denied: int
    expired: int
    escalated: int
    """Calls that went to others at least once."""

    @property
    def could_be_relaxed(self) -> bool:
        return self.held >= ALWAYS and self.approved == self.held


@dataclass(frozen=True, slots=True, kw_only=True)
class VoterStats:
    voter: str
    approved: int
    denied: int
    withdrawn: int
    median_ns: int
    """From the hold to the vote; nothing for what was approved by proposing it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantStats:
    """What became of the grants that people were asked for."""

    states: dict[str, int]
    uses: int
    """Calls that ran, or may have run, by one of them."""
    break_glass: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Of held calls, but for what is said to be of grants."""

    states: dict[str, int]
    waited_ns: dict[int, int]
    """By percentile: how long it took until people had decided, of what they decided; empty if that is nothing."""
    rules: tuple[RuleStats, ...]
    """Those that hold most first."""
    voters: tuple[VoterStats, ...]
    """Those who vote most first, whether on calls or on grants."""
    break_glass: int
    grants: GrantStats


def stats_of(approvals: Sequence[Approval]) -> Stats:
    """Count what these approvals tell."""
    calls = [one for one in approvals if not one.is_grant]
    decided = [one for one in calls if one.state in _SAID_YES or one.state is ApprovalState.DENIED]
    waits = sorted(one.settled_ns - one.opened_ns for one in decided if one.settled_ns)
    by_rule: dict[str, list[Approval]] = defaultdict(list)
    for one in calls:
        by_rule[one.rule_ids[0] if one.rule_ids else ""].append(one)
    rules = sorted((_rule(rule, held) for rule, held in by_rule.items()), key=lambda one: (-one.held, one.rule))
    return Stats(
        states=_states(calls),
        waited_ns={percent: percentile(waits, percent) for percent in PERCENTILES} if waits else {},
        rules=tuple(rules),
        voters=_voters(approvals),
        break_glass=sum(one.break_glass for one in calls),
        grants=_grants([one for one in approvals if one.is_grant]),
    )


def percentile(ordered: Sequence[int], percent: int) -> int:
    """Return the nearest-rank percentile of an ordered sequence that is not empty."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _states(approvals: Sequence[Approval]) -> dict[str, int]:
    return dict(sorted(Counter(one.state.value for one in approvals).items()))


def _grants(grants: Sequence[Approval]) -> GrantStats:
    return GrantStats(
        states=_states(grants),
        uses=sum(len(one.uses) for one in grants),
        break_glass=sum(one.break_glass for one in grants),
    )


def _rule(rule: str, held: Sequence[Approval]) -> RuleStats:
    states = Counter(one.state for one in held)
    return RuleStats(
        rule=rule,
        held=len(held),
        approved=sum(states[state] for state in _SAID_YES),
        denied=states[ApprovalState.DENIED],
        expired=states[ApprovalState.EXPIRED],
        escalated=sum(one.level > 0 for one in held),
    )


def _voters(approvals: Sequence[Approval]) -> tuple[VoterStats, ...]:
    cast = [(vote, max(0, vote.time_ns - one.opened_ns)) for one in approvals for vote in one.votes]
    found = []
    for voter in {vote.voter for vote, _ in cast}:
        mine = [(vote, took) for vote, took in cast if vote.voter == voter]
        verdicts = Counter(vote.verdict for vote, _ in mine if not vote.withdrawn_ns)
        found.append(
            VoterStats(
                voter=voter,
                approved=verdicts["approve"],
                denied=verdicts["deny"],
                withdrawn=sum(bool(vote.withdrawn_ns) for vote, _ in mine),
                median_ns=percentile(sorted(took for _, took in mine), 50),
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.approved - one.denied, one.voter)))
