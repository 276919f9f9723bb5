"""Precedence, errors, risk, and what a mistake in a rule says."""

import dataclasses
from typing import Any

import pytest

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import (
    Allow,
    Deny,
    Hold,
    IdentityKind,
    Risk,
    TargetKind,
    UnknownTarget,
)
from mcpgw.core.terms import Terms
from mcpgw.policy import Defaults, Effect, Finding, Outcome, Policy, Role, Rule, Scope, SqlCondition
from tests.policy.samples import EVERYTHING, LEADS, RISKY, TELLER, call, identity, policy, target

DENY = Rule(id="d", effect=Effect.DENY, when="args.amount > 10", reason="Too much.")
HOLD = Rule(id="h", effect=Effect.HOLD, when="args.amount > 10", reason="Ask.", approvers=("group:payments",), quorum=2)
ALLOW = Rule(id="a", effect=Effect.ALLOW, when="args.amount > 10", reason="Fine.")
LIFT = Rule(id="lift", effect=Effect.ALLOW, tools=("bank__close_account",), lifts_risk=True)


@pytest.mark.parametrize(
    ("rules", "decides", "ids"),
    [
        ((), Allow, ("role:teller/scope:all",)),
        ((ALLOW,), Allow, ("a", "role:teller/scope:all")),
        ((ALLOW, HOLD), Hold, ("h",)),
        ((ALLOW, HOLD, DENY), Deny, ("d",)),
        ((DENY, HOLD, ALLOW), Deny, ("d",)),
        ((HOLD, dataclasses.replace(HOLD, id="h2", reason="Later.")), Hold, ("h", "h2")),
        ((dataclasses.replace(DENY, id="d0"), DENY), Deny, ("d0", "d")),
    ],
)
def test_deny_beats_hold_beats_allow(rules: tuple[Rule, ...], decides: type, ids: tuple[str, ...]) -> None:
    decision = policy(*rules).decide(call({"amount": 11}))
    assert isinstance(decision, decides)
    assert decision.ruling.rule_ids == ids
    nothing_matches = policy(*rules).decide(call({"amount": 10}))
    assert isinstance(nothing_matches, Allow)
    assert nothing_matches.ruling.rule_ids == ("role:teller/scope:all",)


def test_the_first_denial_gives_the_reason_and_one_that_always_denies_hides() -> None:
    second = dataclasses.replace(DENY, id="d2", reason="Second.")
    decision = policy(DENY, second).decide(call({"amount": 11}))
    assert isinstance(decision, Deny)
    assert (decision.ruling.reason, decision.hidden) == ("Too much.", False)
    decision = policy(DENY, Rule(id="always", effect=Effect.DENY)).decide(call({"amount": 11}))
    assert isinstance(decision, Deny)
    assert (decision.ruling.rule_ids, decision.hidden) == (("d", "always"), True)


def test_everybody_on_a_list_of_approvers_may_be_needed() -> None:
    both = Rule(id="r", effect=Effect.HOLD, approvers=("user:a", "user:b"), quorum=2)
    decision = policy(both).decide(call())
    assert isinstance(decision, Hold)
    assert decision.terms == Terms.simple(("user:a", "user:b"), 2, LEADS.deadline_s)


def test_the_first_hold_that_matches_names_reason_approvers_quorum_and_deadline() -> None:
    later = Rule(id="z", effect=Effect.HOLD, reason="Later.", deadline_s=5)
    decision = policy(HOLD, later).decide(call({"amount": 11}))
    assert isinstance(decision, Hold)
    assert (decision.ruling.reason, decision.terms) == ("Ask.", Terms.simple(("group:payments",), 2, LEADS.deadline_s))
    decision = policy(later, HOLD).decide(call({"amount": 11}))
    assert isinstance(decision, Hold)
    assert (decision.ruling.reason, decision.terms) == ("Later.", Terms.simple(LEADS.approvers, 1, 5))


@pytest.mark.parametrize("arguments", [{}, {"amount": None}, {"amount": "11"}, {"amount": []}, {"amount": {}}])
@pytest.mark.parametrize("effect", [Effect.DENY, Effect.HOLD])
def test_a_restriction_whose_argument_is_missing_or_odd_denies(effect: Effect, arguments: dict[str, Any]) -> None:
    """The bug this must never have: a deny rule that silently does not fire, because its argument was left out."""
    decision = policy(Rule(id="limit", effect=effect, when="args.amount > 10")).decide(call(arguments))
    assert isinstance(decision, Deny)
    assert not decision.hidden
    assert decision.ruling.rule_ids == ("limit",)
    assert "Rule limit has no answer for this call" in decision.ruling.reason


