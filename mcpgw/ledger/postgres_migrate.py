"""Bringing the schema up to date, as its owner, while gateways go on appending."""

from collections.abc import Sequence
from contextlib import closing

from mcpgw.core.errors import ConfigError
from mcpgw.ledger.postgres_connection import Connection, connect, execute
from mcpgw.ledger.postgres_schema import AUDITOR, GATEWAY, MIGRATIONS, SCHEMA, Migration
from mcpgw.ledger.store import SchemaStatus

_LOCK_TIMEOUT_S = 3
"""How long gateways may stand still for a change of a table: shorter than they wait for their turn."""
_TIMEOUT_S = 3600.0
"""For one migration: an index over a large log takes its time."""
_ONE_AT_A_TIME = 0x6D63706777
"""Key of the advisory lock that keeps two runners apart: `mcpgw` in ASCII."""
_TABLE = f"""
CREATE TABLE IF NOT EXISTS {SCHEMA}.migrations (
    version    integer PRIMARY KEY,
    oldest     integer NOT NULL,   -- gateways that know this schema number, or a later one, may go on writing
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


def migrate(address: str, password: str = "", *, migrations: Sequence[Migration] = MIGRATIONS) -> SchemaStatus:
    """Apply what is missing, each migration in a transaction of its own, and return what there is then.

    Raises:
        ConfigError: the roles are missing, or the schema belongs to somebody else.
        LedgerUnavailable: the database failed, or a table could not be had in time. Running it again goes on from there.
    """
    settings = f"SET lock_timeout = '{_LOCK_TIMEOUT_S}s';"
    with closing(connect(address, password, settings=settings, patience_s=_TIMEOUT_S)) as db:
        _require_roles(db)
        execute(db, f"SELECT pg_advisory_lock({_ONE_AT_A_TIME})")
        execute(db, f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        execute(db, _TABLE)
        before = _status(db, len(migrations))
        for number, migration in enumerate(migrations[before.version :], start=before.version + 1):
            execute(db, "BEGIN")
            execute(db, migration.sql)
            execute(db, "INSERT INTO migrations (version, oldest) VALUES (%s, %s)", (number, migration.oldest))
            execute(db, "COMMIT")
        return _status(db, len(migrations))


def schema_status(address: str, password: str = "") -> SchemaStatus:
    """Return how far the schema is.

    Raises:
        LedgerUnavailable: the database cannot be asked.
    """
    with closing(connect(address, password, settings="", patience_s=_TIMEOUT_S)) as db:
        ((found,),) = execute(db, f"SELECT to_regclass('{SCHEMA}.migrations') IS NOT NULL")
        return _status(db, len(MIGRATIONS)) if found else SchemaStatus(0, 0, len(MIGRATIONS))


def _status(db: Connection, known: int) -> SchemaStatus:
    ((version, oldest),) = execute(db, "SELECT coalesce(max(version), 0), coalesce(max(oldest), 0) FROM migrations")
    return SchemaStatus(version, oldest, known)


def _require_roles(db: Connection) -> None:
    found = {name for (name,) in execute(db, "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'mcpgw%'")}
    if missing := sorted({GATEWAY, AUDITOR} - found):
        hint = "Let the database's administrator create them: the SQL stands in docs/postgres.md."
        raise ConfigError(f"the server has no role {' and no role '.join(missing)}", where="ledger.url", hint=hint)
