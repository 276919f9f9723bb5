"""The catalog's door to the corridor: a snapshot that is swapped whole, whenever files, upstreams or acceptances change."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from mcpgw.catalog.definition import KINDS, Offered, Offers, examine
from mcpgw.catalog.entry import Entry
from mcpgw.catalog.load import Catalog, load_catalog
from mcpgw.catalog.problems import CatalogError
from mcpgw.catalog.publish import Heard, Judgements, Snapshot, publish
from mcpgw.catalog.standing import accepted, drifted, of_catalog
from mcpgw.core.entries import Changed, Standing
from mcpgw.core.model import (
    JsonObject,
    Target,
    TargetKind,
    UnknownTarget,
)
from mcpgw.ports import Definitions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a swap of the snapshot changed, for those who must tell clients or restart servers."""

    before: Snapshot
    after: Snapshot
    servers: frozenset[str]
    """Servers that came, went, or are reached or limited in another way: their connections must follow."""

    @property
    def relisted(self) -> frozenset[TargetKind]:
        """Kinds whose lists differ: clients get `list_changed` for these."""
        return frozenset(kind for kind in KINDS if _look_different(self.before.listed[kind], self.after.listed[kind]))

    @property
    def is_material(self) -> bool:
        """Tell whether something else may be called now, or under other rules."""
        return self.before.hash != self.after.hash


OnChange = Callable[[Change], None]
OnProblem = Callable[[str], None]


