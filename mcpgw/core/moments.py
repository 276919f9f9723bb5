"""Times as people write them, an age, a day, or a moment; and how they read a stretch of time."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

HINT: Final = "Write an age such as 15m, 2h, 3d, 1w, a day such as 2026-11-21, or a moment such as 2026-11-21T09:30."
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"([0-9]{1,9})([smhdw])")
_DAY = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(Z?)")
_SECOND_NS = 1_000_000_000
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


_NO_RECORDS = "it is not of the years from 1970 to 2262"


def span_of(text: str, now_ns: int, zone: tzinfo | None) -> tuple[int, int]:
    """Return the first moment that is meant and the first one that is not any more, in Unix nanoseconds.

    `15m` is the moment of that age. `2026-11-21` is that day as a whole, `2026-11-21Z` in UTC. `2026-11-21T09:30` is that
    moment, a nanosecond. Days and moments are of `zone` (None: of this machine) unless they say otherwise.

    Raises:
        ValueError: it is none of these, or a time that no record can have.
    """
    if ago := _AGO.fullmatch(text):
        return _moment(now_ns - int(ago[1]) * _UNITS_S[ago[2]] * _SECOND_NS)
    if day := _DAY.fullmatch(text):
        first = date.fromisoformat(day[1])
        here = UTC if day[2] else zone
        return _midnight(first, here), _midnight(first + timedelta(days=1), here)
    return _moment(_ns(datetime.fromisoformat(text), zone))


def offset(ns: int) -> str:
    """Return a stretch of time: `+1:02:03.456`, or without hours and minutes where there are none."""
    seconds, rest = divmod(ns, 1_000_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f"+{clock}.{rest // 1_000_000:03}"


def _moment(time_ns: int) -> tuple[int, int]:
    if not 0 <= time_ns < 2**63 - 1:
        raise ValueError(_NO_RECORDS)
    return time_ns, time_ns + 1


def _midnight(day: date, zone: tzinfo | None) -> int:
    """Where summer time begins or ends, the day has 23 or 25 hours."""
    return _moment(_ns(datetime.combine(day, time()), zone))[0]


def _ns(moment: datetime, zone: tzinfo | None) -> int:
    """In whole microseconds, which floats of today are not."""
    if not 1970 <= moment.year <= 2262:  # at the calendar's own edges, other zones have no name for a moment
        raise ValueError(_NO_RECORDS)
    known = moment if moment.tzinfo else moment.replace(tzinfo=zone) if zone else moment.astimezone()
    return (known - _EPOCH) // _MICROSECOND * 1_000
