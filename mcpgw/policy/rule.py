"""One rule, checked when the policy is built and asked for each call."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mcpgw.core.model import Identity, JsonObject, Target
from mcpgw.policy.cel import VARIABLES, BadExpression, EvaluationError, Expression, Facts
from mcpgw.policy.config import Defaults, Effect, Rule
from mcpgw.policy.glob import Glob
from mcpgw.policy.members import Member, looks_like_member, parse_member
from mcpgw.policy.sql_condition import SqlCheck, SqlError
from mcpgw.policy.wording import Mistake, did_you_mean, known_names

RISK_RULE = "risk.high"
"""Id of the built-in rule that holds every call of a target with `risk = "high"`."""
DENY_BY_DEFAULT = "default.deny"
"""Id in the ruling on a call that no role grants, and on a name that nobody publishes."""
ERROR_RULE = "policy.error"
"""Id in the ruling on a call over which the policy itself failed."""
RESERVED = frozenset({RISK_RULE, DENY_BY_DEFAULT, ERROR_RULE})

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_WAIT_S = 30 * 86_400.0
"""A held call that nobody looked at for a month is not waited for."""


class Outcome(StrEnum):
    MATCHED = "matched"
    NOT_MATCHED = "not matched"
    ERROR = "error"
    """The condition has no answer: deny and hold rules then deny, allow rules do not match."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one rule says of one call. `why` holds no payload."""

    rule_id: str
    effect: Effect
    outcome: Outcome
    why: str
    whatever_the_arguments: bool = False
    """The outcome depends on caller and target alone."""

    @property
    def denies(self) -> bool:
        failed = self.outcome is Outcome.ERROR and self.effect is not Effect.ALLOW
        return failed or (self.outcome is Outcome.MATCHED and self.effect is Effect.DENY)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """A rule that is ready to judge."""

    rule: Rule
    tools: tuple[Glob, ...]
    members: tuple[Member, ...]
    """Empty: everybody."""
    when: Expression | None
    sql: SqlCheck | None
    approvers: tuple[str, ...]
    quorum: int
    deadline_s: float

    @property
    def known_before_the_call(self) -> bool:
        return self.sql is None and (self.when is None or not self.when.about_call)

    @property
    def reason(self) -> str:
        return self.rule.reason or f"Rule {self.rule.id} {_VERB[self.rule.effect]} this call."

    def judge(self, identity: Identity, target: Target, arguments: JsonObject, facts: Facts) -> Finding:
        """Say whether the rule matches. Never raises."""
        if why := self._not_about(identity, target):
            return self._finding(Outcome.NOT_MATCHED, why)
        try:
            if self.when is not None and not self.when.holds(facts):
                return self._finding(Outcome.NOT_MATCHED, "`when` is false")
            if self.sql is None:
                return self._finding(Outcome.MATCHED, "`when` is true" if self.when else "it is about this tool and caller")
            holds, why = self.sql.holds(arguments)
            return self._finding(Outcome.MATCHED if holds else Outcome.NOT_MATCHED, why)
        except (EvaluationError, SqlError) as error:
            return self._finding(Outcome.ERROR, f"it {error}")

    def fits(self, name: str) -> bool:
        """Tell whether `tools` has the published name."""
        return any(glob.matches(name) for glob in self.tools)

    def is_about(self, identity: Identity, target: Target) -> bool:
        return not self._not_about(identity, target)

    def _not_about(self, identity: Identity, target: Target) -> str:
        if not self.fits(target.name):
            return "it is about other tools"
        if self.members and not any(member.includes(identity) for member in self.members):
            return "it is about other callers"
        return ""

    def _finding(self, outcome: Outcome, why: str) -> Finding:
        return Finding(
            rule_id=self.rule.id,
            effect=self.rule.effect,
            outcome=outcome,
            why=why,
            whatever_the_arguments=self.known_before_the_call,
        )


@dataclass(frozen=True, slots=True)
class _Anybody:
    """`everyone` in a rule: unlike in a role, it means callers without a credential as well, or a denial would miss them."""

    def includes(self, _identity: Identity) -> bool:
        return True


