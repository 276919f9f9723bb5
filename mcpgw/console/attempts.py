"""How often one address may try to sign in. Keys cannot be guessed; this keeps the record and the log readable."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

LIMIT = 10
"""Attempts of one address in a window; one that succeeds is not counted."""
WINDOW_S = 300.0
_ADDRESSES = 10_000
"""Addresses that are told apart, which bounds memory; the one not seen for longest is forgotten."""


class Attempts:
    """Counts before the credential is looked at, so that attempts side by side count as well."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Count an attempt and return 0; or, beyond the limit, return the seconds until the next one is allowed."""
        now = self._clock()
        who = _network(address)
        recent = [moment for moment in self._times.pop(who, []) if now - moment < WINDOW_S]
        self._times[who] = recent
        if len(self._times) > _ADDRESSES:
            self._times.popitem(last=False)
        if len(recent) >= LIMIT:
            return recent[0] + WINDOW_S - now
        recent.append(now)
        return 0.0

    def blocked_s(self, address: str) -> float:
        """Return the seconds until the next attempt is allowed, 0 if one is, without counting any."""
        now = self._clock()
        recent = [moment for moment in self._times.get(_network(address), []) if now - moment < WINDOW_S]
        return recent[0] + WINDOW_S - now if len(recent) >= LIMIT else 0.0

    def forgive(self, address: str) -> None:
        """Take the newest attempt back: it was a person's, with a good key."""
        recent = self._times.get(_network(address), [])
        if recent:
            recent.pop()


def _network(address: str) -> str:
    """An IPv6 host has a whole /64 to itself (RFC 6177), so that counts as one address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))
