"""The console's doors, filled in with the rooms of one gateway."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mcpgw import __version__
from mcpgw.app import convert
from mcpgw.app.evidence import LogEvidence
from mcpgw.app.gateway import Gateway
from mcpgw.approval import Desk, NotEntitled, SealBroken
from mcpgw.approval.proposal import differences
from mcpgw.approval.standing import Standing
from mcpgw.catalog.drift import diff
from mcpgw.catalog.load import load_catalog
from mcpgw.catalog.problems import CatalogError
from mcpgw.catalog.publish import Quarantine
from mcpgw.catalog.telling import tell
from mcpgw.console import ConsoleConfig, Doors, NotForYou, Routes, ServerView, Unclear, make_routes
from mcpgw.console.doors import CatalogView, Refused
from mcpgw.core.entries import Happened, Verdict
from mcpgw.core.model import (
    Change,
    Identity,
    JsonObject,
    TargetKind,
)
from mcpgw.identity import ApiKeys
from mcpgw.inbound.config import InboundConfig
from mcpgw.inbound.head import Turned, check_host, credential_of
from mcpgw.ledger import Ledger
from mcpgw.ports import Approval, ApprovalState, Deed, Definitions, ServerState, ServerStatus, Sheet

_HELD_BACK: Mapping[Quarantine, str] = {
    Quarantine.NEW: "new, not accepted",
    Quarantine.CHANGED: "changed since it was accepted",
    Quarantine.SERVER: "its server is new, or reached in another way",
}


def console_routes(gateway: Gateway) -> Routes:
    """Return the console's routes for `make_app`; none where the console is switched off."""
    settings = gateway.settings
    if not settings.console.enabled:
        return ()
    doors = Doors(
        authenticator=ApiKeys(settings.keys_dir / convert.API_KEYS, method="console"),
        corridor=gateway.corridor,
        journal=gateway.ledger,
        desk=_PeoplesDesk(gateway.desk, gateway.ledger),
        evidence=LogEvidence(settings, gateway.ledger),
        catalog=_CatalogSurvey(gateway).view,
        problems=gateway.server.problems,
        check_host=_HostCheck(gateway.server.config),
        is_draining=gateway.server.rim.is_draining,
        bearers=gateway.authenticator,
        credential_of=_Head(gateway.server.config),
        challenge=gateway.server.rim.challenge,
    )
    config = ConsoleConfig(
        name=settings.name,
        version=__version__,
        public_url=settings.public_url,
        auditors=tuple(settings.console.auditors),
        session_idle_s=settings.console.session_idle,
        session_max_s=settings.console.session_max,
        api=settings.console.api,
    )
    return make_routes(doors, config)


@dataclass(frozen=True, slots=True)
class _PeoplesDesk:
    """`console.doors.PeoplesDesk`: the desk itself, its errors in the console's words."""

    desk: Desk
    ledger: Ledger

    async def docket(self, viewer: Identity, states: Sequence[ApprovalState], limit: int) -> tuple[Approval, ...]:
        return await self.desk.docket(viewer, states, limit)

    async def show(self, approval_id: str, viewer: Identity) -> Sheet:
        try:
            return await self.desk.show(approval_id, viewer)
        except NotEntitled as error:
            raise NotForYou(str(error), hint=_NOT_YOURS) from None
        except SealBroken as error:
            raise Unclear(str(error), hint=error.hint) from None

    async def vote(
        self, approval_id: str, voter: Identity, verdict: Verdict, comment: str, *, shown: str, break_glass: bool
    ) -> Approval:
        with _in_their_words():
            return await self.desk.vote(approval_id, voter, verdict, comment, shown=shown, break_glass=break_glass)

    def changes(self, sheet: Sheet, arguments: JsonObject) -> Sequence[Change]:
        return differences(json.loads(sheet.arguments), arguments)

    async def propose(self, approval_id: str, person: Identity, arguments: JsonObject, comment: str, *, shown: str) -> Approval:
        with _in_their_words():
            return await self.desk.propose(approval_id, person, arguments, comment, shown=shown)

    async def act(self, deed: Deed, approval_id: str, person: Identity, comment: str, happened: str) -> Approval:
        with _in_their_words():
            match deed:
                case Deed.WITHDRAW_VOTE:
                    return await self.desk.withdraw_vote(approval_id, person, comment)
                case Deed.WITHDRAW:
                    return await self.desk.withdraw(approval_id, person, comment)
                case Deed.REVOKE:
                    return await self.desk.revoke(approval_id, person, comment)
                case Deed.REVIEW:
                    return await self.desk.review(approval_id, person, comment)
            return await self.desk.resolve(approval_id, person, Happened(happened), comment)

    async def open_items(self, viewer: Identity) -> tuple[Approval, ...]:
        return await self.desk.open_items(viewer)

    def standing(self, approval: Approval) -> Standing:
        return self.desk.standing(approval)

    def objection(self, viewer: Identity, approval: Approval) -> str:
        return self.desk.objection(viewer, approval)

    def deeds(self, viewer: Identity, approval: Approval) -> frozenset[Deed]:
        return self.desk.deeds(viewer, approval)

    async def changed(self, timeout_s: float) -> None:
        await self.ledger.changed(timeout_s)