def test_an_allowance_whose_argument_is_missing_does_not_match() -> None:
    lift = Rule(id="lift", effect=Effect.ALLOW, tools=(RISKY.name,), when="args.amount < 10", lifts_risk=True)
    assert isinstance(policy(lift).decide(call({"amount": 1}, to=RISKY)), Allow)
    assert isinstance(policy(lift).decide(call({}, to=RISKY)), Hold)


def test_has_makes_an_argument_optional() -> None:
    rule = Rule(id="limit", effect=Effect.DENY, when="has(args.amount) && args.amount > 10")
    assert isinstance(policy(rule).decide(call({})), Allow)
    assert isinstance(policy(rule).decide(call({"amount": 11})), Deny)


@pytest.mark.parametrize(
    ("rules", "decides", "ids"),
    [
        ((), Hold, ("risk.high",)),
        ((Rule(id="mine", effect=Effect.HOLD, reason="Mine."),), Hold, ("mine", "risk.high")),
        ((LIFT,), Allow, ("lift", "role:teller/scope:all")),
        ((dataclasses.replace(LIFT, lifts_risk=False),), Hold, ("risk.high",)),
        ((dataclasses.replace(LIFT, roles=("group:chiefs",)),), Hold, ("risk.high",)),
        ((LIFT, Rule(id="mine", effect=Effect.HOLD)), Hold, ("mine",)),
        ((LIFT, Rule(id="no", effect=Effect.DENY, when="has(args.x) || true")), Deny, ("no",)),
    ],
)
def test_high_risk_is_held_unless_a_rule_lifts_it_for_this_very_tool(
    rules: tuple[Rule, ...], decides: type, ids: tuple[str, ...]
) -> None:
    decision = policy(*rules).decide(call(to=RISKY))
    assert isinstance(decision, decides)
    assert decision.ruling.rule_ids == ids
    if ids == ("risk.high",):
        assert isinstance(decision, Hold)
        assert decision.terms == Terms.simple(LEADS.approvers, 1, LEADS.deadline_s)


def test_high_risk_that_nobody_could_approve_is_denied_at_once() -> None:
    decision = policy(defaults=Defaults()).decide(call(to=RISKY))
    assert isinstance(decision, Deny)
    assert not decision.hidden
    assert decision.ruling.rule_ids == ("risk.high",)


@pytest.mark.parametrize(
    ("rule", "visible"),
    [
        (Rule(id="r", effect=Effect.DENY), False),
        (Rule(id="r", effect=Effect.DENY, tools=("crm__*",)), True),
        (Rule(id="r", effect=Effect.DENY, roles=("teller",)), False),
        (Rule(id="r", effect=Effect.DENY, roles=("group:guests",)), True),
        (Rule(id="r", effect=Effect.DENY, when="identity.kind == 'human'"), False),
        (Rule(id="r", effect=Effect.DENY, when="identity.kind == 'agent'"), True),
        (Rule(id="r", effect=Effect.DENY, when="identity.claims.dept == 'x'"), False),  # has no answer, so it denies
        (Rule(id="r", effect=Effect.HOLD, when="identity.claims.dept == 'x'"), False),
        (Rule(id="r", effect=Effect.ALLOW, when="identity.claims.dept == 'x'"), True),
        (Rule(id="r", effect=Effect.HOLD), True),
        (Rule(id="r", effect=Effect.DENY, when="args.amount > 0"), True),
        (Rule(id="r", effect=Effect.DENY, when="now > timestamp('2020-01-01T00:00:00Z')"), True),
        (
            Rule(id="r", effect=Effect.DENY, sql=SqlCondition(argument="q", dialect="sqlite", statements=("drop",))),
            True,
        ),
    ],
)
def test_a_tool_is_listed_exactly_if_some_arguments_could_pass(rule: Rule, visible: bool) -> None:
    judge = policy(rule)
    assert judge.sees(identity(), target()) is visible
    decision = judge.decide(call({"amount": 1, "q": "DROP TABLE x"}))
    assert (isinstance(decision, Deny) and decision.hidden) is not visible


@pytest.mark.parametrize(
    ("roles", "who", "denied"),
    [
        (("teller",), {}, True),
        (("user:bob", "user:alice"), {}, True),
        (("user:bob",), {}, False),
        (("everyone",), {"method": "unsafe_anonymous"}, True),
        (("kind:agent",), {"kind": IdentityKind.AGENT}, True),
    ],
)
def test_a_rule_is_about_the_callers_that_it_names(roles: tuple[str, ...], who: dict[str, Any], denied: bool) -> None:
    decision = policy(Rule(id="r", effect=Effect.DENY, roles=roles)).decide(call(by=identity(**who)))
    assert isinstance(decision, Deny) is denied


