"""Event and call ids."""

import secrets
import time
import uuid

_MS = 1_000_000
"""Nanoseconds in a millisecond."""


def new_id() -> str:
    """Return a UUIDv7 as text: unguessable, and ordered by creation time to about 250 ns on one machine.

    RFC 9562 section 5.7, with the fraction of the millisecond in `rand_a` (section 6.2, method 3). 62 random bits remain.
    """
    milliseconds, rest = divmod(time.time_ns(), _MS)
    fraction = rest * 4096 // _MS
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))
