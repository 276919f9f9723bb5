"""Reading SQL: what a text would do to a database, as far as can be told without one.

`read` parses the whole text with sqlglot and says which kinds of statement stand anywhere in it, and which tables, columns and
functions they name. Where it cannot know, it says so (`opaque`) or raises `Unreadable`; it never guesses in favour of the text.

Two things guard against a parser that differs from the database. Words that begin a statement count wherever they stand outside
quotes, even if the parser took them for a name (in T-SQL `SELECT 1 DELETE FROM t` is two statements). And comments that one
database runs or ends differently from another are refused. It remains a reading: see docs/policy.md for what it cannot see.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from sqlglot import Token, TokenType, exp

from mcpgw.policy.glob import Glob
from mcpgw.policy.sql_parser import Unreadable, parse

_KINDS: tuple[tuple[type[exp.Expr], str], ...] = (
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
    sorted({kind for _, kind in _KINDS} | {"call", "do", "execute", "explain", "function", "select", "unknown", "vacuum"})
)
"""Kinds that a rule may name. `function` is a call with effects of its own; `unknown` is what the parser does not know."""

_VERBS = {
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
}
_ALSO_FUNCTIONS = {"INSERT", "TRUNCATE"}
"""`INSERT(text, ...)` and `TRUNCATE(number, ...)` are harmless functions of MySQL."""
_PART_OF_A_CLAUSE = {"ON", "DO", "THEN"}
"""`ON DELETE CASCADE`, `DO UPDATE SET`, `WHEN MATCHED THEN DELETE`: the verb belongs to the statement around it."""
_LOCKING = {"FOR", "KEY"}
"""`FOR UPDATE`, `FOR NO KEY UPDATE`: a lock, which the tree shows."""

_WRITTEN: tuple[tuple[type[exp.Expr], tuple[str, ...]], ...] = (
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

_ROUTINES = {"FUNCTION", "PROCEDURE", "TRIGGER"}
"""CREATE of these carries a body that runs later."""

_SIDE_EFFECTS = tuple(
    Glob.of(name)
    for name in (
        # SQLite
        *("load_extension", "writefile", "readfile", "edit", "fts3_tokenizer"),
        # PostgreSQL: files, large objects, other sessions, other servers, sequences, settings, SQL in strings
        *("pg_read_*", "pg_ls_*", "pg_stat_file", "pg_file_*", "lo_*", "pg_sleep*", "pg_terminate_*", "pg_cancel_*"),
        *("pg_reload_*", "pg_rotate_*", "pg_switch_*", "pg_create_*", "pg_drop_*", "pg_promote", "pg_*advisory*", "pg_notify"),
        *(
            "dblink*",
            "nextval",
            "setval",
            "set_config",
            "query_to_*",
            "cursor_to_*",
            "table_to_*",
            "database_to_*",
            "schema_to_*",
        ),
        # MySQL
        *("load_file", "sleep", "benchmark", "get_lock", "release_*lock*", "sys_exec", "sys_eval"),
        # SQL Server
        *("openrowset", "opendatasource", "openquery", "xp_*", "sp_*"),
        # Oracle
        *("utl_*", "dbms_*"),
        # DuckDB, ClickHouse: files and addresses as tables
        *("read_*", "parquet_scan", "sniff_csv", "glob", "query", "query_table", "file", "url", "s3", "remote*", "executable"),
    )
)
"""Functions that read or write outside of the tables, run SQL from a string, or act on the server."""

_EXPLAIN_OPTION = re.compile(r"\s*(?:\([^()]*\)|(?:query\s+plan|plan\s+for|analy[sz]e|verbose|extended|for)\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a SQL text holds. Names are in lower case."""

    kinds: frozenset[str]
    opaque: frozenset[str]
    """Those of `kinds` whose effects cannot be seen: procedures, dynamic SQL, commands that only the database knows."""
    tables: frozenset[tuple[str, ...]]
    """Tables named anywhere, qualified as in the text: `("main", "accounts")`. Names from WITH are among them."""
    written: frozenset[tuple[str, ...]]
    columns: frozenset[str]
    """Every identifier of the text; a name too many does no harm."""
    every_column: bool
    """`*`, a row as a whole, or an INSERT that does not say into which columns."""
    functions: frozenset[str]
    without_where: bool


def read(text: str, dialect: str) -> Reading:
    """Return what the SQL holds, in time linear in its length.

    Raises:
        Unreadable: too long, not SQL, empty, or written so that databases differ over it.
    """
    return _read(text, dialect, _read_command)


def _read(text: str, dialect: str, on_command: Callable[[exp.Command, str], Reading]) -> Reading:
    roots, tokens = parse(text, dialect)
    if not roots:
        raise Unreadable("holds no statement")
    readings = [on_command(root, dialect) if isinstance(root, exp.Command) else _read_statement(root) for root in roots]
    kinds = frozenset(kind for reading in readings for kind in reading.kinds)
    kinds, unseen = _read_words(tokens, kinds)
    return _merge(readings, kinds, unseen)


def _read_statement(root: exp.Expr) -> Reading:
    nodes = list(root.walk())
    functions = frozenset(_function_names(nodes))
    kinds = {kind for node in nodes for kind in _kinds_of(node)}
    opaque = {"function"} if any(_has_effects(name) for name in functions) else set()
    if isinstance(root, (exp.Query, exp.Values)):
        kinds.add("select")
    elif not any(isinstance(root, known) for known, _ in _KINDS):
        opaque.add("unknown")
    for node in nodes:
        opaque |= _hidden_in(node)
    return Reading(
        kinds=frozenset(kinds | opaque),
        opaque=frozenset(opaque),
        tables=frozenset(_table_names(nodes)),
        written=frozenset(_written_names(nodes)),
        columns=frozenset(node.name.lower() for node in nodes if isinstance(node, exp.Identifier)),
        every_column=_takes_every_column(nodes),
        functions=functions,
        without_where=any(_is_boundless(node) for node in nodes),
    )


