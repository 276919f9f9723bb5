"""One rule, checked when the policy is built and asked for each call."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from mcpgw.core.allowance import DIGITS, MAX_CALLS, NO_GRANTS, GrantLimits
from mcpgw.core.model import (
    Identity,
    JsonObject,
    Target,
)
from mcpgw.core.terms import BreakGlass, Freshness, Level, Terms
from mcpgw.policy.cel import VARIABLES, BadExpression, EvaluationError, Expression, Facts
from mcpgw.policy.config import Defaults, Effect, Grants, Mode, Rule
from mcpgw.policy.hours import OpeningHours
from mcpgw.policy.members import Claim, Member, looks_like_member, parse_member
from mcpgw.policy.named import Named
from mcpgw.policy.quorum import check_entry, seats_of
from mcpgw.policy.sql_condition import SqlCheck, SqlError
from mcpgw.policy.unseen import Reads, Unseen, reads_of
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
NO_TERMS = Terms(levels=())
"""Of rules that hold nothing."""


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
    observed: bool = False
    """The rule is in `observe` mode: it decides nothing."""

    @property
    def would_be(self) -> Effect | None:
        """What the rule makes of the call, were it asked alone; None: nothing."""
        if self.denies:
            return Effect.DENY
        return self.effect if self.outcome is Outcome.MATCHED else None

    @property
    def denies(self) -> bool:
        failed = self.outcome is Outcome.ERROR and self.effect is not Effect.ALLOW
        return failed or (self.outcome is Outcome.MATCHED and self.effect is Effect.DENY)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """A rule that is ready to judge."""

    rule: Rule
    named: Named
    members: tuple[Member, ...]
    """Empty: everybody."""
    when: Expression | None
    sql: SqlCheck | None
    terms: Terms
    """Of a hold rule; without levels for all others."""
    hours: OpeningHours | None
    """None: there is always somebody to ask."""

    @property
    def is_observed(self) -> bool:
        return self.rule.mode is Mode.OBSERVE

    def terms_at(self, time_ns: int) -> Terms | str:
        """Return what people must do about a call that arrives then, or why nobody is there to be asked."""
        if self.hours is None or self.hours.are_open(time_ns):
            return self.terms
        if not self.hours.outside_ns:
            return f"{self.reason} People decide on it {self.hours.text}."
        first, *later = self.terms.levels
        return replace(self.terms, levels=(replace(first, lasts_ns=self.hours.outside_ns), *later))

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
                about = f"it is about this {target.kind.value} and caller"
                return self._finding(Outcome.MATCHED, "`when` is true" if self.when else about)
            holds, why = self.sql.holds(arguments)
            return self._finding(Outcome.MATCHED if holds else Outcome.NOT_MATCHED, why)
        except (EvaluationError, SqlError) as error:
            return self._finding(Outcome.ERROR, f"it {error}")

    def is_blind(self, unseen: Unseen) -> bool:
        """Tell whether it may have had another answer when what is unseen now was there."""
        read = [reads_of(self.when.source)] if self.when else []
        read += [Reads(arguments=frozenset({self.sql.argument}))] if self.sql else []
        read += [Reads(claims=True)] if any(isinstance(member, Claim) for member in self.members) else []
        return any(unseen.hides(one) for one in read)

    def fits(self, target: Target) -> bool:
        """Tell whether it names the target, or names nothing and so is about everything."""
        return bool(self.named.matching(target))

    def is_meant_for(self, target: Target) -> bool:
        """Tell whether it names the target, and one of the gateway's own by a pattern that means such."""
        return self.named.means(target)

    def looks_into(self, target: Target, others: Iterable[Target]) -> str:
        """Return the key by which it depends on a call of the target that it singles out: by a pattern that fits none of the
        others, or by name in `when`. Empty where it does neither."""
        if self.known_before_the_call:
            return ""
        if self.when is not None and re.search(rf"""tool\.name\s*==\s*["']{re.escape(target.name)}["']""", self.when.source):
            return "when"
        rest = [one for one in others if one.name != target.name]
        singled_out = any(not any(glob.matches(one.name) for one in rest) for glob in self.named.matching(target))
        return ("sql" if self.sql else "when") if singled_out else ""

    def is_about(self, identity: Identity, target: Target) -> bool:
        return not self._not_about(identity, target)

    def could_be_about(self, identity: Identity, target: Target) -> bool:
        """Tell the same of a caller whose claims may not be known."""
        by_claim = any(isinstance(member, Claim) for member in self.members)
        return self.fits(target) if by_claim else self.is_about(identity, target)

    def _not_about(self, identity: Identity, target: Target) -> str:
        if not self.fits(target):
            return f"it is about other {target.granted_as.value}s"
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
            observed=self.is_observed,
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
        holds = rule.effect is Effect.HOLD
        return CompiledRule(
            rule=rule,
            named=_named(rule),
            members=tuple(member for entry in rule.roles for member in members_of(entry, roles)),
            when=_when(rule),
            sql=SqlCheck.of(rule.sql, rule.effect) if rule.sql else None,
            terms=_terms(rule, defaults) if holds else NO_TERMS,
            hours=_hours(rule),
        )
    except Mistake as mistake:
        raise mistake.at(f"rules.{rule.id}") from None


