"""Prompts, resources, templates and completions: granted where they are named, judged like tools."""

from typing import Any

import pytest

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import (
    Allow,
    Deny,
    Hold,
    Risk,
    Target,
    TargetKind,
)
from mcpgw.policy import Defaults, Effect, Policy, Role, Rule, Scope
from tests.policy.samples import LEADS, call, identity, target

TOOL = target("bank__pay")
PROMPT = target("bank__letter", kind=TargetKind.PROMPT)
FILE = target(
    "mcpgw+bank+file:///a", kind=TargetKind.RESOURCE, upstream_name="file:///a", definition={"uri": "file:///a"}, server="bank"
)
TEMPLATE = target(
    "mcpgw+bank+db://{id}", kind=TargetKind.RESOURCE, upstream_name="db://{id}", definition={"uriTemplate": "db://{id}"}
)
OF_PROMPT = target("bank__letter", kind=TargetKind.COMPLETION, definition={"uriTemplate": "a trick"})
OF_TEMPLATE = target(
    "mcpgw+bank+db://{id}", kind=TargetKind.COMPLETION, upstream_name="db://{id}", definition={"uriTemplate": "db://{id}"}
)
ALL = (TOOL, PROMPT, FILE, TEMPLATE, OF_PROMPT, OF_TEMPLATE)
EVERYTHING = Scope(name="s", tools=("*",), prompts=("*",), resources=("*",))


def policy(*rules: Rule, scope: Scope = EVERYTHING, defaults: Defaults = LEADS) -> Policy:
    return Policy.build((Role("teller", ("group:tellers",), ("s",)),), (scope,), rules, defaults)


@pytest.mark.parametrize(
    ("criteria", "granted"),
    [
        ({"tools": ("*",)}, (TOOL,)),
        ({"tags": ("t",)}, ()),
        ({"risk": (Risk.LOW,)}, (TOOL,)),
        ({"annotations": {"readOnlyHint": False}}, (TOOL,)),
        ({"by_name": True}, ()),
        ({"prompts": ("*",)}, (PROMPT, OF_PROMPT)),
        ({"prompts": ("bank__other",)}, ()),
        ({"resources": ("*",)}, (FILE, TEMPLATE, OF_TEMPLATE)),
        ({"resources": ("mcpgw+bank+db://*",)}, (TEMPLATE, OF_TEMPLATE)),
        ({"resources": ("mcpgw+bank+file:///a",)}, (FILE,)),
        ({"resources": ("mcpgw+other+*", "file:///a", "bank__letter")}, ()),
        ({"prompts": ("*",), "resources": ("*",), "risk": (Risk.HIGH,)}, ()),
        ({"tools": ("*",), "prompts": ("*",), "resources": ("*",)}, ALL),
    ],
)
def test_a_scope_selects_of_each_kind_what_it_names(criteria: dict[str, Any], granted: tuple[Target, ...]) -> None:
    built = policy(scope=Scope(name="s", **criteria))
    assert tuple(one for one in ALL if built.sees(identity(), one)) == granted
    assert tuple(one for one in ALL if isinstance(built.decide(call(to=one)), Allow)) == granted


def test_a_scope_that_the_catalog_names_selects_whatever_has_it() -> None:
    built = policy(scope=Scope(name="s", by_name=True))
    assert built.sees(identity(), target("bank__letter", kind=TargetKind.PROMPT, scope="s"))


@pytest.mark.parametrize(
    ("named", "about"),
    [
        ({}, ALL),
        ({"tools": ("*",)}, (TOOL,)),
        ({"prompts": ("bank__*",)}, (PROMPT, OF_PROMPT)),
        ({"resources": ("*db://*",)}, (TEMPLATE, OF_TEMPLATE)),
        ({"tools": ("bank__pay",), "resources": ("*",)}, (TOOL, FILE, TEMPLATE, OF_TEMPLATE)),
    ],
)
def test_a_rule_is_about_what_it_names_and_without_names_about_everything(
    named: dict[str, Any], about: tuple[Target, ...]
) -> None:
    built = policy(Rule(id="r", effect=Effect.DENY, **named))
    assert tuple(one for one in ALL if isinstance(built.decide(call(to=one)), Deny)) == about
    assert tuple(one for one in ALL if not built.sees(identity(), one)) == about


