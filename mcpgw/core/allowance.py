"""How much of a grant there is: what a rule permits to ask for, and what whoever counts the uses has to know. Pure.

Amounts are decimal digits as text, so that no sum of them is ever rounded, in any store.
"""

from dataclasses import dataclass
from decimal import Context, Decimal

MAX_CALLS = 500
"""Uses of one grant: each stands in its row, and beyond this nobody looks at them one by one."""
DIGITS = 18
"""Digits before the point, and after it, of a number that is compared or summed: none of them is ever rounded away."""
_EXACT = Context(prec=3 * DIGITS)
"""Room for sums of `MAX_CALLS` such numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantLimits:
    """How much a rule lets people grant at once; nothing, as it is."""

    max_calls: int = 0
    """0: no grants."""
    lasts_ns: int = 0
    """Longest time from the request on; nanoseconds."""
    total_of: str = ""
    """The argument that a grant must have a total of; empty where none is asked for."""
    max_total: str = "0"

    def narrowed(self, other: "GrantLimits") -> "GrantLimits":
        """Return what both permit; nothing, where they ask for totals of different arguments."""
        both = (self, other)
        summed = {one.total_of for one in both if one.total_of}
        if not all(one.max_calls for one in both) or len(summed) > 1:
            return NO_GRANTS
        return GrantLimits(
            max_calls=min(one.max_calls for one in both),
            lasts_ns=min(one.lasts_ns for one in both),
            total_of="".join(summed),
            max_total=digits(min([Decimal(one.max_total) for one in both if one.total_of], default=Decimal(0))),
        )


NO_GRANTS = GrantLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What is counted of one grant."""

    max_calls: int
    until_ns: int
    """Unix nanoseconds."""
    total_of: str = ""
    """The argument that is summed up; empty where none is."""
    max_total: str = "0"

    def has_room(self, uses: int, total: str, amount: str) -> bool:
        """Tell whether one more use fits that adds the amount, after so many that add up to the total."""
        return uses < self.max_calls and (not self.total_of or Decimal(added(total, amount)) <= Decimal(self.max_total))

    def __str__(self) -> str:
        return f"{self.max_calls} calls" + (f", {self.max_total} in all of {self.total_of}" if self.total_of else "")


def added(total: str, amount: str) -> str:
    """Return the exact sum."""
    return digits(_EXACT.add(Decimal(total), Decimal(amount)))


def digits(exact: Decimal) -> str:
    """Return a number in the one way in which it is written here: no exponent, no zeros behind, no sign of zero."""
    plain = exact.normalize(_EXACT)
    return format(plain if plain else abs(plain), "f")
