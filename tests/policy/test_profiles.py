"""Profiles: what is listed to whom. No decision knows of them."""

from typing import Any

import pytest

from mcpgw.core.errors import ConfigError
from mcpgw.core.model import TargetKind
from mcpgw.policy import Defaults, Policy, Profile, Role, Scope
from tests.policy.samples import call, identity, target

ROLES = (
    Role("tellers", ("group:tellers",), ("all",)),
    Role("analysts", ("group:analysts",), ("all",)),
    Role("robots", ("kind:agent",), ("some",)),
)
SCOPES = (Scope(name="all", tools=("*", "mcpgw__*"), prompts=("*",)), Scope(name="some", tools=("bank__*",)))
TARGETS = (
    target("bank__ask"),
    target("bank__pay"),
    target("docs__read"),
    target("mcpgw__approval_status"),
    target("mcpgw__call_tool"),
    target("mcpgw__find_tools"),
    target("bank__letter", kind=TargetKind.PROMPT),
)
OTHERS = ["mcpgw__approval_status", "bank__letter"]
"""What no profile takes away."""
SEARCH = ["mcpgw__approval_status", "mcpgw__call_tool", "mcpgw__find_tools", "bank__letter"]


def built(*profiles: Profile) -> Policy:
    return Policy.build(ROLES, SCOPES, (), Defaults(approvers=("group:leads",)), profiles)


def listed(policy: Policy, **who: Any) -> list[str]:
    return [target.name for target in policy.listed(identity(**who), TARGETS)]


def test_without_a_profile_everything_is_listed_but_the_tools_that_search() -> None:
    assert listed(built()) == ["bank__ask", "bank__pay", "docs__read", *OTHERS]


def test_a_profile_lists_the_tools_that_it_names() -> None:
    assert listed(built(Profile("p", ("tellers",), tools=("bank__a*", "docs__*")))) == ["bank__ask", "docs__read", *OTHERS]


def test_a_profile_with_search_lists_the_two_tools_and_what_is_pinned() -> None:
    assert listed(built(Profile("p", ("tellers",), search=True))) == SEARCH
    assert listed(built(Profile("p", ("tellers",), tools=("bank__pay",), search=True))) == ["bank__pay", *SEARCH]


@pytest.mark.parametrize("entry", ["tellers", "group:tellers", "user:alice", "everyone"])
def test_the_first_profile_that_is_for_a_caller_holds(entry: str) -> None:
    policy = built(
        Profile("a", ("analysts",), tools=("docs__*",)),
        Profile("b", (entry,), tools=("bank__ask",)),
        Profile("c", ("everyone",), search=True),
    )
    assert listed(policy) == ["bank__ask", *OTHERS]
    assert listed(policy, groups=frozenset({"tellers", "analysts"})) == ["docs__read", *OTHERS]


def test_a_profile_grants_nothing_and_takes_nothing_from_a_call() -> None:
    narrow = built(Profile("p", ("everyone",), tools=("docs__*",)))
    assert narrow.policy_hash == built().policy_hash
    for one in TARGETS:
        assert narrow.decide(call(to=one)) == built().decide(call(to=one))
        assert narrow.sees(identity(), one) is built().sees(identity(), one)
    assert narrow.visible(identity(), TARGETS) == TARGETS
    assert listed(narrow, subject="eve", groups=frozenset()) == []


def test_what_is_listed_is_the_same_again_while_nothing_changed() -> None:
    policy = built(Profile("p", ("tellers",), search=True))
    assert policy.listed(identity(), TARGETS) is policy.listed(identity(), TARGETS)


def test_what_a_role_is_listed_is_told_by_its_name_and_by_its_members() -> None:
    policy = built(
        Profile("a", ("group:analysts",), search=True),
        Profile("b", ("kind:service", "robots"), tools=("bank__pay",)),
    )
    tools = TARGETS[:-1]
    assert [policy.searches(role.name) for role in ROLES] == [False, True, False]
    assert [one.name for one in policy.listed_to("analysts", tools)] == SEARCH[:-1]
    assert [one.name for one in policy.listed_to("robots", tools)] == ["bank__pay"]
    assert len(policy.listed_to("tellers", tools)) == 4


@pytest.mark.parametrize(
    ("profile", "where", "message"),
    [
        (Profile("p", ("tellers",)), "profiles.p", "lists nothing"),
        (Profile("p", ("teller",), search=True), "profiles.p.roles", "there is no role 'teller'"),
        (Profile("p", ("group:",), search=True), "profiles.p.roles", "none of user:NAME"),
        (Profile("p", ("tellers",), tools=("",)), "profiles.p.tools", ""),
    ],
)
def test_a_profile_that_cannot_be_meant_is_refused(profile: Profile, where: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        built(profile)
    assert refused.value.where == where and message in str(refused.value)


class Broken(dict[str, object]):
    """Claims that fail when they are read."""

    def get(self, key: str, default: object = None) -> object:
        raise LookupError("SECRET")


def test_who_cannot_be_placed_is_listed_nothing(caplog: pytest.LogCaptureFixture) -> None:
    policy = built(Profile("p", ("claim:a=b",), search=True))
    assert listed(policy, claims=Broken()) == []
    assert policy.visible(identity(claims=Broken()), TARGETS) == TARGETS
    assert "LookupError" in caplog.text and "SECRET" not in caplog.text
