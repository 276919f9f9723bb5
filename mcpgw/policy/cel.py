"""The expression language of rules: CEL (https://github.com/google/cel-spec) behind one small door.

Expressions are compiled and type-checked when the policy is built. Evaluation ends: CEL has no loops but macros over lists and
maps, whose steps the runtime counts (ten thousand), regular expressions are RE2's, linear in the text, and the data is
bounded by `plain`. The library's messages may quote payload, so none leaves this file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cel_expr_python import cel

from mcpgw.core.answers import answers_of, own_arguments
from mcpgw.core.model import (
    Call,
    Identity,
    Target,
)
from mcpgw.policy.plain import Unsuitable, plain

_STRING, _STRINGS = cel.Type.STRING, cel.Type.List(cel.Type.STRING)
_OBJECT = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)

VARIABLES: Mapping[str, cel.Type] = {
    "identity.subject": _STRING,
    "identity.issuer": _STRING,
    "identity.kind": _STRING,
    "identity.method": _STRING,
    "identity.client_id": _STRING,
    "identity.groups": _STRINGS,
    "identity.actors": _STRINGS,
    "identity.amr": _STRINGS,
    "identity.claims": _OBJECT,
    "tool.name": _STRING,
    "tool.server": _STRING,
    "tool.kind": _STRING,
    "tool.risk": _STRING,
    "tool.tags": _STRINGS,
    "tool.annotations": _OBJECT,
    "args": _OBJECT,
    "answers": _OBJECT,
    "now": cel.Type.TIMESTAMP,
}
"""Declared one by one, so that a misspelt `identity.groops` is found when the policy is built, not when a call comes."""

UNSUITABLE = "cannot look at"
"""In the reason of a denial where no rule could look at the data, however harmless the part of it that the rule reads."""
MAX_SOURCE = 10_000
"""Characters in an expression."""

_ENVIRONMENT = cel.NewEnv(variables=dict(VARIABLES))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OF_THE_CALL = re.compile(r"\b(args|answers|now)\b")
_MATCHES = re.compile(r"\bmatches\s*\(")
_PATTERN = re.compile(r"""\bmatches\s*\(\s*(r?"(?:[^"\\\n]|\\.)*"|r?'(?:[^'\\\n]|\\.)*')\s*\)""")
"""A call of `matches` whose pattern is written out."""
_COMPILE_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_MISSING = re.compile(r'Key not found in map : "([^"]*)"')
_NO_OVERLOAD = re.compile(r"No matching overloads found : ([\w<>=!+*/%&|?:\[\]@-]{1,20})\(([\w, ()]{0,60})\)")


class BadExpression(Exception):
    """An expression that does not compile; line and column count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class EvaluationError(Exception):
    """An expression that has no answer for this call. `str()` completes "it ..." and holds no payload."""


class CallerFacts:
    """What expressions see of a caller: made once for as many targets as are looked at for one caller."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._made: Mapping[str, Any] | None = None  # until something looks

    @property
    def values(self) -> Mapping[str, Any]:
        """Raises: Unsuitable: the claims are nothing that can be looked at."""
        if self._made is None:
            identity = self._identity
            self._made = _plain(
                {
                    "identity.subject": identity.subject,
                    "identity.issuer": identity.issuer,
                    "identity.kind": identity.kind.value,
                    "identity.method": identity.method,
                    "identity.client_id": identity.client_id,
                    "identity.groups": sorted(identity.groups),
                    "identity.actors": list(identity.actors),
                    "identity.amr": list(identity.amr),
                    "identity.claims": identity.claims,
                }
            )
        return self._made


