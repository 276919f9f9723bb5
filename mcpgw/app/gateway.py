"""One gateway process: every room made, every door connected, everything ended in order."""

import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from mcpgw import __version__
from mcpgw.app import anchors, convert, network, own, redacting, standings, vaulting
from mcpgw.app.bookkeeper import Bookkeeper
from mcpgw.app.counting import CountingJournal
from mcpgw.app.cursors import cursors
from mcpgw.app.live import LivePolicy
from mcpgw.app.outlets import CURSORS, outlets
from mcpgw.app.previews import Previews
from mcpgw.app.retention import sweep_daily
from mcpgw.catalog.problems import CatalogError
from mcpgw.catalog.registry import Change, Registry
from mcpgw.catalog.watch import watch
from mcpgw.core.access import Access
from mcpgw.core.errors import GatewayError, LedgerUnavailable
from mcpgw.core.model import (
    Held,
    JsonObject,
    Refused,
    Request,
)
from mcpgw.identity import ApiKeys, protected_resource_metadata, www_authenticate
from mcpgw.inbound.server import GatewayServer
from mcpgw.ledger import Ledger, RecordContext, new_id
from mcpgw.ledger.anchors.loop import AnchoredJournal, Anchoring
from mcpgw.own import CatalogWithOwn, FindTool, UpstreamsWithOwn
from mcpgw.pipeline import Corridor
from mcpgw.ports import Authenticator, Definitions, ServerState, ServerStatus
from mcpgw.redaction import PresidioRedactor, ShownDefinitions
from mcpgw.settings import Settings, load
from mcpgw.sinks.exporter import Exporter, open_exporter
from mcpgw.upstream import ServerConfig, UpstreamPool

logger = logging.getLogger(__name__)

_HEALTH_S = 2.0
"""How often ledger and redactor are asked whether they work: bounds how stale `/readyz` is."""
_MODEL_RETRY_S = 15.0
"""Pause between two attempts to load the language model."""
_CONFIG_S = 1.0
"""How often config.toml is looked at for changed roles, scopes and rules."""


