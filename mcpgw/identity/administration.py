"""Changing who may come in, with each change on the record: who made it, which key, and the key file's hashes."""

from collections.abc import Callable, Sequence

from mcpgw.core.entries import Changed, Standing
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.identity.api_keys import ApiKeys
from mcpgw.identity.key_record import KeyRecord, NewKey

CHANGED = "identity.changed"
Record = Callable[[Sequence[Changed]], object]
"""Makes those of the changes that are not on the record durable in the ledger before it returns, or raises
`LedgerUnavailable`."""


def create_key(store: ApiKeys, key: NewKey, record: Record, *, actor: str) -> None:
    """Record a new key, then store it: no key opens the gateway that the ledger does not know.

    Raises:
        LedgerUnavailable: it could not be recorded, so it does not exist.
        ConfigError: it could not be stored; the record then names a key that opens nothing, and the next start says so.
    """

    def before_saving(made: KeyRecord, before: Standing, after: Standing) -> None:
        record([found(before), _changed("key_created", made, actor, after)])

    store.add(key.record, before_saving)


def revoke_key(store: ApiKeys, key_id: str, record: Record, *, actor: str) -> KeyRecord:
    """Revoke a key, then record it: a revocation must not wait for a ledger that is down.

    Raises:
        LedgerUnavailable: the key is revoked, but not on the record. Doing it again records it.
        ConfigError: there is no such key, or it could not be stored.
    """

    def after_saving(gone: KeyRecord, before: Standing, after: Standing) -> None:
        change = _changed("key_revoked", gone, actor, after)
        record([change] if before == after else [found(before), change])

    try:
        return store.revoke(key_id, after_saving)
    except LedgerUnavailable as error:
        message = f"the key {key_id} is revoked, but the ledger could not record it: {error}"
        raise LedgerUnavailable(message, hint="Mend the ledger and revoke the key once more.") from error


def found(standing: Standing) -> Changed:
    """Return how the key file stands, for the record, where nobody knows who made it so."""
    return Changed(kind=CHANGED, actor="unknown", standing=standing)


def _changed(change: str, record: KeyRecord, actor: str, after: Standing) -> Changed:
    return Changed(kind=CHANGED, actor=actor, standing=after, facts={"change": change, **record.facts()})
