"""The gateway's own tools: granted by name alone, some of them for people who could decide, and never held."""

import dataclasses
from typing import Any

import pytest

from mcpgw.core.model import (
    UNAUTHENTICATED,
    Allow,
    Audience,
    Deny,
    IdentityKind,
    Risk,
)
from mcpgw.policy import Defaults, Effect, Mode, Policy, Role, Rule, Scope, SqlCondition, Step
from tests.policy.samples import LEADS, call, identity, target

OWN = target("mcpgw__approvals_show", audience=Audience.DECIDERS)
STATUS = target("mcpgw__approval_status")
LEAD = identity("carol", groups=frozenset({"tellers", "leads"}))
APPROVALS = Scope(name="approvals", tools=("mcpgw__*",))


def policy(*rules: Rule, scope: Scope = APPROVALS, defaults: Defaults = LEADS) -> Policy:
    return Policy.build((Role("teller", ("group:tellers",), (scope.name,)),), (scope,), rules, defaults)


@pytest.mark.parametrize(
    ("criteria", "granted"),
    [
        ({"tools": ("mcpgw__*",)}, True),
        ({"tools": ("bank__*", "mcpgw__approval*")}, True),
        ({"tools": ("mcpgw__approval_status",)}, True),
        ({"tools": ("mcpgw__*",), "risk": (Risk.LOW,)}, True),
        ({"tools": ("mcpgw__*",), "risk": (Risk.HIGH,)}, False),
        ({"tools": ("*",)}, False),
        ({"tools": ("*status",)}, False),
        ({"tools": ("mcpgw*",)}, False),
        ({"risk": (Risk.LOW,)}, False),
        ({"annotations": {"readOnlyHint": False}}, False),
        ({"by_name": True}, False),
    ],
)
def test_an_own_tool_is_granted_by_a_pattern_that_means_own_tools(criteria: dict[str, Any], granted: bool) -> None:
    """Who gave away everything before there were any, meant what upstreams offer."""
    built = policy(scope=Scope(name="s", **criteria))
    assert built.sees(identity(), STATUS) is granted
    assert isinstance(built.decide(call(to=STATUS)), Allow) is granted


def test_the_catalogs_word_on_a_scope_is_not_asked_of_own_tools() -> None:
    by_name = policy(scope=Scope(name="s", by_name=True))
    assert by_name.sees(identity(), target("bank__transfer", scope="s"))


@pytest.mark.parametrize(
    ("changes", "is_for"),
    [
        ({}, True),
        ({"kind": IdentityKind.AGENT}, False),
        ({"kind": IdentityKind.SERVICE}, False),
        ({"actors": ("https://idp.example#agent",)}, False),
        ({"method": UNAUTHENTICATED}, False),
        ({"groups": frozenset({"tellers"})}, False),
    ],
)
def test_a_deciders_tool_exists_for_people_who_could_decide_and_for_nobody_else(changes: dict[str, Any], is_for: bool) -> None:
    caller = dataclasses.replace(LEAD, **changes)
    decision = policy().decide(call(by=caller, to=OWN))
    assert policy().sees(caller, OWN) is is_for
    assert isinstance(decision, Allow) if is_for else (isinstance(decision, Deny) and decision.hidden)


RULES = {
    "of a rule": (Rule(id="r", effect=Effect.HOLD, tools=("bank__*",), approvers=("user:dora",)), True),
    "of a later step": (
        Rule(id="r", effect=Effect.HOLD, tools=("bank__*",), steps=(Step(approvers=("user:dora",), deadline_s=60.0),)),
        True,
    ),
    "of a rule that is tried out": (
        Rule(id="r", effect=Effect.HOLD, tools=("bank__*",), approvers=("user:dora",), mode=Mode.OBSERVE),
        False,
    ),
    "of no rule": (Rule(id="r", effect=Effect.DENY, tools=("bank__*",)), False),
}


