"""The catalog as something whose changes are recorded: what admins wrote and accepted, and what servers say since.

These are two. What stands in the folder is the same for every process. What a server offers beside it, a process knows once it
has heard from that server: its drift.
"""

from mcpgw.catalog.definition import KINDS, Offered, Offers
from mcpgw.catalog.load import Catalog
from mcpgw.catalog.lock import Lock
from mcpgw.catalog.publish import Heard, facts_of, hash_of, publish
from mcpgw.core.entries import Changed, Standing

CHANGED = "catalog.changed"
ACCEPTED = "catalog.accepted"
_GONE = "gone"


def of_catalog(catalog: Catalog) -> Standing:
    """Return what may be called if every server offers what was accepted of it, how each enabled server is reached, and what
    was accepted of any."""
    enabled = {name: entry for name, entry in catalog.entries.items() if entry.enabled}
    heard = {name: Heard(offers=accepted(catalog.lock, name), up=True) for name in enabled}
    found = publish(enabled, heard, catalog.lock).found
    targets = {f"{kind.value} {name}": hash_of([facts_of(target)]) for kind in KINDS for name, target in found[kind].items()}
    servers = {f"server {name}": entry.fingerprint for name, entry in enabled.items()}
    pinned = {
        f"accepted of {name}": hash_of([{"server": one.fingerprint, "hashes": _hashes(accepted(catalog.lock, name))}])
        for name, one in catalog.lock.servers.items()
    }
    told = {
        f"{kind.value} {name}": {
            **facts_of(target),
            "definition": dict(target.definition),
            "definition_hash": target.definition_hash,
        }
        for kind in KINDS
        for name, target in found[kind].items()
    }
    return Standing.of("catalog", {**targets, **servers, **pinned}, {**told, **servers})


def of_drift(server: str, offers: Offers, lock: Lock) -> Standing:
    """Return how what the server offers differs from what was accepted of it: nothing, if it does not."""
    before, now = _hashes(accepted(lock, server)), _hashes(offers)
    parts = {name: now.get(name, _GONE) for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
    return Standing.of(f"drift of {server}", parts)


def drifted(server: str, offers: Offers, lock: Lock) -> Changed:
    """Return the drift for the record."""
    return Changed(kind=CHANGED, actor=f"server {server}", standing=of_drift(server, offers, lock))


def accepted(lock: Lock, server: str) -> Offers:
    """Return what was accepted of a server, as if it offered that."""
    if server not in lock.servers:
        return Offers()
    return Offers(
        items=tuple(
            Offered(kind=kind, name=name, definition=item.definition, hash=item.hash)
            for kind, names in lock.servers[server].accepted.items()
            for name, item in names.items()
        )
    )


def _hashes(offers: Offers) -> dict[str, str]:
    return {f"{offered.kind.value} {offered.name}": offered.hash for offered in offers.items}