class Gateway:
    """All rooms of one process. Use `open_gateway`."""

    def __init__(
        self,
        settings: Settings,
        *,
        ledger: Ledger,
        registry: Registry,
        redactor: PresidioRedactor,
        authenticator: Authenticator,
        tasks: TaskGroup,
        hashes: "_Hashes",
        anchoring: Anchoring,
        exporter: Exporter,
    ) -> None:
        self.settings = settings
        self._hashes = hashes
        self.ledger = ledger
        self.anchoring = anchoring
        self.exporter = exporter
        self.calls = CountingJournal(ledger)
        self.registry = registry
        self.redactor = redactor
        self.authenticator = authenticator
        self.policy = LivePolicy(convert.policy(settings))
        self._profiles_hash = standings.of_profiles(settings).standing.hash
        self.desk = convert.desk(settings, ledger, on_held=lambda shown, approval_id: self.previews.ask(shown, approval_id))
        self.pool = UpstreamPool(
            on_definitions=self._on_definitions,
            on_status=self._on_status,
            on_updated=lambda server, uri: self.server.resource_updated(server, uri),
            version=__version__,
        )
        catalog = CatalogWithOwn(registry, own.offers(settings))
        shown = ShownDefinitions(redacting.config(settings)).shown
        self.corridor = Corridor(
            catalog=catalog,
            policy=self.policy,
            redactor=redactor,
            vault=vaulting.vault(settings, redactor),
            desk=self.desk,
            journal=AnchoredJournal(self.calls, anchoring),
            upstreams=UpstreamsWithOwn(
                self.pool,
                own.tools(
                    settings,
                    self.desk,
                    redactor,
                    self._request_access,
                    network.pages(settings),
                    FindTool(catalog, self.policy, shown),
                ),
            ),
            new_id=new_id,
        )
        self.previews = Previews(self.corridor, tasks, settings.approval.preview_timeout)
        self.server = GatewayServer(
            config=replace(network.inbound(settings), state_key=convert.state_key(settings)),
            corridor=self.corridor,
            catalog=catalog,
            policy=self.policy,
            authenticator=authenticator,
            publish=shown,
            challenge=self._challenge,
            resource_metadata=self._resource_metadata,
            ready=self._problems,
            held_calls=self.desk,
            unsubscribe=self.pool.unsubscribe,
        )
        self.books = Bookkeeper(settings, ledger, registry)
        self._keys = ApiKeys(settings.keys_dir / convert.API_KEYS)
        self._tasks = tasks
        self._ledger_problem = ""
        self._config_problem = ""
        self._redactor_problem = "The language model is being loaded."
        self._unresolved: dict[str, str] = {}
        """Servers whose credentials cannot be resolved, and why: they are down, and the others are not touched."""

    async def _request_access(self, request: Request, access: Access) -> Held | Refused:
        """Walk the corridor anew, from a tool of the gateway's own that stands at its end."""
        return await self.corridor.request_access(request, access)

    # --- readiness -------------------------------------------------------------------------------------------------------

    def _problems(self) -> Mapping[str, str]:
        redactor = "" if self.redactor.ready else self._redactor_problem
        found = {
            "ledger": self._ledger_problem,
            "redactor": redactor,
            "keys": self._keys_problem(),
            "catalog": self.registry.problem,
            "config": self._config_problem,
            "anchor": self.anchoring.problem(),
        }
        return {name: problem for name, problem in found.items() if problem}

    def _keys_problem(self) -> str:
        """Say why no API key is accepted. One `stat` of a local file, which is read again only after a change."""
        try:
            self._keys.records()
        except GatewayError as error:
            return " ".join(filter(None, (f"No API key is accepted: {error}", error.hint)))
        return ""

    def upstreams(self) -> list[ServerStatus]:
        """Return what is known of every enabled server, also of those that could not be started."""
        broken = [ServerStatus(name=name, state=ServerState.DOWN, problem=why) for name, why in self._unresolved.items()]
        return sorted([*self.pool.status(), *broken], key=lambda status: status.name)

    async def tend_redactor(self) -> None:
        """Load the language model, and bring it back whenever its process died, until cancelled.

        Without it every call is refused, and a gateway that is not ready may be sent no call that would find out that the
        model works again. Loading is tried again too, because the model may be installed meanwhile.
        """
        await self._start_redactor()
        self._redactor_problem = "The process that redacts died; another one is being started."
        while True:
            await anyio.sleep(_HEALTH_S)
            if not self.redactor.complete:
                try:
                    await self.redactor.revive()
                except GatewayError as error:
                    logger.warning("the redactor is not back yet: %s", error)

    async def _start_redactor(self) -> None:
        while True:
            try:
                await self.redactor.start()
                return
            except GatewayError as error:
                self._redactor_problem = " ".join(filter(None, (str(error), error.hint)))
                logger.error("nothing can be redacted, so every call is refused: %s", self._redactor_problem)
            await anyio.sleep(_MODEL_RETRY_S)

    async def tend_health(self) -> None:
        """Keep `/readyz` true to what the ledger can do, until cancelled."""
        while True:
            try:
                await self.ledger.probe()
                self._ledger_problem = ""
            except GatewayError as error:
                self._ledger_problem = str(error)
            await anyio.sleep(_HEALTH_S)

    # --- what clients without a token are told ---------------------------------------------------------------------------

    def _challenge(self, error: str) -> str:
        identity = self.settings.identity
        url = f"{self.settings.public_url}/mcp"
        code = "invalid_token" if error else ""
        return www_authenticate(url, code, description=error, scopes=identity.scopes_supported, oauth=bool(identity.issuers))

    def _resource_metadata(self) -> JsonObject:
        identity = self.settings.identity
        if not identity.issuers:
            return {}
        issuers = [issuer.issuer for issuer in identity.issuers]
        return protected_resource_metadata(f"{self.settings.public_url}/mcp", issuers, identity.scopes_supported)

    # --- upstreams and catalog -------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Make the pool's servers what the catalog says. Touches no connection whose configuration is the same."""
        configs: dict[str, ServerConfig] = {}
        self._unresolved = {}
        for name, entry in self.registry.servers.items():
            try:
                configs[name] = network.server(entry, self.settings.folder, os.environ)
            except CatalogError as error:
                self._unresolved[name] = str(error)
                self.registry.server_down(name)
                logger.error("server %s is down: its credentials cannot be resolved:\n%s", name, error)
        self.pool.configure(configs)

    async def _on_definitions(self, server: str, definitions: Definitions) -> None:
        self.registry.update_definitions(server, definitions)

    async def _on_status(self, status: ServerStatus) -> None:
        if status.state is ServerState.READY:
            self.registry.update_definitions(status.name, self.pool.definitions(status.name))  # it may have been down
        elif status.state is ServerState.DOWN:
            self.registry.server_down(status.name)

    def on_change(self, change: Change) -> None:
        """Follow a swap of the catalog: connections, clients that must list again, and what was asked of another server."""
        if change.servers:
            self.connect()
        if change.relisted or change.servers:
            self._tasks.start_soon(self._relist)

    async def _relist(self) -> None:
        await self.server.notify_list_changed()
        await self.server.prepare_lists()

    # --- policy ----------------------------------------------------------------------------------------------------------

    async def watch_config(self) -> None:
        """Put edited roles, scopes and rules into force without a restart, until cancelled; an invalid edit is refused."""
        stamp = (-1, 0, 0)  # no file has it: what was edited while the gateway started is looked at too
        while True:
            await anyio.sleep(_CONFIG_S)
            now = _stamp(self.settings.config_file)
            if now != stamp and await self._reload_policy():
                stamp = now

    async def _reload_policy(self) -> bool:
        """Return whether the file was dealt with; False asks to be called again."""
        try:
            settings = load(self.settings.folder)
            policy = convert.policy(settings)
        except GatewayError as error:
            self._config_problem = f"config.toml is invalid; what was in force before stays: {error}"
            logger.error("%s", self._config_problem)
            return True
        self._config_problem = ""
        self._tell_what_waits(settings)
        profiles = standings.of_profiles(settings)
        if (policy.policy_hash, profiles.standing.hash) == (self.policy.policy_hash, self._profiles_hash):
            return True
        config_hash = convert.config_hash(convert.with_policy_of(self.settings, settings))
        try:
            await self.books.note(standings.of_policy(settings, policy.policy_hash), profiles)
        except LedgerUnavailable as error:
            logger.error("the new policy is not in force yet, because it cannot be recorded: %s", error)
            return False
        self._hashes.config = config_hash
        self._profiles_hash = profiles.standing.hash
        self.policy.activate(policy)
        logger.info("policy %s is in force", policy.policy_hash[:12])
        await self.server.notify_list_changed()
        return True

    def _tell_what_waits(self, edited: Settings) -> None:
        """Nobody who withdrew an issuer, or allowed anonymous callers no more, may believe that it is done."""
        expected = convert.with_policy_of(self.settings, edited)
        waiting = [name for name in Settings.model_fields if getattr(expected, name) != getattr(edited, name)]
        if waiting:
            logger.warning("config.toml: what was changed in %s takes effect at the next start", ", ".join(waiting))


