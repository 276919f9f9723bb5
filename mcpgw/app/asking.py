"""The corridor of a short command: it asks people, beside a running gateway, and reaches no upstream."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcpgw.app import convert, own, redacting
from mcpgw.app.vaulting import NoVault
from mcpgw.approval import Desk
from mcpgw.catalog.registry import Registry
from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import Permit, RawReply
from mcpgw.ledger import Ledger, new_id
from mcpgw.own import CatalogWithOwn
from mcpgw.pipeline import Corridor
from mcpgw.ports import Interview, OnNotice
from mcpgw.settings import Settings


class NoUpstreams:
    """Implements `ports.Upstreams` by asking nobody."""

    async def send(self, permit: Permit, on_notice: OnNotice, interview: Interview) -> RawReply:
        raise UpstreamError("This command calls no upstream.", sent=False, hint="Make the call through the gateway.")


@asynccontextmanager
async def open_corridor(settings: Settings, ledger: Ledger, desk: Desk) -> AsyncIterator[Corridor]:
    """Open a corridor on the folder's desk, with the policy, the accepted tools and the redactor of these settings.

    Raises:
        ConfigError: the folder is not valid, or the language model is not installed.
        RedactionError: the model could not be loaded in time.
    """
    policy = convert.policy(settings)
    async with redacting.redactor(settings) as redactor:
        await redactor.start()
        yield Corridor(
            catalog=CatalogWithOwn(Registry(settings.catalog_dir), own.offers(settings)),
            policy=policy,
            redactor=redactor,
            vault=NoVault(),  # nothing runs here
            desk=desk,
            journal=ledger,
            upstreams=NoUpstreams(),
            new_id=new_id,
        )
