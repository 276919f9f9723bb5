"""Keeps the record at what is in force: what was edited while no gateway ran, what is edited now, what servers offer."""

import logging

import anyio

from mcpgw.app import convert, standings
from mcpgw.catalog.registry import Registry
from mcpgw.core.entries import Changed
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.identity import ApiKeys
from mcpgw.identity.administration import found
from mcpgw.ledger import Ledger
from mcpgw.settings import Settings

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
"""How often catalog and API keys are looked at: bounds how late a change of theirs is on the record."""


class Bookkeeper:
    """Tells the ledger how the gateway's aspects stand whenever this process sees one stand otherwise than before.

    Any number of processes do so: the ledger records a change once.
    """

    def __init__(self, settings: Settings, ledger: Ledger, registry: Registry) -> None:
        self._settings = settings
        self._ledger = ledger
        self._registry = registry
        self._keys = ApiKeys(settings.keys_dir / convert.API_KEYS)
        self._told: dict[str, str] = {}
        """By aspect: the hash that the ledger was told last."""

    async def begin(self, policy_hash: str) -> None:
        """Record what was changed since a gateway last ran, and all of it if none ever did.

        Raises:
            LedgerUnavailable: it cannot be recorded.
        """
        settings = self._settings
        await self.note(
            standings.of_settings(settings),
            standings.of_issuers(settings),
            standings.of_policy(settings, policy_hash),
            standings.of_profiles(settings),
        )
        await self._look()

    async def note(self, *changed: Changed) -> None:
        """Record what the ledger does not know of these changes.

        Raises:
            LedgerUnavailable: they may not be recorded.
        """
        unknown = [one for one in changed if self._told.get(one.standing.aspect) != one.standing.hash]
        if unknown:
            await self._ledger.record_changes(*unknown)
            self._told.update((one.standing.aspect, one.standing.hash) for one in unknown)

    async def tend(self) -> None:
        """Record changes of catalog and API keys, until cancelled. What cannot be recorded is recorded when it can be."""
        while True:
            await anyio.sleep(_LOOK_S)
            try:
                await self._look()
            except LedgerUnavailable as error:
                logger.error("a change of the catalog or the API keys is not on the record yet: %s", error)

    async def _look(self) -> None:
        standing = self._registry.standing
        if standing.hash != self._told.get("catalog"):
            await self.note(standings.of_catalog(standing, self._registry.catalog_dir))
        await self.note(*self._registry.drifts())
        try:
            await self._look_at_keys()
        except ConfigError as error:
            logger.debug("the API keys cannot be looked at: %s", error)  # `/readyz` tells

    async def _look_at_keys(self) -> None:
        """While a command changes them, and records that, they are left alone: the next look finds how they stand then."""
        if self._keys.standing().hash == self._told.get("api_keys"):
            return
        with self._keys.steady() as standing:
            for one in standing:
                changed = found(one)
                facts = standings.newest_of([self._settings.keys_dir / convert.API_KEYS])
                await self.note(Changed(kind=changed.kind, actor=changed.actor, standing=one, facts=facts))
