"""What an approval's votes amount to at one moment, and what is due then. Pure: no clock, no store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mcpgw.approval.people import names
from mcpgw.core.entries import (
    Escalated,
    Settled,
    SettledAs,
    Verdict,
)
from mcpgw.core.terms import Freshness, Seats
from mcpgw.ports import Approval, ApprovalState, CastVote, ballots

GLASS_BREAKERS = 2
"""Break-glass takes two people, always: one alone is what four eyes are against."""

Still: TypeAlias = Callable[[CastVote], frozenset[str]]
"""`ports.Roster.still`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatsTaken:
    """Some seats of the present level, and who sits there."""

    seats: Seats
    people: tuple[str, ...]
    """Principals."""

    @property
    def needed(self) -> int:
        """Never none, whatever was configured."""
        return max(self.seats.count, 1)

    @property
    def is_full(self) -> bool:
        return len(self.people) >= self.needed

    def __str__(self) -> str:
        return f"{len(self.people)} of {self.needed} of {', '.join(self.seats.of)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An approval at one moment. Made by `weigh`."""

    approval: Approval
    now_ns: int
    taken: tuple[SeatsTaken, ...]
    breakers: tuple[str, ...]
    """Principals of those who broke the glass, and may."""
    void: tuple[str, ...]
    """Principals of those whose approval stands and does not count: no approver any more, or signed in too long ago."""

    @property
    def objections(self) -> tuple[str, ...]:
        """Principals of those who deny it."""
        return tuple(vote.voter for vote in self.approval.votes if vote.verdict == Verdict.DENY and not vote.withdrawn_ns)

    @property
    def is_denied(self) -> bool:
        return bool(self.objections) and self.approval.terms.denial_settles

    @property
    def has_quorum(self) -> bool:
        """Whether every seat is filled. Without a seat nobody could agree, so nobody did."""
        return bool(self.taken) and all(seats.is_full for seats in self.taken)

    @property
    def glass_is_broken(self) -> bool:
        return len(self.breakers) >= GLASS_BREAKERS

    @property
    def is_agreed(self) -> bool:
        """Whether it may run: an approval by break-glass needs those two still, any other its quorum; no objection stands."""
        if self.objections:
            return False
        if self.approval.state is ApprovalState.PENDING:
            return self.has_quorum or self.glass_is_broken
        return self.glass_is_broken if self.approval.break_glass else self.has_quorum

    @property
    def is_over(self) -> bool:
        """Whether the last deadline has come, or the time in which an approved call can run. At that moment itself it has."""
        approved = self.approval.state is ApprovalState.APPROVED
        return self.now_ns >= (self.approval.usable_until_ns if approved else self.approval.decide_by_ns)

    @property
    def silence_ns(self) -> int:
        """When the present level ends: its people were silent until then."""
        return self.approval.terms.ends_ns(self.approval.level, self.approval.deadline_ns)

    @property
    def tally(self) -> str:
        """The count in words for everybody, naming nobody: `1 of 2 approved`."""
        people, needed = sum(len(seats.people) for seats in self.taken), sum(seats.needed for seats in self.taken)
        return f"{people} of {max(needed, 1)} approved"

    def due(self) -> tuple[Settled | Escalated, ...]:
        """Return what is due: one entry, or none while people may still decide or nothing is left to settle.

        A denial comes before a deadline, and a deadline before the quorum: where two could be claimed, the stricter holds.
        """
        if self.approval.state is ApprovalState.PENDING:
            return self._due_while_pending()
        if self.approval.state is ApprovalState.APPROVED:
            if self.is_over:
                return (self._settled(SettledAs.EXPIRED, self._ended),)
            if not self.is_agreed:
                return (self._settled(SettledAs.REVOKED, "The approval is void: its votes do not make the quorum any more."),)
        return ()

    def next_ns(self) -> int:
        """Return the next moment at which something falls due by itself, Unix nanoseconds."""
        if self.approval.state is ApprovalState.PENDING:
            return min(self.silence_ns, self.approval.decide_by_ns)
        return self.approval.usable_until_ns

    @property
    def _ended(self) -> str:
        for allowance in self.approval.allowances:
            return f"The grant has ended. It was used {len(self.approval.uses)} of {allowance.max_calls} times."
        return "Approved, but not called again by the deadline."

    def _due_while_pending(self) -> tuple[Settled | Escalated, ...]:
        if self.is_denied:
            return (self._settled(SettledAs.DENIED, "Denied by an approver."),)
        if self.is_over and self.objections:
            return (self._settled(SettledAs.DENIED, "An objection of an approver stood at the deadline."),)
        if self.is_over:
            return (self._settled(SettledAs.EXPIRED, f"Not approved in time: {self.tally} by the deadline."),)
        if self.now_ns >= self.silence_ns:
            level = self.approval.level + 1
            entries = [entry for seats in self.approval.terms.levels[level].seats for entry in seats.of]
            return (Escalated(approval_id=self.approval.id, level=level, asked=tuple(dict.fromkeys(entries))),)
        if not self.is_agreed:
            return ()
        if self.has_quorum:
            return (self._settled(SettledAs.APPROVED, f"{self.tally.capitalize()}."),)
        return (self._settled(SettledAs.APPROVED, "Break-glass: two people stood in for the approvers.", break_glass=True),)

    def _settled(self, state: SettledAs, reason: str, *, break_glass: bool = False) -> Settled:
        return Settled(
            approval_id=self.approval.id,
            state=state,
            reason=reason,
            ballots=ballots(self.approval.votes),
            break_glass=break_glass,
        )