def compile_rule(rule: Rule, roles: Mapping[str, tuple[Member, ...]], defaults: Defaults) -> CompiledRule:
    """Return the rule, ready.

    Raises:
        ConfigError: what is wrong, `where` is `rules.<id>.<key>`.
    """
    try:
        _check(rule)
        compiled = CompiledRule(
            rule=rule,
            tools=_tools(rule),
            members=tuple(member for entry in rule.roles for member in _members_of(entry, roles)),
            when=_when(rule),
            sql=SqlCheck.of(rule.sql, rule.effect) if rule.sql else None,
            approvers=rule.approvers or defaults.approvers,
            quorum=defaults.quorum if rule.quorum is None else rule.quorum,
            deadline_s=defaults.deadline_s if rule.deadline_s is None else rule.deadline_s,
        )
        if rule.effect is Effect.HOLD:
            check_desk(compiled.approvers, compiled.quorum, compiled.deadline_s)
            if not compiled.approvers:
                raise Mistake("approvers", "is empty here and in the defaults, so nobody could approve", "")
        return compiled
    except Mistake as mistake:
        raise mistake.at(f"rules.{rule.id}") from None


def check_desk(approvers: tuple[str, ...], quorum: int, deadline_s: float) -> None:
    """Refuse approvers, quorum and deadline under which nobody could ever approve.

    Raises:
        Mistake: which, and why.
    """
    for approver in approvers:
        form, _, name = approver.partition(":")
        if form not in {"user", "group"} or not name:
            raise Mistake("approvers", f"{approver!r} is neither user:NAME nor group:NAME", "")
    if quorum < 1:
        raise Mistake("quorum", "must be at least 1", "")
    only_users = all(approver.startswith("user:") for approver in approvers)
    if approvers and only_users and quorum > len(set(approvers)):
        raise Mistake("quorum", f"is {quorum}, but there are only {len(set(approvers))} approvers", "")
    if not (math.isfinite(deadline_s) and 0 < deadline_s <= _LONGEST_WAIT_S):
        raise Mistake("deadline", "must be more than nothing and at most 30 days", 'Write deadline = "1h".')


def _check(rule: Rule) -> None:
    if not _ID.fullmatch(rule.id) or rule.id in RESERVED:
        raise Mistake("id", "is reserved or not made of letters, digits, '.', '_' and '-'", "")
    if rule.lifts_risk and rule.effect is not Effect.ALLOW:
        raise Mistake("lifts_risk", "means something for allow rules only", "")
    for_the_desk = {
        "approvers": bool(rule.approvers),
        "quorum": rule.quorum is not None,
        "deadline": rule.deadline_s is not None,
    }
    for key, given in for_the_desk.items():
        if given and rule.effect is not Effect.HOLD:
            raise Mistake(key, "means something for hold rules only", 'Remove it, or write effect = "hold".')


def _tools(rule: Rule) -> tuple[Glob, ...]:
    if not rule.tools:
        raise Mistake("tools", "is empty, so the rule is about nothing", 'Write tools = ["*"] for all.')
    try:
        globs = tuple(Glob.of(text) for text in rule.tools)
    except ValueError as error:
        raise Mistake("tools", str(error), "") from None
    if rule.lifts_risk and not all(glob.exact for glob in globs):
        raise Mistake("tools", "has a wildcard, but risk is lifted tool by tool", "Write the names out.")
    return globs


def _members_of(entry: str, roles: Mapping[str, tuple[Member, ...]]) -> tuple[Member, ...]:
    if entry == "everyone":
        return (_Anybody(),)
    if entry in roles:
        return roles[entry]
    if looks_like_member(entry):
        try:
            return (parse_member(entry),)
        except ValueError as error:
            raise Mistake("roles", str(error), "") from None
    raise Mistake("roles", f"there is no role {entry!r}", did_you_mean(entry, roles) or known_names("roles", roles))


def _when(rule: Rule) -> Expression | None:
    if not rule.when:
        return None
    try:
        return Expression.compile(rule.when)
    except BadExpression as error:
        unknown = re.search(r"undeclared reference to '([\w.]+)'", str(error))
        hint = did_you_mean(unknown[1], VARIABLES) or known_names("variables", VARIABLES) if unknown else ""
        raise Mistake("when", f"line {error.line}, column {error.column}: {error}", hint) from None


_VERB = {Effect.DENY: "denies", Effect.HOLD: "holds", Effect.ALLOW: "allows"}