class Facts:
    """What expressions see of one call: made once, shared by all rules, and only as far as some rule looks.

    Without a call only expressions that are not `about_call` may be asked.
    """

    def __init__(self, caller: CallerFacts, target: Target, call: Call | None) -> None:
        self._caller = caller
        self._target = target
        self._call = call
        self._made: dict[bool, cel.Activation | Unsuitable] = {}

    def activation(self, about_call: bool) -> cel.Activation:
        """Raises: Unsuitable: the claims, annotations or arguments are nothing that can be looked at."""
        made = self._made.get(about_call)
        if made is None:
            try:
                made = _ENVIRONMENT.Activation(self._values(about_call))
            except Unsuitable as error:
                made = error
            self._made[about_call] = made
        if isinstance(made, Unsuitable):
            raise made
        return made

    def _values(self, about_call: bool) -> dict[str, Any]:
        target = self._target
        of_target = {
            "tool.name": target.name,
            "tool.server": target.server,
            "tool.kind": target.kind.value,
            "tool.risk": target.risk.value,
            "tool.tags": sorted(target.tags),
            "tool.annotations": target.annotations,
        }
        values = {**self._caller.values, **_plain(of_target)}
        if about_call and self._call is not None:
            values["args"] = plain(own_arguments(self._call.arguments))
            values["answers"] = plain(answers_of(self._call.arguments).responses)
            values["now"] = _moment(self._call.received_ns)
        return values


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled condition."""

    source: str
    about_call: bool
    """It mentions `args`, `answers` or `now`; else it depends on caller and target alone, and is known before any call."""
    program: cel.Expression

    @classmethod
    def compile(cls, source: str) -> "Expression":
        """Raises: BadExpression: does not parse, names an unknown variable, or cannot be true or false."""
        if len(source) > MAX_SOURCE:
            raise BadExpression(f"the expression is longer than {MAX_SOURCE} characters", 1, 1)
        try:
            program = _ENVIRONMENT.compile(source)
        except RuntimeError as error:
            raise _bad(str(error)) from None
        if program.return_type() not in (cel.Type.BOOL, cel.Type.DYN):
            raise BadExpression(f"the expression is a {program.return_type().name()}, not true or false", 1, 1)
        for call in _MATCHES.finditer(source):
            _check_pattern(source, call.start())
        return cls(source, bool(_OF_THE_CALL.search(source)), program)

    def holds(self, facts: Facts) -> bool:
        """Raises: EvaluationError: a field is missing, a type does not fit, or the data is nothing that can be looked at."""
        try:
            value = self.program.eval(facts.activation(self.about_call))
        except Unsuitable as error:
            raise EvaluationError(f"{UNSUITABLE} {error}") from None
        except RuntimeError as error:
            raise EvaluationError(_problem(str(error), self.source)) from None
        if value.type() == cel.Type.ERROR:
            raise EvaluationError(_problem(str(value.value()), self.source))
        if value.type() != cel.Type.BOOL:
            raise EvaluationError(f"is a {value.type().name()}, not true or false")
        return value.value() is True


def _moment(received_ns: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=received_ns // 1000)
    except OverflowError:
        raise Unsuitable("a time of arrival beyond the calendar") from None


def _bad(message: str) -> BadExpression:
    found = _COMPILE_ERROR.search(message)
    if not found:
        return BadExpression("the expression is nested too deeply", 1, 1)
    line, column, what = found.groups()
    what = re.sub(r"mismatched input '<EOF>'.*", "it ends too early", what)
    what = re.sub(r" expecting \{.*", "", what)  # all tokens of the grammar
    return BadExpression(what.removesuffix(" [INVALID_ARGUMENT]").replace(" (in container '')", ""), int(line), int(column))


def _check_pattern(source: str, start: int) -> None:
    """A broken pattern would deny every call that it is asked about, and one from the caller is the caller's work to run."""
    line, column = source.count("\n", 0, start) + 1, start - source.rfind("\n", 0, start)
    found = _PATTERN.match(source, start)
    if not found:
        raise BadExpression("the pattern of `matches` must be a text in quotes", line, column)
    if _ENVIRONMENT.compile(f"''.matches({found[1]})").eval(data={}).type() == cel.Type.ERROR:
        raise BadExpression("not a regular expression of RE2 (no backreferences, no lookaround)", line, column)


def _problem(message: str, source: str) -> str:
    """Say what the runtime complains of, in words that hold nothing but types and names from the expression itself."""
    if found := _MISSING.search(message):
        # A key may come from the payload (`args[args.key]`); one that is written in the expression may be named.
        named = re.search(rf"\b{re.escape(found[1])}\b", source) if found[1] else None
        return f"looks at {found[1]!r}, which is not there" if named else "looks at a key that is not there"
    if found := _NO_OVERLOAD.search(message):
        return f"cannot use {found[1].strip('_@')} on ({found[2]})"
    if "Iteration budget exceeded" in message:
        return "takes too many steps"
    return "cannot be evaluated"