@pytest.mark.parametrize("whose", RULES)
def test_deciders_are_those_whom_any_rule_could_ask(whose: str) -> None:
    rule, is_for = RULES[whose]
    assert policy(rule).sees(identity("dora"), OWN) is is_for


def test_openers_of_break_glass_are_deciders_too_and_without_approvers_nobody_is() -> None:
    duty = Defaults(openers=("user:dora", "user:erik"))
    assert policy(defaults=duty).sees(identity("dora"), OWN)
    assert not policy(defaults=Defaults()).sees(LEAD, OWN)


HOLD_ALL = Rule(id="hold-all", effect=Effect.HOLD, tools=("*",), when="args.id != 'x'")


def test_an_own_tool_is_denied_where_a_rule_would_hold_it() -> None:
    decision = policy(HOLD_ALL).decide(call({"id": "apr"}, to=STATUS))
    assert isinstance(decision, Deny) and not decision.hidden and decision.ruling.rule_ids == ("hold-all",)
    assert isinstance(policy(HOLD_ALL).decide(call({"id": "x"}, to=STATUS)), Allow)
    risky = policy().decide(call(to=dataclasses.replace(STATUS, risk=Risk.HIGH)))
    assert isinstance(risky, Deny) and risky.ruling.rule_ids == ("risk.high",)


def test_a_rule_that_would_hold_an_own_tool_which_somebody_has_is_pointed_out() -> None:
    other = Rule(id="other", effect=Effect.HOLD, tools=("bank__*",))
    tried = dataclasses.replace(HOLD_ALL, id="tried", mode=Mode.OBSERVE)
    deny = Rule(id="deny", effect=Effect.DENY)
    tools = (target("bank__transfer"), STATUS)
    assert policy(HOLD_ALL, other, tried, deny).own_tools_held(tools) == (("hold-all", STATUS.name),)
    nobody_has_it = policy(HOLD_ALL, scope=Scope(name="s", tools=("*",)))
    assert nobody_has_it.own_tools_held(tools) == ()


def test_a_rule_about_every_tool_is_idle_where_there_are_own_tools_alone() -> None:
    every, own = Rule(id="every", effect=Effect.DENY), Rule(id="own", effect=Effect.DENY, tools=("mcpgw__*",))
    built = policy(every, own)
    assert built.idle_rules([STATUS]) == ("every",)
    assert built.idle_rules([target("bank__transfer")]) == ("own",)


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("when", {"tools": ("mcpgw__call_tool",), "when": "args.name == 'bank__close'"}),
        ("when", {"tools": ("bank__close", "mcpgw__call*"), "when": "args.arguments.amount > 5"}),
        ("when", {"when": "tool.name == 'mcpgw__call_tool' && args.name == 'bank__close'"}),
        (
            "sql",
            {
                "tools": ("mcpgw__call_tool",),
                "sql": SqlCondition(argument="arguments.query", dialect="postgres", statements=("drop",)),
            },
        ),
        ("", {"tools": ("mcpgw__call_tool",)}),
        ("", {"tools": ("mcpgw__call_tool",), "when": "identity.kind == 'agent'"}),
        ("", {"tools": ("mcpgw__*",), "when": "args.id == 'x'"}),
        ("", {"when": "args.amount > 5"}),
        ("", {"when": "tool.name != 'mcpgw__call_tool' && args.amount > 5"}),
        ("", {"tools": ("bank__close",), "sql": SqlCondition(argument="query", dialect="postgres", statements=("drop",))}),
    ],
)
def test_a_rule_that_looks_into_calls_of_the_tool_that_calls_others_is_pointed_out(key: str, fields: dict[str, Any]) -> None:
    built = policy(Rule(id="r", effect=Effect.DENY, **fields))
    others = (target("bank__close"), target("mcpgw__find_tools"), STATUS)
    assert built.wrapper_rules([*others, target("mcpgw__call_tool")]) == ((("r", key),) if key else ())
    assert built.wrapper_rules(others) == ()