@contextmanager
def _in_their_words() -> Iterator[None]:
    try:
        yield
    except NotEntitled as error:
        raise NotForYou(str(error), hint=error.hint) from None


_NOT_YOURS = "Check the link, and that you are among the approvers that the rule names."


@dataclass(frozen=True, slots=True)
class _HostCheck:
    """The MCP doors' own check of `Host`. Their list of foreign origins does not count here: the console has none."""

    config: InboundConfig

    def __call__(self, hosts: Sequence[str]) -> None:
        try:
            check_host(hosts, (), self.config)
        except Turned as turned:
            raise Refused(turned.status, str(turned)) from None


@dataclass(frozen=True, slots=True)
class _Head:
    """The MCP doors' own check of a head, for the API."""

    config: InboundConfig

    def __call__(self, scope: Mapping[str, Any]) -> str:
        try:
            return credential_of(scope, self.config)
        except Turned as turned:
            raise Refused(turned.status, str(turned)) from None


@dataclass(frozen=True, slots=True)
class _CatalogSurvey:
    gateway: Gateway

    async def view(self) -> CatalogView:
        """Join what servers say with what was accepted. The comparison is done off the event loop: definitions may be large."""
        statuses = self.gateway.upstreams()
        offered = {status.name: self._offered(status) for status in statuses}
        problems = [self.gateway.registry.problem, *map(str, self.gateway.registry.snapshot.problems)]
        try:
            drifts = await asyncio.to_thread(self._drifts, offered)
        except CatalogError as error:
            problems.append(str(error))
            drifts = {}
        servers = tuple(self._server(status, drifts.get(status.name, ())) for status in statuses)
        return CatalogView(servers=servers, problems=tuple(dict.fromkeys(filter(None, problems))))

    def _offered(self, status: ServerStatus) -> Definitions | str:
        if status.state is ServerState.READY:
            return self.gateway.pool.definitions(status.name)
        return "it is not connected"

    def _drifts(self, offered: Mapping[str, Definitions | str]) -> dict[str, tuple[str, ...]]:
        """Raises: CatalogError: the files on disk are wrong."""
        loaded = load_catalog(self.gateway.registry.catalog_dir)
        return {drift.server: tuple(line.text for line in tell(drift)) for drift in diff(loaded.entries, loaded.lock, offered)}

    def _server(self, status: ServerStatus, drift: tuple[str, ...]) -> ServerView:
        snapshot = self.gateway.registry.snapshot
        held = [item for item in snapshot.held_back if item.server == status.name]
        info = status.server_info or {}
        return ServerView(
            name=status.name,
            state=status.state,
            problem=status.problem,
            protocol_version=status.protocol_version,
            software=" ".join(str(info[key]) for key in ("name", "version") if info.get(key)),
            published=sum(
                target.server == status.name for kind in TargetKind for target in snapshot.found.get(kind, {}).values()
            ),
            quarantined=tuple(f"{item.kind.value} {item.upstream_name}: {_HELD_BACK[item.why]}" for item in held),
            drift=drift,
        )
