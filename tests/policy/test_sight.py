"""What is remembered of what identities see: never more than a policy would say anew."""

from typing import Never

import pytest

from mcpgw.policy.config import Defaults, Effect, Role, Rule, Scope
from mcpgw.policy.policy import Policy
from mcpgw.policy.sight import MOST
from tests.policy.samples import identity, target

STAFF = Role("staff", ("group:staff",), ("all",))
ALL = Scope(name="all", tools=("*",))
TARGETS = (target("bank__ask"), target("bank__pay"))


def built(*rules: Rule) -> Policy:
    return Policy.build([STAFF], [ALL], list(rules), Defaults(approvers=("group:leads",)))


def test_the_same_caller_before_the_same_targets_is_given_the_same_again() -> None:
    policy = built()
    caller = identity(groups=frozenset({"staff"}))
    assert policy.visible(caller, TARGETS) == TARGETS
    assert policy.visible(caller, TARGETS) is policy.visible(identity(groups=frozenset({"staff"})), TARGETS)


def test_another_caller_other_claims_and_other_targets_are_looked_at_anew() -> None:
    policy = built(Rule(id="one", effect=Effect.DENY, when="identity.claims.level == true"))
    staff = frozenset({"staff"})
    assert policy.visible(identity(groups=frozenset()), TARGETS) == ()
    assert policy.visible(identity(groups=staff, claims={"level": 1}), TARGETS) == TARGETS  # in Python alone that is true
    assert policy.visible(identity(groups=staff, claims={"level": False}), TARGETS) == TARGETS
    assert policy.visible(identity(groups=staff, claims={"level": True}), TARGETS) == ()
    assert policy.visible(identity(groups=staff, claims={"level": False}), TARGETS[:1]) == TARGETS[:1]


class Broken(dict[str, object]):
    """Claims that fail when they are read."""

    def items(self) -> Never:
        raise LookupError("SECRET")


def test_who_cannot_be_judged_sees_nothing_and_the_log_says_so_without_the_claims(caplog: pytest.LogCaptureFixture) -> None:
    policy = built(Rule(id="one", effect=Effect.DENY, when="identity.claims.level == true"))
    assert policy.visible(identity(groups=frozenset({"staff"}), claims=Broken()), TARGETS) == ()
    assert caplog.text.count("LookupError") == len(TARGETS)
    assert "SECRET" not in caplog.text


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    policy = built()
    first = identity("first", groups=frozenset({"staff"}))
    before = policy.visible(first, TARGETS[:])
    for number in range(MOST):
        policy.visible(identity(f"other-{number}", groups=frozenset({"staff"})), TARGETS)
    assert policy.visible(first, TARGETS) == before
    assert policy.visible(first, TARGETS) is not before
