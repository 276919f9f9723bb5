"""The policy: grants, then rules. One way to a decision, so that what `explain` says is what `decide` did."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import reduce

from mcpgw.core.allowance import GrantLimits
from mcpgw.core.canonical import digest
from mcpgw.core.errors import ConfigError
from mcpgw.core.members import is_one_of
from mcpgw.core.model import (
    Allow,
    Audience,
    Call,
    Decision,
    Deny,
    Hold,
    Identity,
    Risk,
    Ruling,
    Target,
    TargetKind,
    UnknownTarget,
)
from mcpgw.core.naming import CALL_TOOL
from mcpgw.core.terms import Terms
from mcpgw.policy.cel import CallerFacts, Facts
from mcpgw.policy.config import Defaults, Effect, Profile, Role, Rule, Scope
from mcpgw.policy.grants import Grant, Grants, withheld
from mcpgw.policy.profiles import Profiles
from mcpgw.policy.rule import (
    DENY_BY_DEFAULT,
    ERROR_RULE,
    RISK_RULE,
    CompiledRule,
    Finding,
    Outcome,
    compile_rule,
    default_terms,
)
from mcpgw.policy.sight import Sight
from mcpgw.policy.unseen import Unseen, Untold
from mcpgw.policy.wording import Mistake

logger = logging.getLogger(__name__)

Observed = tuple[tuple[str, str], ...]
"""Ids of observed rules, each with what it would have done."""
Judged = tuple[CompiledRule, Finding]

_NOT_GRANTED = "Nothing that this caller may use has this name."
_FAILED = "The policy could not be evaluated, so the call is denied."
_NO_APPROVERS = "This needs approval, but nobody is named who could approve it."
_NOT_FOR_THEM = "This is for people, in person, who could decide on some held call."
_NEVER_HELD = "People cannot be asked about a tool of the gateway's own, so it is denied: a rule would hold it."
_NOT_COMPLETED = "People decide on each call of this, and are not asked about completions, so there are none."
_RISKY = "This tool is marked as high risk, so people decide on each call."


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision and everything that led to it. Holds no payload."""

    decision: Decision
    roles: tuple[str, ...]
    grants: tuple[Grant, ...]
    withheld: tuple[str, ...]
    """Scopes that the roles give and the credential's own scopes take away."""
    findings: tuple[Finding, ...]
    """One for each rule, in the policy's order; none where no grant led so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What an identity has of one target."""

    target: Target
    grants: tuple[Grant, ...]
    visible: bool
    rules: tuple[str, ...]
    """Ids of the rules that are about this target and caller, whatever their conditions."""