class Registry:
    """`ports.Catalog`. Reads may come from any thread; what changes it is called from the event loop's thread alone.

    Args:
        catalog_dir: the folder of catalog files and `catalog.lock`.

    Raises:
        CatalogError: the folder is invalid at the start; later edits that are invalid leave the old catalog standing.
    """

    def __init__(self, catalog_dir: Path) -> None:
        self.catalog_dir = catalog_dir
        self._catalog = load_catalog(catalog_dir)
        self._judgements = Judgements()
        self._accepted: dict[str, Offers] = {}
        """By server, what was accepted of it; made when it is asked for."""
        self._heard: dict[str, Offers] = {}
        self._drifts: dict[str, Changed] = {}
        self._down: set[str] = set()
        self._listeners: list[OnChange] = []
        self._alarms: list[OnProblem] = []
        self._refused = ""
        self._standing = of_catalog(self._catalog)
        self._snapshot = self._publish()

    # --- the door ---

    def find(self, kind: TargetKind, name: str) -> Target | UnknownTarget:
        """Return the accepted, enabled target of that published name, also while its server is down.

        What can be completed are prompts and resource templates, under their own names.
        """
        found = self._snapshot.found
        if kind is not TargetKind.COMPLETION:
            return found.get(kind, _NOTHING).get(name) or UnknownTarget(kind=kind, name=name)
        completed = found[TargetKind.PROMPT].get(name) or found[TargetKind.RESOURCE].get(name)
        if completed is None or (completed.kind is TargetKind.RESOURCE and not completed.is_template):
            return UnknownTarget(kind=kind, name=name)
        return replace(completed, kind=kind)

    def targets(self, kind: TargetKind) -> Sequence[Target]:
        """Return what lists show, ordered by name: all that `find` finds but for servers that are down and hidden."""
        return self._snapshot.listed.get(kind, ())

    def templates(self, server: str) -> Sequence[Target]:
        """Return the server's accepted, enabled resource templates, also while it is down."""
        resources = self._snapshot.found[TargetKind.RESOURCE].values()
        return [target for target in resources if target.is_template and target.server == server]

    def withheld(self, server: str) -> Sequence[str]:
        """Return the URIs and templates, as the server calls them, that it offers and that are not published."""
        return self._snapshot.withheld.get(server, ())

    # --- for the wiring ---

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    @property
    def servers(self) -> Mapping[str, Entry]:
        """The enabled servers: those that should be connected."""
        return MappingProxyType({name: entry for name, entry in self._catalog.entries.items() if entry.enabled})

    @property
    def standing(self) -> Standing:
        """How the files stand that are in force, for the record."""
        return self._standing

    def drifts(self) -> Sequence[Changed]:
        """Return for the record, of each server that has spoken, how what it offers differs from what was accepted."""
        return [*self._drifts.values()]

    @property
    def problem(self) -> str:
        """Why the files on disk are not what is in force, or empty. Not ready while there is one."""
        return self._refused

    def on_change(self, listener: OnChange) -> None:
        """Call the listener after every swap that changed a list, the hash or the servers. It must not raise or block."""
        self._listeners.append(listener)

    def on_problem(self, alarm: OnProblem) -> None:
        """Call with `problem` whenever it changes: an edit was refused, or (empty) mended. It must not raise or block."""
        self._alarms.append(alarm)

    # --- what changes it ---

    def update_definitions(self, server: str, definitions: Definitions) -> None:
        """Take what a server lists now, complete; it is up from here on. A server that is not in the catalog is ignored."""
        if server not in self.servers:
            return
        before = self._offers(server)
        self._heard[server] = offers = self._understood(server, definitions)
        self._drifts[server] = drifted(server, offers, self._catalog.lock)
        if offers is not before or server in self._down:
            self._down.discard(server)
            self._swap(frozenset())

    def server_down(self, server: str) -> None:
        """Note that a server does not answer. What it last offered stays callable, so that a call says who is down."""
        if server in self.servers and server not in self._down:
            self._down.add(server)
            self._swap(frozenset())

    def adopt(self, catalog: Catalog) -> None:
        """Put freshly read files into force."""
        before = self.servers
        self._catalog = catalog
        self._accepted.clear()
        self._standing = of_catalog(catalog)
        self._note("")
        moved = {name for name in before.keys() | self.servers.keys() if _connection(before, name) != self._now(name)}
        for name in moved:
            self._heard.pop(name, None)  # what the old server said is not the new one's word
            self._down.discard(name)
        heard = {name: offers for name, offers in self._heard.items() if name in self.servers}
        self._drifts = {name: drifted(name, offers, catalog.lock) for name, offers in heard.items()}
        self._swap(frozenset(moved))

    def refuse(self, error: CatalogError) -> None:
        """Keep the catalog in force, and say loudly that the files on disk are not it."""
        self._note(str(error))
        logger.error("the catalog on disk is invalid; the one before it stays in force:\n%s", error)

    # --- inside ---

    def _note(self, problem: str) -> None:
        before, self._refused = self._refused, problem
        if problem != before:
            for alarm in self._alarms:
                alarm(problem)

    def _now(self, name: str) -> str:
        return _connection(self.servers, name)

    def _publish(self) -> Snapshot:
        heard = {name: Heard(offers=self._offers(name), up=name not in self._down) for name in self.servers}
        return publish(self._catalog.entries, heard, self._catalog.lock, self._judgements)

    def _offers(self, server: str) -> Offers:
        """What the server said last; until it has spoken, what was accepted of it stands in, so that a first list is whole."""
        return self._heard[server] if server in self._heard else self._accepted_of(server)

    def _understood(self, server: str, definitions: Definitions) -> Offers:
        """Return what the server offers; if that is what was accepted of it, then that itself, so that lists stay what they
        were to the letter, whether it has spoken or not."""
        known = self._accepted_of(server)
        offers = examine(definitions, known)
        return known if not offers.faults and set(map(_pin, offers.items)) == set(map(_pin, known.items)) else offers

    def _accepted_of(self, server: str) -> Offers:
        if server not in self._accepted:
            self._accepted[server] = accepted(self._catalog.lock, server)
        return self._accepted[server]

    def _swap(self, servers: frozenset[str]) -> None:
        before, self._snapshot = self._snapshot, self._publish()
        change = Change(before=before, after=self._snapshot, servers=servers)
        for problem in change.after.problems:
            if problem not in before.problems:
                logger.warning("%s", problem)
        if change.is_material or change.relisted or servers:
            for listener in self._listeners:
                listener(change)


_NOTHING: Mapping[str, Target] = MappingProxyType({})


def _connection(servers: Mapping[str, Entry], name: str) -> str:
    return servers[name].connection if name in servers else ""


def _pin(offered: Offered) -> tuple[TargetKind, str, str]:
    return (offered.kind, offered.name, offered.hash)


def _look_different(before: Sequence[Target], after: Sequence[Target]) -> bool:
    """Tell whether a client sees two lists as different."""
    return len(before) != len(after) or any(
        one is not other and _seen(one) != _seen(other) for one, other in zip(before, after, strict=True)
    )


def _seen(target: Target) -> tuple[str, str, JsonObject]:
    return (target.name, target.definition_hash, target.annotations)
