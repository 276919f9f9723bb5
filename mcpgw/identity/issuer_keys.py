"""The keys of one issuer as they change: fetched when needed, again after a rotation, kept for a bounded time if it is down."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from mcpgw.core.errors import AuthenticationError
from mcpgw.identity.discovery import discover_jwks_url
from mcpgw.identity.documents import DocumentError, fetch
from mcpgw.identity.issuer import Issuer
from mcpgw.identity.key_set import KeySet, VerifyingKey, parse_key_set

logger = logging.getLogger(__name__)

_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class _Held:
    keys: KeySet
    at: float
    """When they were fetched, by the monotonic clock."""


class IssuerKeys:
    """A cache of one issuer's key set.

    At most one fetch at a time, and at least `keys_retry_s` between the end of one and the start of the next, whatever tokens
    come. A caller whose key is at hand never waits for another's fetch.
    """

    def __init__(self, issuer: Issuer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._held = _Held(KeySet(()), _NEVER)
        self._tried = _NEVER
        self._fetching = anyio.Lock()

    async def find(self, kid: str, algorithm: str) -> tuple[VerifyingKey, ...]:
        """Return the keys that may have signed such a token; none if the issuer does not publish any.

        Raises:
            AuthenticationError: the issuer's keys are not known, or are too old and it cannot be reached.
        """
        found = self._usable(kid, algorithm)
        stale = self._age() > self._issuer.keys_fresh_s
        if found and (not stale or self._fetching.locked()):
            return found
        async with self._fetching:
            # Whoever waited here finds what the one before fetched; `_due` then says no.
            if self._due(kid, algorithm):
                await self._refresh()
        found = self._usable(kid, algorithm)
        if not found and self._age() > self._issuer.keys_stale_s:
            raise AuthenticationError("The token cannot be checked now: its issuer's keys cannot be read. Try again later.")
        return found

    async def find_newer(self, kid: str, algorithm: str) -> tuple[VerifyingKey, ...]:
        """Return keys fetched after those that `find` returned last; none if it is too early to fetch again, or that failed."""
        before = self._held
        async with self._fetching:
            if self._may_fetch():  # no longer, if the lock was held by another who fetched
                await self._refresh()
        return self._usable(kid, algorithm) if self._held is not before else ()

    def _usable(self, kid: str, algorithm: str) -> tuple[VerifyingKey, ...]:
        return self._held.keys.candidates(kid, algorithm) if self._age() <= self._issuer.keys_stale_s else ()

    def _due(self, kid: str, algorithm: str) -> bool:
        wanted = self._age() > self._issuer.keys_fresh_s or not self._held.keys.candidates(kid, algorithm)
        return wanted and self._may_fetch()

    def _may_fetch(self) -> bool:
        return self._clock() - self._tried >= self._issuer.keys_retry_s

    def _age(self) -> float:
        return self._clock() - self._held.at

    async def _refresh(self) -> None:
        """Fetch the keys; on failure keep those at hand. A cancelled fetch does not count as tried."""
        try:
            url = self._issuer.jwks_url or await discover_jwks_url(self._issuer.url)
            keys = parse_key_set(await fetch(url))
        except (DocumentError, ValueError) as error:
            logger.warning("the keys of %s could not be fetched: %s", self._issuer.url, error)
        else:
            self._held = _Held(keys, self._clock())
        self._tried = self._clock()