def _read_command(command: exp.Command, dialect: str) -> Reading:
    """Look into the commands that wrap a statement; the parser leaves their text alone. Others remain opaque."""
    word = command.name.upper()
    rest = str(command.expression.name if isinstance(command.expression, exp.Expr) else command.expression or "")
    if word == "EXPLAIN":
        while option := _EXPLAIN_OPTION.match(rest):
            rest = rest[option.end() :]
        # It counts as the statement that it explains: EXPLAIN ANALYZE executes it.
        return _read_wrapped(rest, dialect, "explain")
    if word == "REPLACE":
        return _read_wrapped(f"INSERT {rest}", dialect, "insert")
    kind = word.lower() if word.lower() in STATEMENTS else "unknown"
    return replace(_NOTHING, kinds=frozenset({kind}), opaque=frozenset({kind}))


def _read_wrapped(text: str, dialect: str, kind: str) -> Reading:
    inner = _read(text, dialect, _refuse_command)
    return replace(inner, kinds=inner.kinds | {kind})


def _refuse_command(_command: exp.Command, _dialect: str) -> Reading:
    """One wrapping is looked through, so that a text cannot make this recurse."""
    raise Unreadable("hides a command in a command")


def _read_words(tokens: list[Token], seen: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the kinds with those that unquoted words add, and those of them that the tree does not know of."""
    kinds, unseen = set(seen), set[str]()
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        word = token.text.upper()
        kind = _VERBS.get(word)
        if kind is None or token.token_type in _QUOTED:
            continue
        previous = before.text.upper() if before else ""
        if previous in _LOCKING or (word in _ALSO_FUNCTIONS and after and after.token_type == TokenType.L_PAREN):
            continue
        kinds.add(kind)
        if kind not in seen and previous not in _PART_OF_A_CLAUSE:
            unseen.add(kind)
    return frozenset(kinds), frozenset(unseen)


def _merge(readings: list[Reading], kinds: frozenset[str], unseen: frozenset[str]) -> Reading:
    return Reading(
        kinds=kinds,
        opaque=unseen.union(*(reading.opaque for reading in readings)),
        tables=frozenset[tuple[str, ...]]().union(*(reading.tables for reading in readings)),
        written=frozenset[tuple[str, ...]]().union(*(reading.written for reading in readings)),
        columns=frozenset[str]().union(*(reading.columns for reading in readings)),
        every_column=any(reading.every_column for reading in readings),
        functions=frozenset[str]().union(*(reading.functions for reading in readings)),
        without_where=any(reading.without_where for reading in readings),
    )


def _kinds_of(node: exp.Expr) -> Iterator[str]:
    return (kind for known, kind in _KINDS if isinstance(node, known))


def _hidden_in(node: exp.Expr) -> set[str]:
    """Return the opaque kinds that a node stands for: a command below the root, a routine's body."""
    if isinstance(node, exp.Command):
        return {"unknown"}
    if isinstance(node, exp.Create) and str(node.args.get("kind", "")).upper() in _ROUTINES:
        return {"create"}
    return set()


def _function_names(nodes: Iterable[exp.Expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, exp.Anonymous):
            yield node.name.lower()
        elif isinstance(node, exp.Func):
            yield from (name.lower() for name in node.sql_names())


def _has_effects(function: str) -> bool:
    return any(pattern.matches(function) for pattern in _SIDE_EFFECTS)


def _table_names(nodes: Iterable[exp.Expr]) -> Iterator[tuple[str, ...]]:
    for node in nodes:
        if isinstance(node, exp.Table) and node.name:
            yield tuple(part.name.lower() for part in node.parts)


def _written_names(nodes: Iterable[exp.Expr]) -> Iterator[tuple[str, ...]]:
    for node in nodes:
        for known, places in _WRITTEN:
            if isinstance(node, known):
                for place in places:
                    yield from _table_names(_below(node.args.get(place)))


def _below(value: object) -> Iterator[exp.Expr]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, exp.Expr):
            yield from item.walk()


def _takes_every_column(nodes: list[exp.Expr]) -> bool:
    """Find `*` outside of COUNT(*), INSERT without columns, and whole rows: `SELECT row_to_json(c) FROM customers c`."""
    rows = {node.alias_or_name.lower() for node in nodes if isinstance(node, exp.Table)}
    for node in nodes:
        if isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count):
            return True
        if isinstance(node, exp.Insert) and not isinstance(node.this, exp.Schema):
            return True
        if isinstance(node, exp.Column) and not node.table and node.name.lower() in rows:
            return True
    return False


def _is_boundless(node: exp.Expr) -> bool:
    if not isinstance(node, (exp.Update, exp.Delete)):
        return False
    where = node.args.get("where")
    # A condition that looks at no column says the same of every row: `WHERE 1 = 1`.
    return where is None or next(where.find_all(exp.Column), None) is None


_QUOTED = {
    TokenType.STRING,
    TokenType.IDENTIFIER,
    TokenType.RAW_STRING,
    TokenType.HEREDOC_STRING,
    TokenType.NATIONAL_STRING,
    TokenType.UNICODE_STRING,
    TokenType.BYTE_STRING,
}
_NOTHING = Reading(
    kinds=frozenset(),
    opaque=frozenset(),
    tables=frozenset(),
    written=frozenset(),
    columns=frozenset(),
    every_column=False,
    functions=frozenset(),
    without_where=False,
)