def test_an_explanation_shows_every_rule_and_why() -> None:
    sql = SqlCondition(argument="query", dialect="sqlite", allow_only=("select",))
    judge = policy(
        Rule(id="elsewhere", effect=Effect.DENY, tools=("crm__*",)),
        Rule(id="others", effect=Effect.DENY, roles=("group:guests",)),
        Rule(id="small", effect=Effect.DENY, when="args.amount > 100"),
        Rule(id="writes", effect=Effect.DENY, sql=sql),
        Rule(id="broken", effect=Effect.ALLOW, when="args.nope"),
        Rule(id="big", effect=Effect.HOLD, when="args.amount > 10"),
        Rule(id="always", effect=Effect.ALLOW),
    )
    explanation = judge.explain(call({"amount": 20, "query": "SELECT 1"}))
    assert [(f.rule_id, f.outcome, f.why) for f in explanation.findings] == [
        ("elsewhere", Outcome.NOT_MATCHED, "it is about other tools"),
        ("others", Outcome.NOT_MATCHED, "it is about other callers"),
        ("small", Outcome.NOT_MATCHED, "`when` is false"),
        ("writes", Outcome.NOT_MATCHED, "the SQL is select"),
        ("broken", Outcome.ERROR, "it looks at 'nope', which is not there"),
        ("big", Outcome.MATCHED, "`when` is true"),
        ("always", Outcome.MATCHED, "it is about this tool and caller"),
    ]
    assert explanation.decision == judge.decide(call({"amount": 20, "query": "SELECT 1"}))
    assert explanation.roles == ("teller",)
    assert [grant.id for grant in explanation.grants] == ["role:teller/scope:all"]


def test_a_failing_allowance_does_not_deny() -> None:
    finding = Finding(rule_id="a", effect=Effect.ALLOW, outcome=Outcome.ERROR, why="")
    assert not finding.denies


def test_a_reason_is_made_where_none_is_given() -> None:
    decision = policy(Rule(id="r", effect=Effect.HOLD)).decide(call())
    assert decision.ruling.reason == "Rule r holds this call."


OK_SQL = SqlCondition(argument="q", dialect="sqlite", statements=("drop",))


@pytest.mark.parametrize(
    ("rule", "where", "says", "hint"),
    [
        ({"id": "has space"}, "rules.has space.id", "letters", ""),
        ({"id": "risk.high"}, "rules.risk.high.id", "reserved", ""),
        ({"tools": ()}, "rules.r.tools", "about nothing", '["*"]'),
        ({"tools": ("bank__?",)}, "rules.r.tools", "only wildcard", ""),
        ({"roles": ("tellr",)}, "rules.r.roles", "no role 'tellr'", "'teller'"),
        ({"roles": ("zzz",)}, "rules.r.roles", "no role 'zzz'", "these roles: teller"),
        ({"roles": ("group:",)}, "rules.r.roles", "none of", ""),
        ({"when": "args.amount >"}, "rules.r.when", "line 1, column 14", ""),
        ({"when": "args.a > 1 &&\n  identity.groops == []"}, "rules.r.when", "line 2, column 11", "'identity.groups'"),
        ({"when": "arg.a > 1"}, "rules.r.when", "undeclared reference", "'args'"),
        ({"when": "qqqq > 1"}, "rules.r.when", "undeclared reference", "these variables: answers, args"),
        ({"when": "sizeof(args) > 3"}, "rules.r.when", "undeclared reference", "no function of that name"),
        ({"when": "identity.subject > 3"}, "rules.r.when", "no matching overload", ""),
        ({"when": "1 + 1"}, "rules.r.when", "not true or false", ""),
        ({"when": "(" * 60 + "true" + ")" * 60}, "rules.r.when", "too deeply", ""),
        ({"when": "true || " * 2000 + "true"}, "rules.r.when", "longer than", ""),
        ({"when": "args.a.matches('(a')"}, "rules.r.when", "line 1, column 8: not a regular", ""),
        ({"when": "true\n&& args.a.matches(r'(a)\\1')"}, "rules.r.when", "line 2, column 11: not a regular", ""),
        ({"when": "args.a.matches(args.b)"}, "rules.r.when", "line 1, column 8: the pattern of `matches`", ""),
        ({"when": "args.a.matches ('a' + args.b)"}, "rules.r.when", "must be a text in quotes", ""),
        ({"approvers": ("group:x",)}, "rules.r.approvers", "hold rules only", "effect"),
        ({"quorum": 1}, "rules.r.quorum", "hold rules only", ""),
        ({"deadline_s": 1.0}, "rules.r.deadline", "hold rules only", ""),
        ({"lifts_risk": True}, "rules.r.lifts_risk", "allow rules only", ""),
        ({"effect": Effect.HOLD, "lifts_risk": True}, "rules.r.lifts_risk", "allow rules only", ""),
        ({"effect": Effect.ALLOW, "lifts_risk": True}, "rules.r.tools", "wildcard", "names"),
        ({"effect": Effect.HOLD, "approvers": ("payments",)}, "rules.r.approvers", "neither", ""),
        ({"effect": Effect.HOLD, "approvers": ("user:",)}, "rules.r.approvers", "neither", ""),
        ({"effect": Effect.HOLD, "quorum": 0}, "rules.r.quorum", "at least 1", ""),
        ({"effect": Effect.HOLD, "approvers": ("user:a", "user:a"), "quorum": 2}, "rules.r.quorum", "only 1", ""),
        ({"effect": Effect.HOLD, "deadline_s": 0.0}, "rules.r.deadline", "more than nothing", ""),
        ({"effect": Effect.HOLD, "deadline_s": float("nan")}, "rules.r.deadline", "more than nothing", ""),
        ({"sql": dataclasses.replace(OK_SQL, argument="")}, "rules.r.sql.argument", "empty", ""),
        ({"sql": dataclasses.replace(OK_SQL, dialect="postgre")}, "rules.r.sql.dialect", "not a SQL dialect", "postgres"),
        ({"sql": dataclasses.replace(OK_SQL, dialect="")}, "rules.r.sql.dialect", "not a SQL dialect", "Choose one"),
        ({"sql": dataclasses.replace(OK_SQL, statements=("dorp",))}, "rules.r.sql.statements", "'dorp'", "'drop'"),
        ({"sql": dataclasses.replace(OK_SQL, allow_only=("zzz",))}, "rules.r.sql.allow_only", "'zzz'", "Choose from"),
        ({"sql": dataclasses.replace(OK_SQL, statements=())}, "rules.r.sql", "no criterion", "statements"),
        ({"sql": dataclasses.replace(OK_SQL, tables=("a[b]",))}, "rules.r.sql.tables", "only wildcard", ""),
        ({"sql": dataclasses.replace(OK_SQL, functions=("",))}, "rules.r.sql.functions", "empty", ""),
        ({"effect": Effect.ALLOW, "sql": OK_SQL}, "rules.r.sql.statements", "allow rule", "allow_only"),
        ({"effect": Effect.ALLOW, "sql": dataclasses.replace(OK_SQL, statements=())}, "rules.r.sql", "no `allow_only`", ""),
    ],
)
def test_a_mistake_says_where_it_is_and_what_to_do(rule: dict[str, Any], where: str, says: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(Rule(**{"id": "r", "effect": Effect.DENY, **rule}))
    assert caught.value.where == where
    assert says in str(caught.value)
    assert hint in caught.value.hint


def test_a_hold_that_nobody_could_approve_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"rules\.r\.approvers: is empty here and in the defaults"):
        policy(Rule(id="r", effect=Effect.HOLD), defaults=Defaults())
    with pytest.raises(ConfigError, match=r"approval\.approvers: 'leads' is neither"):
        policy(defaults=Defaults(approvers=("leads",)))


