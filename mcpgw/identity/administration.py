"""Changing who may come in, with each change on the record."""

from collections.abc import Callable

from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.model import Event
from mcpgw.identity.api_keys import ApiKeys
from mcpgw.identity.key_record import KeyRecord, NewKey

Record = Callable[[Event], object]
"""Makes an event durable in the ledger before it returns, or raises `LedgerUnavailable`."""


def create_key(store: ApiKeys, key: NewKey, record: Record, *, actor: str = "admin") -> None:
    """Record a new key, then store it: no key opens the gateway that the ledger does not know.

    Raises:
        LedgerUnavailable: it could not be recorded, so it does not exist.
        ConfigError: it could not be stored; the record then names a key that opens nothing.
    """
    record(_changed("key_created", key.record, actor))
    store.add(key.record)


def revoke_key(store: ApiKeys, key_id: str, record: Record, *, actor: str = "admin") -> KeyRecord:
    """Revoke a key, then record it: a revocation must not wait for a ledger that is down. Doing it again records it again.

    Raises:
        LedgerUnavailable: the key is revoked, but not on the record.
        ConfigError: there is no such key, or it could not be stored.
    """
    revoked = store.revoke(key_id)
    try:
        record(_changed("key_revoked", revoked, actor))
    except LedgerUnavailable as error:
        message = f"the key {key_id} is revoked, but the ledger could not record it: {error}"
        raise LedgerUnavailable(message, hint="Mend the ledger and revoke the key once more.") from error
    return revoked


def _changed(change: str, record: KeyRecord, actor: str) -> Event:
    return Event(kind="identity.changed", actor=actor, facts={"change": change, **record.facts()})
