"""What people must do before a held call may run: who, how many of them, until when, and what silence does.

How it may change: a new field needs a default under which an approval that stands already is judged as before. `as_data` is
what the record and the store hold; `terms_of` reads every older form of it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mcpgw.core.allowance import NO_GRANTS, GrantLimits

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Seats:
    """So many different people, each of whom is one of these: `group:NAME`, `user:NAME` or `claim:NAME=VALUE`."""

    count: int
    of: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.count} of {', '.join(self.of)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Who is asked, and for how long: first the rule's own approvers, then those of each step of its escalation.

    All seats must be filled, and nobody fills two.
    """

    seats: tuple[Seats, ...]
    lasts_ns: int
    """From the hold, or from the end of the level before; nanoseconds."""

    def __str__(self) -> str:
        return " and ".join(map(str, self.seats))


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How a voter must have signed in. What is empty is not asked for."""

    max_age_ns: int = 0
    """Longest time between the sign-in (`auth_time`) and the moment at which the vote counts; 0 asks for none."""
    acr: tuple[str, ...] = ()
    """The sign-in must be of one of these classes (OpenID Connect Core, section 2)."""
    amr: tuple[str, ...] = ()
    """The sign-in must have used all of these methods (RFC 8176)."""

    @property
    def is_asked_for(self) -> bool:
        return bool(self.max_age_ns or self.acr or self.amr)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakGlass:
    """Who may together, in an emergency, stand in for the approvers; nobody, if there are no openers."""

    openers: tuple[str, ...] = ()
    lasts_ns: int = 0
    """How long the approval can be used then; nanoseconds."""
    reviewers: tuple[str, ...] = ()
    """Who must look at it afterwards; if nobody is named, any third person who may decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Everything that has to be true of people before one held call runs."""

    levels: tuple[Level, ...]
    """At least one, or nobody can approve."""
    comment_required: bool = False
    denial_settles: bool = True
    """False: a denial stands in the way until it is withdrawn, or the deadline comes."""
    freshness: Freshness = Freshness()
    break_glass: BreakGlass = BreakGlass()
    admins: tuple[str, ...] = ()
    """Who else may see it, and revoke what was approved; they decide nothing."""
    unattended: bool = False
    """Whether the approved call may run while nobody waits for it."""
    may_be_asked: bool = False
    """Whether its server may ask the caller in the middle of the approved call, though nobody approves what is answered."""
    grants: GrantLimits = NO_GRANTS
    """How much may be granted at once, instead of one call."""

    @classmethod
    def simple(cls, approvers: tuple[str, ...], quorum: int = 1, lasts_s: float = 3600.0) -> "Terms":
        """So many of these people, in that time, and a denial if they are silent."""
        return cls(levels=(Level(seats=(Seats(quorum, approvers),), lasts_ns=round(lasts_s * _NS)),))

    @property
    def lasts_ns(self) -> int:
        """The time from the hold to the last deadline."""
        return sum(level.lasts_ns for level in self.levels)

    def ends_ns(self, level: int, deadline_ns: int) -> int:
        """Return when that level ends, of an approval with that last deadline."""
        return deadline_ns - sum(later.lasts_ns for later in self.levels[level + 1 :])

    def asked(self, level: int) -> tuple[str, ...]:
        """Return everybody who was asked up to that level, each entry once, in order."""
        entries = [entry for one in self.levels[: level + 1] for seats in one.seats for entry in seats.of]
        return tuple(dict.fromkeys(entries))

    @property
    def everybody(self) -> tuple[str, ...]:
        """Every entry whose people could ever count: those of all levels, and the openers of break-glass."""
        return tuple(dict.fromkeys((*self.asked(len(self.levels)), *self.break_glass.openers)))

    def binding(self) -> dict[str, Any]:
        """Return the terms without durations, which the policy's hash and the deadline bind: equal for the identical call
        whenever it is made, also where a rule gives more time outside of business hours."""
        data = as_data(self)
        return {**data, "levels": [level["seats"] for level in data["levels"]]}


def as_data(terms: Terms) -> dict[str, Any]:
    """Return the terms as JSON data of objects, lists, strings, booleans and integers below 2^53."""
    data: dict[str, Any] = _listed(asdict(terms))
    if terms.grants == NO_GRANTS:
        del data["grants"]  # as before there were any
    if not terms.may_be_asked:
        del data["may_be_asked"]  # as before it could be said
    return data


def terms_of(data: Mapping[str, Any]) -> Terms:
    """Return the terms that `as_data` wrote.

    Raises:
        (KeyError, TypeError): these are none.
    """
    levels = tuple(
        Level(seats=tuple(Seats(seats["count"], tuple(seats["of"])) for seats in level["seats"]), lasts_ns=level["lasts_ns"])
        for level in data["levels"]
    )
    plain = {name: data[name] for name in ("comment_required", "denial_settles", "unattended", "may_be_asked") if name in data}
    return Terms(
        levels=levels,
        **plain,
        freshness=Freshness(**_tupled(data.get("freshness", {}))),
        break_glass=BreakGlass(**_tupled(data.get("break_glass", {}))),
        admins=tuple(data.get("admins", ())),
        grants=GrantLimits(**data.get("grants", {})),
    )


def _listed(value: Any) -> Any:
    match value:
        case dict():
            return {name: _listed(item) for name, item in value.items()}
        case tuple():
            return [_listed(item) for item in value]
    return value


def _tupled(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
