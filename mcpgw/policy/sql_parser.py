"""A SQL parser that ends: sqlglot's, with bounds on text, words and steps, and with its log kept free of payload."""

from functools import cache

from sqlglot import Token, exp
from sqlglot.dialects.dialect import Dialect, Dialects
from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.parser import Parser

MAX_CHARACTERS = 20_000
MAX_TOKENS = 4_000
MAX_STATEMENTS = 100
FUEL_PER_TOKEN, FUEL_RESERVE = 4, 300
"""Steps that the parser may take. Real queries take about 1.1 per token, but some 150 hostile characters keep an unbounded
parser busy for minutes: nested type names make it try both branches at every level."""

DIALECTS = tuple(sorted(dialect.value for dialect in Dialects if dialect.value))


class Unreadable(Exception):
    """SQL that cannot be understood. `str()` completes "the SQL ..." and holds nothing of it."""


def parse(text: str, dialect: str) -> tuple[list[exp.Expr], list[Token]]:
    """Return the statements, without empty ones, and the words that they were made of.

    Raises:
        Unreadable: too long, not SQL, or written so that databases differ over it.
    """
    if len(text) > MAX_CHARACTERS:
        raise Unreadable(f"is longer than {MAX_CHARACTERS} characters")
    if "\0" in text:
        raise Unreadable("holds a NUL character, at which some databases stop reading")
    grammar = Dialect.get_or_raise(dialect)
    try:
        tokens = grammar.tokenize(text)
        _check_tokens(tokens)
        parser = _parser_class(type(grammar).parser_class)(dialect=grammar, error_level=ErrorLevel.IMMEDIATE)
        parser.fuel = FUEL_RESERVE + FUEL_PER_TOKEN * len(tokens)
        roots = parser.parse(tokens, text)
    except Unreadable:
        raise
    except SqlglotError:
        raise Unreadable("cannot be parsed") from None
    except Exception:
        # Hostile text makes a large parser fail in any way, RecursionError among them. All mean the same: not understood.
        raise Unreadable("cannot be parsed") from None
    statements = [root for root in roots if root is not None and not isinstance(root, exp.Semicolon)]
    if len(statements) > MAX_STATEMENTS:
        raise Unreadable(f"is more than {MAX_STATEMENTS} statements")
    return statements, tokens


def _check_tokens(tokens: list[Token]) -> None:
    """Refuse comments and names over which databases and parser differ: one's comment is the other's statement."""
    if len(tokens) > MAX_TOKENS:
        raise Unreadable(f"is longer than {MAX_TOKENS} words")
    for comment in (comment for token in tokens for comment in token.comments):
        if "/*" in comment:
            raise Unreadable("holds a comment in a comment, which databases end at different places")
        if comment.startswith(("!", "M!")):
            raise Unreadable("holds a comment that MySQL would execute")
    for one, two, three in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if one.text.upper() == "U" and two.text == "&" and one.end + 2 == two.end + 1 == three.start:
            raise Unreadable("holds a name or text in Unicode escapes (U&), which the parser takes for arithmetic")


class _Frugal(Parser):
    """Stops when its fuel is spent, and keeps the text out of the log."""

    fuel = 0

    def _advance(self, times: int = 1) -> None:
        self.fuel -= 1
        if self.fuel < 0:
            # Not a `ParseError`: the parser catches those to try another branch.
            raise Unreadable("takes too many steps to parse")
        super()._advance(times)

    def _warn_unsupported(self) -> None:
        """The original logs the statement, which is payload."""


@cache
def _parser_class(base: type[Parser]) -> type[_Frugal]:
    return type(f"Frugal{base.__name__}", (_Frugal, base), {})