def default_terms(defaults: Defaults) -> Terms:
    """Return what people must do where no rule says so; without levels, if nobody is named.

    Raises:
        Mistake: people, quorum, deadline or break-glass are such that nobody could ever approve.
    """
    for key, entries in (("admins", defaults.admins), ("break_glass.openers", defaults.openers)):
        for entry in entries:
            check_entry(key, entry)
    for entry in defaults.reviewers:
        check_entry("break_glass.reviewers", entry)
    if defaults.reviewers and not defaults.openers:
        raise Mistake("break_glass.openers", "is empty, so there is nothing to review", "Name at least two people, or a group.")
    glass = BreakGlass()
    if defaults.openers:
        _break_glass_seats(defaults.openers)
        glass = BreakGlass(openers=defaults.openers, lasts_ns=_ns(defaults.break_glass_s), reviewers=defaults.reviewers)
    _check_wait("break_glass.valid", defaults.break_glass_s)
    level = _level(defaults.quorum, defaults.approvers, defaults.deadline_s)
    return Terms(
        levels=(level,) if level.seats[0].of else (),
        break_glass=glass,
        admins=defaults.admins,
        grants=_grants("risk_grants", defaults.risk_grants),
    )


def _terms(rule: Rule, defaults: Defaults) -> Terms:
    common = default_terms(defaults)
    steps = [_step(rule, number) for number in range(len(rule.steps))]
    terms = Terms(
        levels=(_first_level(rule, defaults), *steps),
        comment_required=rule.comment_required,
        denial_settles=rule.denial_settles,
        freshness=Freshness(max_age_ns=_ns(rule.max_auth_age_s), acr=rule.acr, amr=rule.amr),
        break_glass=common.break_glass if rule.break_glass else BreakGlass(),
        admins=common.admins,
        unattended=rule.run_unattended,
        may_be_asked=rule.may_be_asked,
        grants=_grants("grants", rule.grants),
    )
    if terms.lasts_ns > _ns(_LONGEST_WAIT_S):
        raise Mistake("on_silence", "makes the call wait for more than 30 days in all", "")
    return terms


def _first_level(rule: Rule, defaults: Defaults) -> Level:
    deadline_s = defaults.deadline_s if rule.deadline_s is None else rule.deadline_s
    if isinstance(rule.quorum, str):
        return _level(rule.quorum, rule.approvers, deadline_s)
    quorum = defaults.quorum if rule.quorum is None else rule.quorum
    if rule.approvers and isinstance(quorum, str):
        raise Mistake("quorum", "is missing, and that of [approval] is about other people", "Write how many must approve.")
    if not rule.approvers and isinstance(quorum, str):
        return _level(quorum, (), deadline_s)
    level = _level(quorum, rule.approvers or defaults.approvers, deadline_s)
    if not level.seats[0].of:
        raise Mistake("approvers", "is empty here and in the defaults, so nobody could approve", "")
    return level


def _step(rule: Rule, number: int) -> Level:
    step, key = rule.steps[number], f"on_silence.{number}"
    try:
        level = _level(step.quorum, step.approvers, step.deadline_s)
        if not level.seats[0].of:
            raise Mistake("approvers", "is empty, so nobody could approve", "Name the people who are asked then.")
        return level
    except Mistake as mistake:
        raise Mistake(f"{key}.{mistake.key}", str(mistake), mistake.hint) from None