def weigh(approval: Approval, still: Still, now_ns: int) -> Standing:
    """Weigh the votes as they count at this moment.

    Each person counts once, however many credentials they voted with, and the requester's side never. Whoever is no longer
    who they were when they voted counts for what they still are.
    """
    counted = _requesters_side(approval)
    people: list[tuple[CastVote, frozenset[str]]] = []
    void: list[str] = []
    for vote in approval.votes:
        if vote.verdict != Verdict.APPROVE or vote.withdrawn_ns or names(vote.voter) & counted:
            continue
        fits = still(vote) & frozenset(vote.fits) if is_fresh(vote, approval.terms.freshness, now_ns) else frozenset[str]()
        if not fits:
            void.append(vote.voter)
            continue
        counted |= names(vote.voter)
        people.append((vote, fits))
    level = approval.terms.levels[approval.level : approval.level + 1]
    openers = frozenset(approval.terms.break_glass.openers)
    asked = [(vote.voter, fits) for vote, fits in people if not vote.break_glass]
    return Standing(
        approval=approval,
        now_ns=now_ns,
        taken=_seated([seats for one in level for seats in one.seats], asked),
        breakers=tuple(vote.voter for vote, fits in people if vote.break_glass and fits & openers),
        void=tuple(void),
    )


def is_fresh(vote: CastVote, asked_for: Freshness, now_ns: int) -> bool:
    """Tell whether the voter signed in as the terms ask, and recently enough for the vote to count at this moment."""
    age_ns = now_ns - vote.auth_time * 1_000_000_000
    recent = not asked_for.max_age_ns or (vote.auth_time > 0 and age_ns <= asked_for.max_age_ns)
    return recent and (not asked_for.acr or vote.acr in asked_for.acr) and set(asked_for.amr) <= set(vote.amr)


def _requesters_side(approval: Approval) -> frozenset[str]:
    return names(approval.requester).union(*(names(actor) for actor in approval.actors))


def _seated(seats: Sequence[Seats], people: Sequence[tuple[str, frozenset[str]]]) -> tuple[SeatsTaken, ...]:
    """Fill as many seats as can be filled, each person in one: a maximum matching, by augmenting paths (Kuhn)."""
    slots = [index for index, one in enumerate(seats) for _ in range(max(one.count, 1))]
    holder: dict[int, int] = {}

    def place(person: int, tried: set[int]) -> bool:
        for slot, index in enumerate(slots):
            if slot in tried or people[person][1].isdisjoint(seats[index].of):
                continue
            tried.add(slot)
            if slot not in holder or place(holder[slot], tried):
                holder[slot] = person
                return True
        return False

    for person in range(len(people)):
        place(person, set())
    return tuple(
        SeatsTaken(seats=one, people=tuple(people[holder[slot]][0] for slot in sorted(holder) if slots[slot] == index))
        for index, one in enumerate(seats)
    )
