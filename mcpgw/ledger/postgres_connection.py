"""A connection to PostgreSQL that fails rather than waits, and says what is wrong without saying a secret.

Two bounds hold at any time. The server ends what waits too long for a lock or idles inside a transaction, so that a gateway
that hangs does not keep the others from their turn. The client gives up on a server that does not answer at all.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict

from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.ledger.postgres_schema import MIGRATIONS, SCHEMA, VERSION

Row: TypeAlias = tuple[Any, ...]

OLDEST_SERVER = 130_000
_CONNECT_TIMEOUT_S = 5
_DEFAULTS = {
    "application_name": "mcpgw",
    "connect_timeout": _CONNECT_TIMEOUT_S,
    # A peer that is gone without a word (cut cable, dead host) is noticed within about ten seconds.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Of libpq; what the address says goes before it."""
_SESSION = f"""
SET search_path = {SCHEMA}, pg_temp;
SET client_min_messages = warning;
SET tcp_keepalives_idle = 5;
SET tcp_keepalives_interval = 2;
SET tcp_keepalives_count = 3;
"""
_QUOTING = ("22", "23")
"""Classes of SQLSTATE whose messages quote data: data exceptions, and violated constraints."""


class Connection(psycopg.Connection[Row]):
    """A connection whose every wait is bounded. One that was given up on is closed: nobody knows what it would say next."""

    patience_s = 5.0
    durability = "on"
    """The `synchronous_commit` to write with."""
    warned = ""
    """The server's last warning since somebody cleared this."""

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:  # None: as psycopg has it
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience_s)
        except psycopg.errors._WaitTimeout as error:
            self.close()
            raise psycopg.OperationalError(f"the server did not answer within {self.patience_s:g} s") from error

    def note(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            self.warned = diagnostic.message_primary or "a warning without words"


def connect(address: str, password: str, *, settings: str, patience_s: float) -> Connection:
    """Connect and prepare the session. `address` is a libpq URL without a password; `settings` are further SQL.

    Raises:
        ConfigError: the address cannot be understood.
        LedgerUnavailable: nobody answers, or not as hoped.
    """
    try:
        said = conninfo_to_dict(address)
    except psycopg.Error as error:
        raise ConfigError("the database's address cannot be understood", where="ledger.url", hint=URL_HINT) from error
    parameters: dict[str, Any] = {**_DEFAULTS, **_transport(said), **said, "client_encoding": "utf8"}
    if password:
        parameters["password"] = password
    db = _run(lambda: Connection.connect("", autocommit=True, **parameters))
    try:
        db.patience_s = patience_s
        db.add_notice_handler(db.note)
        execute(db, _SESSION + settings)
    except BaseException:  # passed on: whatever it was, the connection does not outlive it
        db.close()
        raise
    return db


URL_HINT = "Write postgresql://USER@HOST/DATABASE, with the password as ${env:NAME} or ${file:path} behind USER and a colon."


def _transport(said: dict[str, Any]) -> dict[str, str]:
    """Over a network the server proves who it is, unless the address says otherwise; a socket or loopback is no network."""
    hosts = str(said.get("host") or said.get("hostaddr") or "").split(",")
    local = all(host == "" or host.startswith(("/", "@", "127.")) or host in ("localhost", "::1") for host in hosts)
    if local or "sslmode" in said:
        return {}
    return {"sslmode": "verify-full", **({} if "sslrootcert" in said else {"sslrootcert": "system"})}


def execute(db: Connection, sql: str, values: Sequence[Any] = ()) -> list[Row]:
    """Run the SQL and return its rows: those of the last statement, where there are several.

    Raises:
        LedgerUnavailable: it failed.
    """

    def run() -> list[Row]:
        cursor = db.execute(sql.encode(), values or None, binary=bool(values))
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else []

    return _run(run)


def translated(error: psycopg.Error) -> LedgerUnavailable:
    """Say what happened in the server's words, unless they may quote what was to be stored."""
    state = error.sqlstate or ""
    words = error.diag.message_primary or (str(error).strip().splitlines() or [""])[0]
    said = f"{type(error).__name__} {state}".strip()
    hint = "" if state else "Compare `ledger.url` in config.toml, and see that the server runs and lets this user in."
    return LedgerUnavailable(
        f"the ledger's database failed: {said}" + ("" if state[:2] in _QUOTING else f": {words}"), hint=hint
    )


def _run(work: "Callable[[], RV]") -> RV:
    try:
        return work()
    except psycopg.Error as error:
        raise translated(error) from error


# --- what a gateway asks of its database before it writes --------------------------------------------------------------------


def require_durable(db: Connection) -> str:
    """Return the `synchronous_commit` to write with, where the server keeps what it says it has kept.

    Raises:
        ConfigError: the server may lose what it acknowledged, or cannot hold every character.
        LedgerUnavailable: it is a standby.
    """
    if db.info.server_version < OLDEST_SERVER:
        raise ConfigError(f"PostgreSQL {db.info.server_version // 10_000} is too old; 13 is needed", where="ledger.url")
    names = ("fsync", "full_page_writes", "synchronous_commit", "server_encoding")
    asked = ", ".join(f"current_setting('{name}')" for name in names)
    ((*values, standby),) = execute(db, f"SELECT {asked}, pg_is_in_recovery()")
    said = dict(zip(names, values, strict=True))
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        if said[name] == "off":
            hint = f"Set {name} = on in postgresql.conf, and for the role and the database."
            raise ConfigError(
                f"the server has {name} = off, and may lose records that it acknowledged", where="ledger.url", hint=hint
            )
    if said["server_encoding"] != "UTF8":
        raise ConfigError(f"the database is encoded in {said['server_encoding']}; UTF8 is needed", where="ledger.url")
    if standby:
        raise LedgerUnavailable("the database is a standby, which cannot be written", hint="Name the primary in ledger.url.")
    return "remote_apply" if said["synchronous_commit"] == "remote_apply" else "on"


def require_schema(db: Connection) -> None:
    """Refuse a database whose schema this mcpgw must not use.

    Raises:
        ConfigError: it was not migrated, or by an mcpgw so much newer that this one would do harm.
    """
    hint = "Run `mcpgw ledger migrate` as the owner; docs/postgres.md says how."
    ((found,),) = execute(db, f"SELECT to_regclass('{SCHEMA}.migrations') IS NOT NULL")
    if not found:
        raise ConfigError("the database holds no ledger, or this role may not see it", where="ledger.url", hint=hint)
    ((version, oldest),) = execute(db, "SELECT max(version), max(oldest) FROM migrations")
    if (version or 0) < VERSION:
        raise ConfigError(
            f"the ledger has schema {version or 0}, and this mcpgw needs {VERSION}", where="ledger.url", hint=hint
        )
    if oldest > len(MIGRATIONS):
        hint = "Run the mcpgw that migrated it, or a newer one."
        raise ConfigError(f"the ledger needs an mcpgw that knows schema {oldest}; this one knows {VERSION}", hint=hint)


def require_append_only(db: Connection) -> None:
    """Refuse a role that could change what was recorded, and tables that a crash would empty.

    Raises:
        ConfigError: the role owns the log, or may update, delete or truncate it; or a table is unlogged.
    """
    sql = """
    SELECT relname, relpersistence = 'p', pg_has_role(relowner, 'USAGE')
        OR has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE') OR has_any_column_privilege(oid, 'UPDATE')
    FROM pg_class WHERE oid IN ('records'::regclass, 'checkpoints'::regclass, 'payloads'::regclass) ORDER BY relname
    """
    for name, logged, changeable in execute(db, sql):
        if changeable:
            hint = "Let the gateway connect as mcpgw_gateway, or a role that is a member of it and of nothing more."
            raise ConfigError(
                f"the role {db.info.user} may change {name}, which are append-only", where="ledger.url", hint=hint
            )
        if not logged:
            raise ConfigError(f"the table {name} is not logged, so a crash of the server would empty it", where="ledger.url")