@pytest.mark.parametrize("key", ["tools", "prompts", "resources"])
def test_a_rule_that_names_nothing_in_so_many_words_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="is empty, so the rule is about nothing") as caught:
        policy(Rule(id="r", effect=Effect.DENY, **{key: ()}))
    assert caught.value.where == f"rules.r.{key}"


def test_a_pattern_that_would_never_fit_is_refused_where_it_stands() -> None:
    with pytest.raises(ConfigError, match="only wildcard") as caught:
        policy(Rule(id="r", effect=Effect.DENY, resources=("mcpgw+bank+db://{id}",)))
    assert caught.value.where == "rules.r.resources"
    with pytest.raises(ConfigError, match="only wildcard") as caught:
        policy(scope=Scope(name="s", prompts=("bank__[ab]",)))
    assert caught.value.where == "scopes.s.prompts"


def test_a_rule_for_other_prompts_says_so() -> None:
    (finding,) = policy(Rule(id="r", effect=Effect.DENY, prompts=("x",))).explain(call(to=PROMPT)).findings
    assert finding.why == "it is about other prompts"


def test_conditions_look_at_the_uri_and_at_what_stands_for_its_variables() -> None:
    rule = Rule(id="r", effect=Effect.DENY, resources=("*db*",), when="args.variables.id == 'x' || args.uri.endsWith('y')")
    decide = policy(rule).decide
    assert isinstance(decide(call({"uri": "db://z", "variables": {"id": "z"}}, to=TEMPLATE)), Allow)
    assert isinstance(decide(call({"uri": "db://x", "variables": {"id": "x"}}, to=TEMPLATE)), Deny)
    assert isinstance(decide(call({"uri": "db://y", "variables": {"id": "y"}}, to=TEMPLATE)), Deny)


def test_a_prompt_and_a_resource_are_held_like_tools_and_completions_are_denied_instead() -> None:
    built = policy(Rule(id="r", effect=Effect.HOLD, prompts=("*",)))
    assert isinstance(built.decide(call(to=PROMPT)), Hold)
    assert isinstance(built.decide(call(to=FILE)), Allow)
    denied = built.decide(call(to=OF_PROMPT))
    assert isinstance(denied, Deny) and not denied.hidden
    assert denied.ruling.rule_ids == ("r",) and "not asked about completions" in denied.ruling.reason

    risky = target("mcpgw+bank+x:y", kind=TargetKind.RESOURCE, definition={"uri": "x:y"}, upstream_name="x:y", risk=Risk.HIGH)
    assert isinstance(built.decide(call(to=risky)), Hold)


def test_risk_is_lifted_for_one_prompt_by_its_exact_name() -> None:
    risky = target("bank__letter", kind=TargetKind.PROMPT, risk=Risk.HIGH)
    lifting = Rule(id="r", effect=Effect.ALLOW, prompts=("bank__letter",), lifts_risk=True)
    assert isinstance(policy(lifting).decide(call(to=risky)), Allow)
    for vague in ({"prompts": ("bank__*",)}, {}):
        with pytest.raises(ConfigError, match="wildcard"):
            policy(Rule(id="r", effect=Effect.ALLOW, lifts_risk=True, **vague))


def test_rules_that_name_nothing_that_is_published_are_found() -> None:
    built = policy(
        Rule(id="typo", effect=Effect.DENY, resources=("mcpgw+bnak+*",)),
        Rule(id="fine", effect=Effect.DENY, prompts=("bank__l*",)),
    )
    assert built.idle_rules(ALL) == ("typo",)