def test_two_rules_of_one_id_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"rules\.d: is there twice"):
        policy(DENY, HOLD, DENY)


def test_the_hash_changes_with_everything_that_decides_and_with_nothing_else() -> None:
    sql = SqlCondition(argument="q", dialect="sqlite", statements=("drop",))
    rule = Rule(id="r", effect=Effect.DENY, sql=sql)
    scope = Scope(name="ro", annotations={"readOnlyHint": True})
    role = Role("auditor", ("group:audit",), ("ro",))
    roles, scopes, rules = [*TELLER, role], [*EVERYTHING, scope], [DENY, rule]
    base = Policy.build(roles, scopes, rules, LEADS).policy_hash
    assert Policy.build(reversed(roles), reversed(scopes), rules, LEADS).policy_hash == base
    changed = [
        Policy.build([*TELLER, Role("auditor", ("group:audits",), ("ro",))], scopes, rules, LEADS),
        Policy.build(roles, [*EVERYTHING, Scope(name="ro", annotations={"readOnlyHint": False})], rules, LEADS),
        Policy.build(roles, scopes, [rule, DENY], LEADS),
        Policy.build(roles, scopes, [DENY, dataclasses.replace(rule, reason="Else.")], LEADS),
        Policy.build(roles, scopes, [DENY, dataclasses.replace(rule, sql=dataclasses.replace(sql, dialect="mysql"))], LEADS),
        Policy.build(roles, scopes, rules, dataclasses.replace(LEADS, quorum=2)),
    ]
    assert len({base, *(one.policy_hash for one in changed)}) == 1 + len(changed)


def test_other_kinds_of_target_walk_the_same_way() -> None:
    resource = target("bank__report", kind=TargetKind.RESOURCE, risk=Risk.LOW)
    rule = Rule(id="r", effect=Effect.DENY, when="tool.kind == 'resource'")
    assert isinstance(policy(rule).decide(call(to=resource)), Deny)
    assert policy(rule).explain(call(to=UnknownTarget(kind=TargetKind.RESOURCE, name="x"))).findings == ()
