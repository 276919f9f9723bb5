"""Business hours: when there is somebody to ask. Pure: the time is the call's own."""

import re
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, available_timezones

from mcpgw.policy.config import Hours
from mcpgw.policy.wording import Mistake, did_you_mean

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES_OF_A_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """Hours that were checked. A day's hours begin and end on that day."""

    zone: ZoneInfo
    days: frozenset[int]
    """0 is Monday."""
    opens: int
    """Minutes from midnight, in the zone."""
    closes: int
    """The first minute that is outside."""
    outside_ns: int
    """How long people have at another time; 0: nobody is asked."""
    text: str

    @classmethod
    def of(cls, hours: Hours) -> "OpeningHours":
        """Raises: Mistake: no such zone or day, or no time between the two."""
        try:
            zone = ZoneInfo(hours.zone)
        except (KeyError, ValueError, OSError):
            hint = did_you_mean(hours.zone, available_timezones()) or 'Write an IANA name, such as "Europe/Berlin".'
            raise Mistake("hours.zone", f"there is no time zone {hours.zone!r}", hint) from None
        for day in hours.days:
            if day not in _DAYS:
                hint = did_you_mean(day, _DAYS) or f"Days are {', '.join(_DAYS)}."
                raise Mistake("hours.days", f"{day!r} is no day of the week", hint)
        if not hours.days:
            raise Mistake("hours.days", "is empty, so nobody would ever be asked", "")
        opens, closes = _minutes("hours.opens", hours.opens), _minutes("hours.closes", hours.closes)
        if opens >= closes:
            raise Mistake("hours.closes", "must be later than `opens`, on the same day", 'The end of the day is "24:00".')
        text = f"{', '.join(day for day in _DAYS if day in hours.days)} {hours.opens} to {hours.closes}, {hours.zone}"
        return cls(zone, frozenset(map(_DAYS.index, hours.days)), opens, closes, round(hours.outside_s * 1e9), text)

    def are_open(self, time_ns: int) -> bool:
        """Tell whether there is somebody to ask at that time, Unix nanoseconds."""
        local = datetime.fromtimestamp(time_ns // 1_000_000_000, self.zone)
        return local.weekday() in self.days and self.opens <= local.hour * 60 + local.minute < self.closes


def _minutes(key: str, text: str) -> int:
    found = re.fullmatch(r"(\d{2}):(\d{2})", text, re.ASCII)
    minutes = int(found[1]) * 60 + int(found[2]) if found and int(found[2]) < 60 else _MINUTES_OF_A_DAY + 1
    if minutes > _MINUTES_OF_A_DAY:
        raise Mistake(key, f"{text!r} is no time of day", 'Write it as "08:30".')
    return minutes
