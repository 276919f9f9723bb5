"""The sweep that gateways do by themselves: payloads whose time is over are erased, once a day, by one process of all."""

import logging

import anyio

from mcpgw.core.errors import GatewayError
from mcpgw.ledger import Ledger
from mcpgw.ledger.shredding import Retention
from mcpgw.settings import Settings

logger = logging.getLogger(__name__)

_LOOK_S = 600.0
"""How often a process looks whether a sweep is due: any of them may be gone when it is."""
_EVERY_NS = 86_400 * 10**9


def retention_of(settings: Settings) -> Retention:
    """Return how long payloads are kept."""
    return Retention(clean_ns=int(settings.retention.clean * 1e9), raw_ns=int(settings.retention.raw * 1e9))


async def sweep_daily(settings: Settings, ledger: Ledger) -> None:
    """Sweep whenever it is due and nobody else has, until cancelled. What cannot be erased now is erased the next time."""
    while True:
        try:
            tally = await ledger.eraser.sweep(retention_of(settings), every_ns=_EVERY_NS)
            if tally.count:
                logger.info("%d payloads whose time was over are erased, and recorded", tally.count)
        except GatewayError as error:
            logger.error("payloads whose time is over could not be erased: %s", error)
        await anyio.sleep(_LOOK_S)