@dataclass(slots=True)
class _Hashes:
    """What every record names beside the catalog's hash; follows what is in force."""

    config: str


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)


@asynccontextmanager
async def open_gateway(
    settings: Settings, redactor: PresidioRedactor, *, node: str, method: str = "api_key"
) -> AsyncIterator[Gateway]:
    """Open every room and yield the gateway while its tasks run: upstreams, catalog and policy watches, the desk's sweeper.

    `redactor` need not have loaded its model: until it has, calls wait. `node` names the process for people (`serve`, `stdio`);
    `method` is what identities behind API keys carry.

    Raises:
        ConfigError: the folder is not valid; nothing was started.
        LedgerUnavailable: the data folder cannot be written.
    """
    registry = Registry(settings.catalog_dir)
    hashes = _Hashes(convert.config_hash(settings))

    def context() -> RecordContext:
        return RecordContext(version=__version__, config_hash=hashes.config, catalog_hash=registry.snapshot.hash)

    convert.policy(settings)  # before anything is started or recorded
    sinks = outlets(settings, os.environ)
    convert.make_data_folder(settings)
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(
            Ledger.open(
                settings.data_dir,
                settings.keys_dir,
                origin=settings.ledger.origin,
                context=context,
                node=node,
                countersign=partial(convert.countersign, settings),
                database=convert.database(settings),
                session_idle_s=settings.ledger.session_idle,
            )
        )
        anchoring = anchors.anchoring(settings, ledger)
        kept = cursors(convert.database(settings), settings.data_dir / CURSORS)
        exporter = await stack.enter_async_context(open_exporter(sinks, log=ledger, cursors=kept))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        gateway = Gateway(
            settings,
            ledger=ledger,
            registry=registry,
            redactor=redactor,
            authenticator=convert.authenticators(settings, method=method),
            tasks=tasks,
            hashes=hashes,
            anchoring=anchoring,
            exporter=exporter,
        )
        await gateway.books.begin(gateway.policy.policy_hash)
        await stack.enter_async_context(gateway.pool)
        registry.on_change(gateway.on_change)
        gateway.connect()
        tasks.start_soon(gateway.tend_redactor)
        tasks.start_soon(gateway.server.prepare_lists)
        tasks.start_soon(watch, registry)
        tasks.start_soon(gateway.watch_config)
        tasks.start_soon(gateway.books.tend)
        tasks.start_soon(gateway.desk.run)
        tasks.start_soon(exporter.run)
        tasks.start_soon(sweep_daily, settings, ledger)
        tasks.start_soon(anchoring.run)
        yield gateway
