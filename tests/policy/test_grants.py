"""Roles give scopes, scopes select targets, and nothing else is granted."""

from typing import Any

import pytest

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import (
    Allow,
    Deny,
    IdentityKind,
    Risk,
    TargetKind,
    UnknownTarget,
)
from mcpgw.policy import Grant, Policy, Role, Rule, Scope
from mcpgw.policy.config import Effect
from tests.policy.samples import EVERYTHING, LEADS, TELLER, call, identity, policy, target


@pytest.mark.parametrize(
    ("member", "who", "included"),
    [
        ("user:alice", {}, True),
        ("user:alice", {"issuer": "https://other.example"}, True),
        ("user:bob", {}, False),
        ("user:https://idp.example#alice", {}, True),
        ("user:https://idp.example#alice", {"issuer": "https://other.example"}, False),
        # A subject that reads like somebody's principal is not that principal.
        ("user:https://idp.example#alice", {"subject": "https://idp.example#alice", "issuer": "https://evil.example"}, False),
        ("group:tellers", {}, True),
        ("group:Tellers", {}, False),
        ("group:tell", {}, False),
        ("group:https://idp.example#tellers", {}, True),
        ("group:https://idp.example#guests", {}, False),
        ("group:https://idp.example#tellers", {"issuer": "https://other.example"}, False),
        # A group that reads like one of another issuer is not that group.
        (
            "group:https://idp.example#tellers",
            {"issuer": "https://evil.example", "groups": frozenset({"https://idp.example#tellers"})},
            False,
        ),
        ("claim:dept=fraud", {"claims": {"dept": "fraud"}}, True),
        ("claim:dept=fraud", {"claims": {"dept": ["cards", "fraud"]}}, True),
        ("claim:dept=fraud", {"claims": {"dept": "fraudster"}}, False),
        ("claim:dept=fraud", {"claims": {"dept": {"fraud": True}}}, False),
        ("claim:dept=fraud", {}, False),
        ("claim:dept=None", {"claims": {"dept": None}}, False),
        ("claim:level=3", {"claims": {"level": 3}}, True),
        ("claim:level=3", {"claims": {"level": "3"}}, True),
        ("claim:level=3.5", {"claims": {"level": 3.5}}, True),
        ("claim:level=nan", {"claims": {"level": float("nan")}}, False),
        ("claim:level=1", {"claims": {"level": 10**5000}}, False),
        ("claim:admin=true", {"claims": {"admin": True}}, True),
        ("claim:admin=1", {"claims": {"admin": True}}, False),
        ("claim:admin=false", {"claims": {"admin": False}}, True),
        ("claim:https://x.example/role?v=2=clerk", {"claims": {"https://x.example/role?v=2": "clerk"}}, True),
        ("kind:agent", {"kind": IdentityKind.AGENT}, True),
        ("kind:agent", {"kind": IdentityKind.SERVICE}, False),
        ("everyone", {"kind": IdentityKind.SERVICE}, True),
        ("everyone", {"method": "unsafe_anonymous"}, False),
        ("user:anonymous", {"method": "unsafe_anonymous", "subject": "anonymous"}, True),
    ],
)
def test_members(member: str, who: dict[str, Any], included: bool) -> None:
    judge = Policy.build([Role("r", (member,), ("all",))], EVERYTHING, [], LEADS)
    caller = identity(**who)
    assert isinstance(judge.decide(call(by=caller)), Allow) is included
    assert judge.sees(caller, target()) is included


@pytest.mark.parametrize(
    ("scope", "to", "selected"),
    [
        ({"tools": ("bank__*",)}, {}, True),
        ({"tools": ("crm__*",)}, {}, False),
        ({"tools": ("crm__*", "bank__t*")}, {}, True),
        ({"tags": ("pii", "money")}, {"tags": frozenset({"money"})}, True),
        ({"tags": ("pii",)}, {"tags": frozenset({"money"})}, False),
        ({"risk": (Risk.LOW,)}, {}, True),
        ({"risk": (Risk.HIGH,)}, {}, False),
        ({"risk": (Risk.HIGH, Risk.LOW)}, {}, True),
        ({"annotations": {"readOnlyHint": True}}, {}, False),
        ({"annotations": {"readOnlyHint": False}}, {}, True),
        ({"annotations": {"idempotentHint": False}}, {}, False),
        ({"annotations": {"readOnlyHint": True}}, {"annotations": {"readOnlyHint": 1}}, False),
        ({"annotations": {"readOnlyHint": False, "x": True}}, {"annotations": {"readOnlyHint": False}}, False),
        ({"tools": ("bank__*",), "tags": ("pii",)}, {}, False),
        ({"tools": ("bank__*",), "tags": ("pii",)}, {"tags": frozenset({"pii"})}, True),
        # What the catalog assigns to a scope is granted by that scope alone.
        ({"tools": ("*",)}, {"scope": "payments"}, False),
        ({"name": "payments", "tools": ("crm__*",)}, {"scope": "payments"}, True),
        ({"name": "payments", "by_name": True}, {"scope": "payments"}, True),
        ({"name": "payments", "by_name": True}, {}, False),
    ],
)
def test_scopes_select(scope: dict[str, Any], to: dict[str, Any], selected: bool) -> None:
    named = {"name": "s", **scope}
    judge = Policy.build([Role("r", ("everyone",), (named["name"],))], [Scope(**named)], [], LEADS)
    tool = target(**to)
    assert judge.sees(identity(), tool) is selected
    assert isinstance(judge.decide(call(to=tool)), Allow) is selected