class Policy:
    """Implements `ports.Policy`: pure and total. The same call under the same `policy_hash` has the same decision.

    Deny by default. Precedence is deny, hold, allow; within one effect the order of the rules decides whose reason and whose
    approvers count. A deny or hold rule whose condition has no answer denies; an allow rule then does not match.
    A tool of the gateway's own is never held, nor is a completion: where a rule would, it is denied. An own tool that is for
    deciders does not exist for anybody else.
    `sees(identity, target)` is False exactly if `decide` answers every call to the target with a hidden denial.
    """

    def __init__(
        self, grants: Grants, rules: Sequence[CompiledRule], terms: Terms, policy_hash: str, profiles: Profiles
    ) -> None:
        self._grants = grants
        self._profiles = profiles
        self._rules = tuple(rules)
        self._early = tuple(rule for rule in rules if rule.known_before_the_call and not rule.is_observed)
        self._default_terms = terms
        self._deciders = _deciders(terms, rules)
        self._sight = Sight()
        self._lists = Sight()
        self.policy_hash = policy_hash

    @classmethod
    def build(
        cls,
        roles: Iterable[Role],
        scopes: Iterable[Scope],
        rules: Iterable[Rule],
        defaults: Defaults | None = None,
        profiles: Iterable[Profile] = (),
    ) -> "Policy":
        """Check everything that can be checked without a call.

        Raises:
            ConfigError: `where` is `roles.<name>.<key>`, `scopes.<name>.<key>`, `rules.<id>.<key>`, `profiles.<name>.<key>` or
                `approval.<key>`.
        """
        roles, scopes, rules, defaults = tuple(roles), tuple(scopes), tuple(rules), defaults or Defaults()
        try:
            terms = default_terms(defaults)
        except Mistake as mistake:
            raise mistake.at("approval") from None
        grants = Grants.build(roles, scopes)
        ids = [rule.id for rule in rules]
        for rule_id in ids:
            if ids.count(rule_id) > 1:
                raise ConfigError("is there twice", where=f"rules.{rule_id}", hint="Give each rule an id of its own.")
        compiled = [compile_rule(rule, grants.roles, defaults) for rule in rules]
        narrowing = Profiles.build(profiles, grants.roles)
        return cls(grants, compiled, terms, _hash(roles, scopes, rules, defaults), narrowing)

    def decide(self, call: Call) -> Decision:
        """Decide on a call. Never raises; bounded in time by the limits of `cel`, `plain` and `sql_parser`."""
        try:
            return self.explain(call).decision
        except Exception as error:
            # Whatever fails in here denies. Only the error's type is logged: its text might hold payload.
            logger.error("call %s: denied, because the policy failed with %s", call.id, type(error).__name__)
            return Deny(ruling=self._ruling((ERROR_RULE,), _FAILED))

    def sees(self, identity: Identity, target: Target) -> bool:
        """Tell whether the identity may call the target with some arguments. Never raises."""
        return bool(self._seen(identity, (target,)))

    def visible(self, identity: Identity, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """Return those of the targets that the identity sees, in their order. Never raises.

        For the same identity and the very same tuple it is the same tuple again, as long as that is remembered.
        """
        return self._sight.of(identity, targets, self._seen)

    def listed(self, identity: Identity, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """Return those of the targets that are listed to the identity: what it sees, narrowed by its profile. Never raises.

        Remembered as `visible` is.
        """
        return self._lists.of(identity, self.visible(identity, targets), self._narrowed)

    def explain(self, call: Call) -> Explanation:
        """Decide, and say how. Raises only where `decide` would answer `policy.error`."""
        return self._explained(call, self._rules)

    def rejudge(self, call: Call, unseen: Unseen) -> Explanation | Untold:
        """Decide on a call of the past, of which not everything is known any more. Raises as `explain`.

        Whatever the rules that read what is unseen would have said, the decision has the same effect; otherwise it is untold.
        """
        if unseen.claims and (self._grants.look_at_claims or any(entry.startswith("claim:") for entry in self._deciders)):
            return Untold(())
        blind = {rule.rule.id: rule for rule in self._rules if rule.is_blind(unseen) and not rule.is_observed}
        explanation = self._explained(call, tuple(rule for rule in self._rules if rule.rule.id not in blind))
        denied = any(finding.denies and not finding.observed for finding in explanation.findings)
        if denied or not explanation.grants or isinstance(call.target, UnknownTarget):
            return explanation  # nothing takes a denial back
        asked = [rule for rule in blind.values() if rule.could_be_about(call.identity, call.target)]
        restricting = [rule.rule.id for rule in asked if rule.rule.effect is not Effect.ALLOW]
        risky = RISK_RULE in explanation.decision.ruling.rule_ids
        lifting = [rule.rule.id for rule in asked if rule.rule.lifts_risk and risky]
        if restricting or lifting:
            return Untold((*restricting, *lifting))
        return explanation

    def _explained(self, call: Call, rules: Sequence[CompiledRule]) -> Explanation:
        roles = self._grants.roles_of(call.identity)
        taken = withheld(call.identity, self._grants, roles)
        ways: tuple[Grant, ...] = ()
        findings: tuple[Finding, ...] = ()
        decision: Decision = Deny(ruling=self._ruling((DENY_BY_DEFAULT,), _NOT_GRANTED), hidden=True)
        if not isinstance(call.target, UnknownTarget) and not self._is_for(call.identity, call.target):
            decision = Deny(ruling=self._ruling((DENY_BY_DEFAULT,), _NOT_FOR_THEM), hidden=True)
        elif not isinstance(call.target, UnknownTarget):
            ways = self._grants.ways_to(call.target, call.identity, roles)
            if ways:
                facts = Facts(CallerFacts(call.identity), call.target, call)
                findings = tuple(rule.judge(call.identity, call.target, call.arguments, facts) for rule in rules)
                decision = self._weigh(call, call.target, ways, [*zip(rules, findings, strict=True)])
        return Explanation(decision=decision, roles=roles, grants=ways, withheld=taken, findings=findings)

    def grants(self, identity: Identity, targets: Iterable[Target]) -> tuple[Access, ...]:
        """Return what the identity has of each target: for the console, and for access reviews."""
        roles = self._grants.roles_of(identity)
        return tuple(
            Access(
                target=target,
                grants=self._grants.ways_to(target, identity, roles),
                visible=self.sees(identity, target),
                rules=tuple(rule.rule.id for rule in self._rules if rule.is_about(identity, target)),
            )
            for target in targets
        )

    def roles_of(self, identity: Identity) -> tuple[str, ...]:
        """Return the roles that an identity has."""
        return self._grants.roles_of(identity)

    def offered(self, role: str, targets: Iterable[Target]) -> tuple[Target, ...]:
        """Return the targets that a role's scopes select: the longest list that a member of it alone can see."""
        return tuple(target for target in targets if self._grants.selects(role, target))

    def listed_to(self, role: str, targets: Iterable[Target]) -> tuple[Target, ...]:
        """Return those of `offered` that its profile lists."""
        return self._profiles.listed_to(role, self._grants.roles[role], self.offered(role, targets))

    def searches(self, role: str) -> bool:
        """Tell whether a member of the role alone finds tools by searching, by its profile."""
        return self._profiles.searches(role, self._grants.roles[role])

    def observed_rules(self) -> tuple[str, ...]:
        """Return the ids of rules that are tried out, and decide nothing."""
        return tuple(rule.rule.id for rule in self._rules if rule.is_observed)

    def wants_fresh_sign_in(self) -> tuple[str, ...]:
        """Return the ids of rules whose voters must have signed in lately or in a certain way."""
        return tuple(rule.rule.id for rule in self._rules if rule.terms.freshness.is_asked_for)

    def idle_rules(self, targets: Iterable[Target]) -> tuple[str, ...]:
        """Return the ids of rules that name no target: most often a misspelt name. That `*` fits own tools does not count."""
        known = tuple(targets)
        return tuple(rule.rule.id for rule in self._rules if not any(map(rule.is_meant_for, known)))

    def own_tools_held(self, targets: Iterable[Target]) -> tuple[tuple[str, str], ...]:
        """Return each rule that would hold a tool of the gateway's own which some role grants, with the tool's name. Nothing
        that would be held there can be called."""
        granted = [
            target for target in targets if target.is_own and any(self._grants.selects(r, target) for r in self._grants.roles)
        ]
        holding = [rule for rule in self._rules if rule.rule.effect is Effect.HOLD and not rule.is_observed]
        return tuple((rule.rule.id, target.name) for rule in holding for target in granted if rule.fits(target))

    def wrapper_rules(self, targets: Iterable[Target]) -> tuple[tuple[str, str], ...]:
        """Return each rule that looks into calls of `mcpgw__call_tool`, with the key that does. No call is judged by it:
        what is called through that tool is judged as a call of the inner one."""
        known = tuple(targets)
        wrappers = [target for target in known if target.name == CALL_TOOL]
        found = ((rule.rule.id, rule.looks_into(target, known)) for target in wrappers for rule in self._rules)
        return tuple((rule_id, key) for rule_id, key in found if key)

    def _is_for(self, identity: Identity, target: Target) -> bool:
        if target.audience is Audience.GRANTED:
            return True
        return identity.is_person and any(is_one_of(identity, entry) for entry in self._deciders)

    def _narrowed(self, identity: Identity, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        try:
            return self._profiles.listed(identity, targets)
        except Exception as error:
            # Who cannot be placed is listed nothing. Calls are judged as ever.
            logger.error("a caller is listed nothing, because the policy failed with %s", type(error).__name__)
            return ()

    def _seen(self, identity: Identity, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        try:
            roles = self._grants.roles_of(identity)
        except Exception as error:
            # Who cannot be judged sees nothing, as everything would be denied.
            logger.error("a caller sees nothing, because the policy failed with %s", type(error).__name__)
            return ()
        caller = CallerFacts(identity)
        return tuple(target for target in targets if self._is_seen(identity, target, roles, caller))

    def _is_seen(self, identity: Identity, target: Target, roles: tuple[str, ...], caller: CallerFacts) -> bool:
        try:
            if not self._is_for(identity, target) or not self._grants.ways_to(target, identity, roles):
                return False
            facts = Facts(caller, target, None)
            return not any(rule.judge(identity, target, {}, facts).denies for rule in self._early)
        except Exception as error:
            # What cannot be judged is not shown, as it would be denied.
            logger.error("target %s: hidden, because the policy failed with %s", target.name, type(error).__name__)
            return False

    def _weigh(self, call: Call, target: Target, ways: tuple[Grant, ...], judged: Sequence[Judged]) -> Decision:
        """Deny, then hold, then allow; what is observed decides nothing, and stands in the ruling."""
        pairs = [(rule, found) for rule, found in judged if not found.observed]
        seen = tuple((found.rule_id, found.would_be.value) for _, found in judged if found.observed and found.would_be)
        denying = [(rule, finding) for rule, finding in pairs if finding.denies]
        if denying:
            ids = tuple(finding.rule_id for _, finding in denying)
            hidden = any(finding.whatever_the_arguments for _, finding in denying)
            return Deny(ruling=self._ruling(ids, _why_denied(*denying[0]), seen), hidden=hidden)
        matched = [rule for rule, finding in pairs if finding.outcome is Outcome.MATCHED]
        holding = [rule for rule in matched if rule.rule.effect is Effect.HOLD]
        allowing = [rule for rule in matched if rule.rule.effect is Effect.ALLOW]
        risky = target.risk is Risk.HIGH and not any(rule.rule.lifts_risk for rule in allowing)
        if holding or risky:
            return self._hold(call, target, holding, risky, seen)
        ids = tuple(rule.rule.id for rule in allowing) + tuple(way.id for way in ways)
        reason = allowing[0].reason if allowing else f"Granted by {ways[0].id}."
        return Allow(ruling=self._ruling(ids, reason, seen))

    def _hold(self, call: Call, target: Target, holding: list[CompiledRule], risky: bool, seen: Observed) -> Hold | Deny:
        ids = tuple(rule.rule.id for rule in holding) + ((RISK_RULE,) if risky else ())
        if target.is_own:
            return Deny(ruling=self._ruling(ids, _NEVER_HELD, seen))
        if target.kind is TargetKind.COMPLETION:
            return Deny(ruling=self._ruling(ids, _NOT_COMPLETED, seen))
        if holding:
            first = holding[0]
            terms = first.terms_at(call.received_ns)
            if isinstance(terms, str):
                return Deny(ruling=self._ruling(ids, terms, seen))
            grants = reduce(GrantLimits.narrowed, (rule.terms.grants for rule in holding))  # no rule is a way around another
            return Hold(ruling=self._ruling(ids, first.reason, seen), terms=replace(terms, grants=grants))
        if not self._default_terms.levels:
            return Deny(ruling=self._ruling(ids, _NO_APPROVERS, seen))  # now, rather than when the deadline has passed
        return Hold(ruling=self._ruling(ids, _RISKY, seen), terms=self._default_terms)

    def _ruling(self, rule_ids: tuple[str, ...], reason: str, seen: Observed = ()) -> Ruling:
        return Ruling(rule_ids=rule_ids, reason=reason, policy_hash=self.policy_hash, observed=seen)


def _deciders(terms: Terms, rules: Sequence[CompiledRule]) -> tuple[str, ...]:
    """Return every entry that names somebody who could be asked, at any level, or break the glass."""
    asking = [terms, *(rule.terms for rule in rules if not rule.is_observed)]
    return tuple(dict.fromkeys(entry for one in asking for entry in one.everybody))


def _why_denied(rule: CompiledRule, finding: Finding) -> str:
    if finding.outcome is Outcome.ERROR:
        return f"Rule {finding.rule_id} has no answer for this call, so it is denied: {finding.why}."
    return rule.reason


def _hash(roles: Sequence[Role], scopes: Sequence[Scope], rules: Sequence[Rule], defaults: Defaults) -> str:
    """Digest everything that a decision depends on. The order of roles and scopes decides nothing; that of rules does."""
    return digest(
        {
            "format": "mcpgw-policy/1",
            "roles": {role.name: {"members": role.members, "scopes": role.scopes} for role in roles},
            "scopes": {scope.name: _fields(scope, "name") for scope in scopes},
            "rules": [asdict(rule) for rule in rules],
            "defaults": asdict(defaults),
        }
    )


def _fields(scope: Scope, *left_out: str) -> dict[str, object]:
    return {field.name: getattr(scope, field.name) for field in fields(scope) if field.name not in left_out}
