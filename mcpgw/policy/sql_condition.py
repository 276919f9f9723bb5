"""A rule's SQL condition, checked when the policy is built and asked for each call."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mcpgw.core.model import Json, JsonObject
from mcpgw.policy.config import Effect, SqlCondition
from mcpgw.policy.glob import Glob
from mcpgw.policy.sql import Reading, read
from mcpgw.policy.sql_parser import DIALECTS, Unreadable
from mcpgw.policy.sql_words import STATEMENTS
from mcpgw.policy.wording import Mistake, did_you_mean


class SqlError(Exception):
    """The condition has no answer for this call. `str()` completes "it ..." and holds no payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlCheck:
    """A condition that is ready to ask. See `SqlCondition` for what it means in which rule."""

    condition: SqlCondition
    effect: Effect
    tables: tuple[tuple[Glob, ...], ...]
    write_tables: tuple[tuple[Glob, ...], ...]
    columns: frozenset[str]
    functions: tuple[Glob, ...]

    @classmethod
    def of(cls, condition: SqlCondition, effect: Effect) -> "SqlCheck":
        """Raises: Mistake: says at which key, and what to do."""
        if not condition.argument:
            raise Mistake("sql.argument", "is empty", "Name the argument that holds the SQL.")
        if condition.dialect not in DIALECTS:
            hint = did_you_mean(condition.dialect, DIALECTS) or f"Choose one of: {', '.join(DIALECTS)}."
            raise Mistake("sql.dialect", f"{condition.dialect!r} is not a SQL dialect", hint)
        for key, kinds in (("statements", condition.statements), ("allow_only", condition.allow_only)):
            for kind in kinds:
                if kind not in STATEMENTS:
                    hint = did_you_mean(kind, STATEMENTS) or f"Choose from: {', '.join(STATEMENTS)}."
                    raise Mistake(f"sql.{key}", f"{kind!r} is not a kind of statement", hint)
        _check_criteria(condition, effect)
        return cls(
            condition=condition,
            effect=effect,
            tables=_table_globs("sql.tables", condition.tables),
            write_tables=_table_globs("sql.write_tables", condition.write_tables),
            columns=frozenset(name.lower() for name in condition.columns),
            functions=tuple(_glob("sql.functions", name) for name in condition.functions),
        )

    @property
    def argument(self) -> str:
        """The name of the argument that the SQL is in, be it deep in it."""
        return self.condition.argument.partition(".")[0]

    def holds(self, arguments: JsonObject) -> tuple[bool, str]:
        """Return whether it matches, and why in words without payload.

        Raises:
            SqlError: the argument is missing or no text, or its SQL cannot be understood.
        """
        try:
            reading = read(_text_at(arguments, self.condition.argument), self.condition.dialect)
        except Unreadable as error:
            raise SqlError(f"cannot judge its SQL, which {error}") from None
        finds = tuple(self._finds(reading))
        if self.effect is Effect.ALLOW:
            return not finds, finds[0] if finds else f"the SQL is only {_listed(reading.kinds)}"
        if finds:
            return True, finds[0]
        named = frozenset(self.condition.allow_only)
        unseen = reading.opaque if self._looks_inside else reading.opaque - named
        if unseen:
            raise SqlError(f"cannot judge its SQL, whose effects cannot be seen ({_listed(unseen)})")
        return False, f"the SQL is {_listed(reading.kinds)}"

    @property
    def _looks_inside(self) -> bool:
        """Some criterion asks for more than kinds, which an opaque statement does not tell even where its kind is fine."""
        condition = self.condition
        inside = condition.tables or condition.write_tables or condition.columns or condition.functions
        return bool(inside or condition.without_where or condition.statements)

    def _finds(self, reading: Reading) -> Iterator[str]:
        condition = self.condition
        if found := reading.kinds & set(condition.statements):
            yield f"the SQL holds {_listed(found)}"
        if condition.allow_only and (other := reading.kinds - set(condition.allow_only)):
            yield f"the SQL is more than {_listed(condition.allow_only)}: {_listed(other)}"
        if any(_names(glob, table) for glob in self.tables for table in reading.tables):
            yield "the SQL uses a table of `tables`"
        if any(_names(glob, table) for glob in self.write_tables for table in reading.written):
            yield "the SQL writes a table of `write_tables`"
        if self.columns and (reading.every_column or self.columns & reading.columns):
            yield "the SQL uses a column of `columns`"
        if any(glob.matches(name) for glob in self.functions for name in reading.functions):
            yield "the SQL calls a function of `functions`"
        if condition.without_where and reading.without_where:
            yield "the SQL changes every row of a table"


def _check_criteria(condition: SqlCondition, effect: Effect) -> None:
    hazards = {
        "statements": condition.statements,
        "tables": condition.tables,
        "write_tables": condition.write_tables,
        "columns": condition.columns,
        "functions": condition.functions,
        "without_where": condition.without_where,
    }
    given = [key for key, value in hazards.items() if value]
    if effect is Effect.ALLOW:
        if given:
            hint = "An allow rule takes `allow_only`; write a deny or hold rule for what must not happen."
            raise Mistake(f"sql.{given[0]}", "finds what is dangerous, so an allow rule cannot use it", hint)
        if not condition.allow_only:
            raise Mistake("sql", "has no `allow_only`", 'Say which statements are fine: allow_only = ["select"].')
    elif not given and not condition.allow_only:
        raise Mistake("sql", "has no criterion", 'Say what to look for: statements = ["drop"].')


def _glob(key: str, text: str) -> Glob:
    try:
        return Glob.of(text.lower())
    except ValueError as error:
        raise Mistake(key, str(error), "") from None


def _table_globs(key: str, names: tuple[str, ...]) -> tuple[tuple[Glob, ...], ...]:
    return tuple(tuple(_glob(key, part) for part in name.split(".")) for name in names)


def _names(globs: tuple[Glob, ...], table: tuple[str, ...]) -> bool:
    """Compare from the right, as far as both are qualified: which schema an unqualified name means is not known here."""
    return all(glob.matches(part) for glob, part in zip(reversed(globs), reversed(table), strict=False))


def _text_at(arguments: JsonObject, path: str) -> str:
    value: Json = arguments
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise SqlError(f"looks at the SQL in {path!r}, which is not there")
        value = value[key]
    if not isinstance(value, str):
        raise SqlError(f"looks at the SQL in {path!r}, which is no text")
    return value


def _listed(kinds: frozenset[str] | tuple[str, ...]) -> str:
    return ", ".join(sorted(kinds))