def _level(quorum: int | str, approvers: tuple[str, ...], deadline_s: float) -> Level:
    seats = seats_of(quorum, approvers)
    _check_wait("deadline", deadline_s)
    return Level(seats=seats, lasts_ns=_ns(deadline_s))


def _break_glass_seats(openers: tuple[str, ...]) -> None:
    try:
        seats_of(2, openers)
    except Mistake as mistake:
        raise Mistake("break_glass.openers", f"must be at least two people: the quorum {mistake}", mistake.hint) from None


def _check_wait(key: str, seconds: float) -> None:
    if not (math.isfinite(seconds) and 0 < seconds <= _LONGEST_WAIT_S):
        raise Mistake(key, "must be more than nothing and at most 30 days", f'Write {key.rpartition(".")[2]} = "1h".')


def _grants(key: str, given: Grants | None) -> GrantLimits:
    if given is None:
        return NO_GRANTS
    if not 0 < given.max_calls <= MAX_CALLS:
        raise Mistake(f"{key}.max_calls", f"must be between 1 and {MAX_CALLS}", "")
    _check_wait(f"{key}.max_for", given.max_for_s)
    limits = GrantLimits(max_calls=given.max_calls, lasts_ns=_ns(given.max_for_s))
    if len(given.max_total) > 1:
        raise Mistake(f"{key}.max_total", "names more than one argument", "Write max_total = { amount = 10000 }.")
    for argument, at_most in given.max_total.items():
        if not re.fullmatch(rf"[0-9]{{1,{DIGITS}}}(\.[0-9]{{1,{DIGITS}}})?", at_most, re.ASCII) or not at_most.strip("0."):
            raise Mistake(f"{key}.max_total", "must be a number above 0, of at most 18 digits", "")
        return replace(limits, total_of=argument, max_total=at_most)
    return limits


def _hours(rule: Rule) -> OpeningHours | None:
    if rule.hours is None:
        return None
    if rule.hours.outside_s:
        _check_wait("hours.outside", rule.hours.outside_s)
    return OpeningHours.of(rule.hours)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _check(rule: Rule) -> None:
    if not _ID.fullmatch(rule.id) or rule.id in RESERVED:
        raise Mistake("id", "is reserved or not made of letters, digits, '.', '_' and '-'", "")
    if rule.lifts_risk and rule.effect is not Effect.ALLOW:
        raise Mistake("lifts_risk", "means something for allow rules only", "")
    for_the_desk = {
        "approvers": bool(rule.approvers),
        "quorum": rule.quorum is not None,
        "deadline": rule.deadline_s is not None,
        "on_silence": bool(rule.steps),
        "comment": rule.comment_required,
        "on_denial": not rule.denial_settles,
        "max_auth_age": bool(rule.max_auth_age_s),
        "acr": bool(rule.acr),
        "amr": bool(rule.amr),
        "hours": rule.hours is not None,
        "break_glass": not rule.break_glass,
        "run_unattended": rule.run_unattended,
        "may_be_asked": rule.may_be_asked,
        "grants": rule.grants is not None,
    }
    for key, given in for_the_desk.items():
        if given and rule.effect is not Effect.HOLD:
            raise Mistake(key, "means something for hold rules only", 'Remove it, or write effect = "hold".')


def _named(rule: Rule) -> Named:
    named = Named.by_rule(rule)
    if rule.lifts_risk and not named.exact:
        raise Mistake("tools", "has a wildcard, but risk is lifted tool by tool", "Write the names out.")
    return named


def members_of(entry: str, roles: Mapping[str, tuple[Member, ...]]) -> tuple[Member, ...]:
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
        hint = _unknown_hint(unknown[1], rule.when) if unknown else ""
        raise Mistake("when", f"line {error.line}, column {error.column}: {error}", hint) from None


def _unknown_hint(name: str, source: str) -> str:
    """Say what an undeclared name may have meant: a function, a variable, or a field of one."""
    if re.search(rf"\b{re.escape(name)}\s*\(", source):
        return "CEL has no function of that name."
    roots = {variable.partition(".")[0] for variable in VARIABLES}
    root = name.partition(".")[0]
    guess = "" if root in roots else did_you_mean(root, roots)
    return did_you_mean(name, VARIABLES) or guess or known_names("variables", VARIABLES)


_VERB = {Effect.DENY: "denies", Effect.HOLD: "holds", Effect.ALLOW: "allows"}
