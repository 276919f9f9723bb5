"""What the reader of SQL knows of words and of the parser's tree: tables alone, no decisions."""

import re

from sqlglot import TokenType, exp

from mcpgw.policy.glob import Glob

KINDS: tuple[tuple[type[exp.Expr], str], ...] = (
    (exp.Insert, "insert"),
    (exp.Update, "update"),
    (exp.Delete, "delete"),
    (exp.Merge, "merge"),
    (exp.Create, "create"),
    (exp.Drop, "drop"),
    (exp.Alter, "alter"),
    (exp.TruncateTable, "truncate"),
    (exp.Grant, "grant"),
    (exp.Revoke, "revoke"),
    (exp.Into, "into"),
    (exp.Lock, "lock"),
    (exp.Copy, "copy"),
    (exp.LoadData, "load"),
    (exp.Export, "copy"),
    (exp.Put, "copy"),
    (exp.Get, "copy"),
    (exp.Pragma, "pragma"),
    (exp.Attach, "attach"),
    (exp.Detach, "detach"),
    (exp.Set, "set"),
    (exp.Use, "use"),
    (exp.Comment, "comment"),
    (exp.Show, "show"),
    (exp.Describe, "explain"),
    (exp.Analyze, "analyze"),
    (exp.Transaction, "transaction"),
    (exp.Commit, "transaction"),
    (exp.Rollback, "transaction"),
)
"""What a node of the tree makes of the text, wherever it stands: a DELETE inside a WITH is a delete."""

STATEMENTS = tuple(
    sorted({kind for _, kind in KINDS} | {"call", "do", "execute", "file", "function", "select", "unknown", "vacuum"})
)
"""Kinds that a rule may name. `function` is a call with effects of its own, `file` a table that is a file or an address,
`unknown` what the parser does not know."""

OPAQUE_COMMANDS = frozenset(STATEMENTS) - {"select"}
"""Commands that the parser did not look into keep their name, for `allow_only` to have them; but none passes for SELECT."""

VERBS = {
    "INSERT": "insert",
    "UPDATE": "update",
    "DELETE": "delete",
    "MERGE": "merge",
    "CREATE": "create",
    "DROP": "drop",
    "ALTER": "alter",
    "TRUNCATE": "truncate",
    "GRANT": "grant",
    "REVOKE": "revoke",
    "COPY": "copy",
    "ATTACH": "attach",
    "DETACH": "detach",
    "CALL": "call",
    "EXEC": "execute",
    "EXECUTE": "execute",
    # SQL Server's statements of one word, which pass for an alias at the end of a SELECT.
    "DBCC": "unknown",
    "DENY": "unknown",
    "RECONFIGURE": "unknown",
    "REVERT": "unknown",
    "SETUSER": "unknown",
    "SHUTDOWN": "unknown",
}
ALSO_FUNCTIONS = {"INSERT", "TRUNCATE"}
"""`INSERT(text, ...)` and `TRUNCATE(number, ...)` are harmless functions of MySQL."""
PART_OF_A_CLAUSE = {"ON", "DO", "THEN"}
"""`ON DELETE CASCADE`, `DO UPDATE SET`, `WHEN MATCHED THEN DELETE`: the verb belongs to the statement around it."""
LOCKING = {"FOR", "KEY"}
"""`FOR UPDATE`, `FOR NO KEY UPDATE`: a lock, which the tree shows."""

WRITTEN: tuple[tuple[type[exp.Expr], tuple[str, ...]], ...] = (
    (exp.Insert, ("this",)),
    (exp.Update, ("this",)),
    (exp.Delete, ("this", "tables")),
    (exp.Merge, ("this",)),
    (exp.Create, ("this",)),
    (exp.Drop, ("this", "tables")),
    (exp.Alter, ("this", "actions")),
    (exp.TruncateTable, ("expressions",)),
    (exp.Into, ("this",)),
    (exp.Copy, ("this",)),
)
"""Below which arguments of a node the tables stand that it writes."""

ROUTINES = {"FUNCTION", "PROCEDURE", "TRIGGER"}
"""CREATE of these carries a body that runs later."""

SIDE_EFFECTS = tuple(
    Glob.of(name)
    for name in (
        # SQLite
        *("load_extension", "writefile", "readfile", "edit", "fts3_tokenizer"),
        # PostgreSQL: its server's own functions, large objects, other servers, sequences, settings, SQL in strings
        *("pg_*", "lo_*", "dblink*", "nextval", "setval", "set_config"),
        *("query_to_*", "cursor_to_*", "table_to_*", "database_to_*", "schema_to_*"),
        *("ts_stat", "ts_rewrite", "crosstab*", "connectby", "xpath_table"),
        # MySQL
        *("load_file", "sleep", "benchmark", "get_lock", "release_*lock*", "sys_exec", "sys_eval"),
        # SQL Server
        *("openrowset", "opendatasource", "openquery", "xp_*", "sp_*"),
        # Oracle
        *("utl_*", "dbms_*", "*uritype"),
        # Snowflake
        "system$*",
        # DuckDB, ClickHouse: the environment; files and addresses as tables
        "getenv",
        *("read_*", "parquet_scan", "sniff_csv", "glob", "query", "query_table", "file", "url", "s3", "remote*", "executable"),
    )
)
"""Functions that read or write outside of the tables, run SQL from a string, or act on the server."""

HARMLESS = tuple(
    Glob.of(name)
    for name in ("pg_typeof", "pg_size_pretty", "pg_*_size", "pg_get_*", "pg_is_*", "pg_has_role", "pg_*_is_visible")
)
"""What PostgreSQL's own functions only tell; new ones of other names are not trusted."""

EXPLAIN_OPTION = re.compile(r"\s*(?:\([^()]*\)|(?:query\s+plan|plan\s+for|analy[sz]e|verbose|extended|for)\b)", re.IGNORECASE)

QUOTED = {
    TokenType.STRING,
    TokenType.IDENTIFIER,
    TokenType.RAW_STRING,
    TokenType.HEREDOC_STRING,
    TokenType.NATIONAL_STRING,
    TokenType.UNICODE_STRING,
    TokenType.BYTE_STRING,
}
"""Tokens whose text is not a word of the language."""