@pytest.mark.parametrize(
    ("carried", "granted"),
    [
        (set(), True),
        ({"all"}, True),
        ({"all", "openid"}, True),
        ({"openid", "profile", "email", "offline_access"}, True),
        ({"something-else"}, False),
        ({"openid", "something-else"}, False),
    ],
)
def test_scopes_of_the_credential_only_narrow(carried: set[str], granted: bool) -> None:
    caller = identity(scopes=frozenset(carried))
    assert isinstance(policy().decide(call(by=caller)), Allow) is granted
    assert policy().explain(call(by=caller)).withheld == (() if granted else ("all",))
    stranger = identity(groups=frozenset(), scopes=frozenset({"all"}))
    assert not policy().sees(stranger, target())


def test_what_is_not_granted_is_denied_like_what_does_not_exist() -> None:
    stranger = identity("mallory", groups=frozenset())
    hidden = policy().decide(call(by=stranger))
    unknown = policy().decide(call(by=stranger, to=UnknownTarget(kind=TargetKind.TOOL, name="bank__transfer")))
    assert hidden == unknown
    assert isinstance(hidden, Deny)
    assert hidden.hidden
    assert hidden.ruling.rule_ids == ("default.deny",)
    assert hidden.ruling.policy_hash == policy().policy_hash


def test_an_allowed_call_says_which_roles_and_scopes_granted_it() -> None:
    roles = [Role("b", ("group:tellers",), ("two", "one", "two")), Role("a", ("user:alice",), ("one",))]
    scopes = [Scope(name="one", tools=("bank__*",)), Scope(name="two", tools=("*",))]
    decision = Policy.build(roles, scopes, []).decide(call())
    assert isinstance(decision, Allow)
    assert decision.ruling.rule_ids == ("role:a/scope:one", "role:b/scope:two", "role:b/scope:one")
    assert decision.ruling.reason == "Granted by role:a/scope:one."


def test_an_access_review_shows_grants_visibility_and_the_rules_about_a_tool() -> None:
    judge = policy(
        Rule(id="closed", effect=Effect.DENY, tools=("bank__close",)),
        Rule(id="big", effect=Effect.HOLD, tools=("bank__transfer",), when="args.amount > 10"),
        Rule(id="others", effect=Effect.DENY, roles=("group:guests",)),
    )
    transfer, close = judge.grants(identity(), [target(), target("bank__close")])
    assert transfer.grants == (Grant("teller", "all"),)
    assert (transfer.visible, transfer.rules) == (True, ("big",))
    assert (close.visible, close.rules) == (False, ("closed",))
    assert judge.idle_rules([target()]) == ("closed",)
    assert judge.offered("teller", [target()]) == (target(),)


@pytest.mark.parametrize(
    ("roles", "scopes", "where", "says", "hint"),
    [
        (TELLER, [Scope(name="alll", tools=("*",))], "roles.teller.scopes", "no scope 'all'", "'alll'"),
        (TELLER, [Scope(name="x", tools=("*",))], "roles.teller.scopes", "no scope 'all'", "There are these scopes: x."),
        (TELLER, [], "roles.teller.scopes", "no scope 'all'", "no scopes yet"),
        ([Role("r", (), ("all",))], EVERYTHING, "roles.r.members", "empty", "members ="),
        ([Role("r", ("everyone",), ())], EVERYTHING, "roles.r.scopes", "empty", "all"),
        ([Role("r", ("tellers",), ("all",))], EVERYTHING, "roles.r.members", "'tellers' is none of", ""),
        ([Role("r", ("group:",), ("all",))], EVERYTHING, "roles.r.members", "none of", ""),
        ([Role("r", ("user:",), ("all",))], EVERYTHING, "roles.r.members", "none of", ""),
        ([Role("r", ("claim:dept",), ("all",))], EVERYTHING, "roles.r.members", "none of", ""),
        ([Role("r", ("claim:dept=",), ("all",))], EVERYTHING, "roles.r.members", "none of", ""),
        ([Role("r", ("claim:=x",), ("all",))], EVERYTHING, "roles.r.members", "none of", ""),
        ([Role("r", ("kind:robot",), ("all",))], EVERYTHING, "roles.r.members", "kind:human|service|agent", ""),
        (TELLER * 2, EVERYTHING, "roles.teller", "twice", ""),
        (TELLER, EVERYTHING * 2, "scopes.all", "twice", ""),
        ((), [Scope(name="s")], "scopes.s", "selects nothing", "by_name"),
        ((), [Scope(name="s", by_name=True, tags=("x",))], "scopes.s", "criteria as well", ""),
        ((), [Scope(name="s", tools=("bank__[ab]",))], "scopes.s.tools", "only wildcard", ""),
    ],
)
def test_what_would_grant_nothing_or_something_else_is_refused(
    roles: Any, scopes: Any, where: str, says: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Policy.build(roles, scopes, [])
    assert caught.value.where == where
    assert says in str(caught.value)
    assert hint in caught.value.hint
