"""Reading SQL: what a text would do to a database, as far as can be told without one.

`read` parses the whole text with sqlglot and says which kinds of statement stand anywhere in it, and which tables, columns and
functions they name. Where it cannot know, it says so (`opaque`) or raises `Unreadable`; it never guesses in favour of the text.

Two things guard against a parser that differs from the database. Words that begin a statement count wherever they stand outside
quotes, even if the parser took them for a name (in T-SQL `SELECT 1 DELETE FROM t` is two statements). And comments that one
database runs or ends differently from another are refused. It remains a reading: see docs/policy.md for what it cannot see.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from sqlglot import Token, TokenType, exp

from mcpgw.policy.sql_parser import Unreadable, parse
from mcpgw.policy.sql_words import (
    ALSO_FUNCTIONS,
    EXPLAIN_OPTION,
    HARMLESS,
    KINDS,
    LOCKING,
    OPAQUE_COMMANDS,
    PART_OF_A_CLAUSE,
    QUOTED,
    ROUTINES,
    SIDE_EFFECTS,
    VERBS,
    WRITTEN,
)


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
    elif not any(isinstance(root, known) for known, _ in KINDS):
        opaque.add("unknown")
    for node in nodes:
        opaque |= _hidden_in(node)
    if any(_is_external(node) for node in nodes):
        kinds.add("file")
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
        while option := EXPLAIN_OPTION.match(rest):
            rest = rest[option.end() :]
        # It counts as the statement that it explains: EXPLAIN ANALYZE executes it.
        return _read_wrapped(rest, dialect, "explain")
    if word == "REPLACE":
        return _read_wrapped(f"INSERT {rest}", dialect, "insert")
    kind = word.lower() if word.lower() in OPAQUE_COMMANDS else "unknown"
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
        kind = VERBS.get(word)
        if kind is None or token.token_type in QUOTED:
            continue
        previous = before.text.upper() if before else ""
        if previous in LOCKING or (word in ALSO_FUNCTIONS and after and after.token_type == TokenType.L_PAREN):
            continue
        kinds.add(kind)
        if kind not in seen and previous not in PART_OF_A_CLAUSE:
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
    return (kind for known, kind in KINDS if isinstance(node, known))


def _hidden_in(node: exp.Expr) -> set[str]:
    """Return the opaque kinds that a node stands for: a command below the root, a routine's body."""
    if isinstance(node, exp.Command):
        return {"unknown"}
    if isinstance(node, exp.Create) and str(node.args.get("kind", "")).upper() in ROUTINES:
        return {"create"}
    return set()


def _is_external(node: exp.Expr) -> bool:
    """A table whose name is a path or an address: DuckDB reads `FROM 's3://bucket/file.parquet'`."""
    return isinstance(node, exp.Table) and any(mark in part.name for part in node.parts for mark in "/\\:.")


def _function_names(nodes: Iterable[exp.Expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Func):
            # The package counts as well: `utl_http.request(...)`.
            yield from (part.name.lower() for part in node.this.find_all(exp.Identifier))
        if isinstance(node, exp.Anonymous):
            yield node.name.lower()
        elif isinstance(node, exp.Func):
            yield from (name.lower() for name in node.sql_names())


def _has_effects(function: str) -> bool:
    harmless = any(pattern.matches(function) for pattern in HARMLESS)
    return not harmless and any(pattern.matches(function) for pattern in SIDE_EFFECTS)


def _table_names(nodes: Iterable[exp.Expr]) -> Iterator[tuple[str, ...]]:
    for node in nodes:
        if isinstance(node, exp.Table) and node.name:
            yield tuple(part.name.lower() for part in node.parts)


def _written_names(nodes: Iterable[exp.Expr]) -> Iterator[tuple[str, ...]]:
    for node in nodes:
        for known, places in WRITTEN:
            if isinstance(node, known):
                for place in places:
                    yield from _table_names(_below(node.args.get(place)))


def _below(value: object) -> Iterator[exp.Expr]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, exp.Expr):
            yield from item.walk()


def _takes_every_column(nodes: list[exp.Expr]) -> bool:
    """Find columns that are taken without being named, by `*` outside of COUNT(*) or in one of the ways below."""
    rows = {node.alias_or_name.lower() for node in nodes if isinstance(node, exp.Table)}
    return any(_takes_unnamed(node, rows) for node in nodes)


def _takes_unnamed(node: exp.Expr, rows: set[str]) -> bool:
    match node:
        case exp.Star():
            return not isinstance(node.parent, exp.Count)
        case exp.Insert() | exp.Copy():  # INSERT INTO t VALUES ..., COPY t TO ...
            return not isinstance(node.this, exp.Schema)
        case exp.TableAlias():  # FROM customers AS c(a, b): columns under new names
            return bool(node.columns)
        case exp.Column():  # SELECT row_to_json(c) FROM customers c: the row as a whole
            return not node.table and node.name.lower() in rows
        case _:
            return False


def _is_boundless(node: exp.Expr) -> bool:
    if not isinstance(node, (exp.Update, exp.Delete)):
        return False
    where = node.args.get("where")
    # A condition that looks at no column says the same of every row: `WHERE 1 = 1`.
    return where is None or next(where.find_all(exp.Column), None) is None


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
