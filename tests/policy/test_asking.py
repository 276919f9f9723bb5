"""Whom a hold rule asks, how, and when: quorum expressions, escalation, business hours, break-glass, and trying a rule out."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from mcpgw.core.allowance import NO_GRANTS, GrantLimits
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import (
    Allow,
    Deny,
    Hold,
)
from mcpgw.core.terms import BreakGlass, Freshness, Level, Seats
from mcpgw.policy import Defaults, Effect, Grants, Hours, Mode, Rule, Step
from tests.policy.samples import LEADS, RISKY, call, identity, policy, target

HOUR_NS = 3_600_000_000_000
GLASS = {"openers": ("group:duty",), "break_glass_s": 60.0, "reviewers": ("group:audit",)}
DUTY = Defaults(approvers=("group:leads",), deadline_s=600.0, admins=("user:root",), **GLASS)  # type: ignore[arg-type]


def held(rule: Rule, defaults: Defaults = LEADS, received_ns: int = 0) -> Hold:
    decision = policy(rule, defaults=defaults).decide(call(received_ns=received_ns))
    assert isinstance(decision, Hold), decision
    return decision


def hold(**keys: Any) -> Rule:
    return Rule(id="r", effect=Effect.HOLD, reason="Ask.", **keys)


QUORUMS: list[tuple[dict[str, Any], tuple[Seats, ...]]] = [
    ({}, (Seats(1, ("group:leads",)),)),
    ({"quorum": 2}, (Seats(2, ("group:leads",)),)),
    ({"approvers": ("user:a", "claim:desk=fx"), "quorum": 2}, (Seats(2, ("user:a", "claim:desk=fx")),)),
    ({"quorum": "2 of group:leads"}, (Seats(2, ("group:leads",)),)),
    (
        {"quorum": "2 of group:payments-leads and 1 of group:risk or user:carol"},
        (Seats(2, ("group:payments-leads",)), Seats(1, ("group:risk", "user:carol"))),
    ),
    (
        {"quorum": '1 of group:"Risk EU" or "claim:team=fx desk"'},
        (Seats(1, ("group:Risk EU", "claim:team=fx desk")),),
    ),
]


@pytest.mark.parametrize(("keys", "seats"), QUORUMS)
def test_a_quorum_asks_for_seats(keys: dict[str, Any], seats: tuple[Seats, ...]) -> None:
    assert held(hold(**keys)).terms.levels == (Level(seats=seats, lasts_ns=600 * 10**9),)


def test_the_default_quorum_may_name_its_people_too() -> None:
    both = Defaults(quorum="1 of group:leads and 1 of group:risk")
    assert held(hold(), both).terms.levels[0].seats == (Seats(1, ("group:leads",)), Seats(1, ("group:risk",)))
    assert isinstance(policy(defaults=both).decide(call(to=RISKY)), Hold)


def test_silence_goes_from_step_to_step() -> None:
    steps = (Step(approvers=("group:heads",), deadline_s=60), Step(quorum="2 of user:a or user:b", deadline_s=120))
    levels = held(hold(steps=steps, deadline_s=30)).terms.levels
    assert [(str(level), level.lasts_ns) for level in levels] == [
        ("1 of group:leads", 30 * 10**9),
        ("1 of group:heads", 60 * 10**9),
        ("2 of user:a, user:b", 120 * 10**9),
    ]


def test_what_a_vote_must_be_like_comes_with_the_hold() -> None:
    rule = hold(comment_required=True, denial_settles=False, max_auth_age_s=900, acr=("gold",), amr=("mfa",))
    terms = held(rule).terms
    assert (terms.comment_required, terms.denial_settles) == (True, False)
    assert terms.freshness == Freshness(max_age_ns=900 * 10**9, acr=("gold",), amr=("mfa",))
    assert policy(rule).wants_fresh_sign_in() == ("r",)
    assert policy(hold()).wants_fresh_sign_in() == ()


def test_nothing_runs_unattended_unless_the_rule_says_so() -> None:
    assert [held(rule).terms.unattended for rule in (hold(), hold(run_unattended=True))] == [False, True]
    risky = policy(defaults=LEADS).decide(call(to=RISKY))
    assert isinstance(risky, Hold) and not risky.terms.unattended
    assert policy(hold()).policy_hash != policy(hold(run_unattended=True)).policy_hash


def test_nobodys_answers_go_unapproved_unless_the_rule_says_so() -> None:
    assert [held(rule).terms.may_be_asked for rule in (hold(), hold(may_be_asked=True))] == [False, True]
    risky = policy(defaults=LEADS).decide(call(to=RISKY))
    assert isinstance(risky, Hold) and not risky.terms.may_be_asked
    assert policy(hold()).policy_hash != policy(hold(may_be_asked=True)).policy_hash


def test_break_glass_and_admins_are_for_every_rule_that_does_not_refuse_them() -> None:
    glass = BreakGlass(openers=("group:duty",), lasts_ns=60 * 10**9, reviewers=("group:audit",))
    assert (held(hold(), DUTY).terms.break_glass, held(hold(), DUTY).terms.admins) == (glass, ("user:root",))
    assert held(hold(break_glass=False), DUTY).terms.break_glass == BreakGlass()
    risky = policy(defaults=DUTY).decide(call(to=RISKY))
    assert isinstance(risky, Hold) and risky.terms.break_glass == glass


# --- business hours ------------------------------------------------------------------------------------------------------

OFFICE = Hours(zone="Europe/Berlin", days=("mon", "tue", "wed", "thu", "fri"), opens="08:00", closes="18:00")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("moment", "somebody_is_there"),
    [
        ("2026-11-20T07:00:00", True),  # Friday, 08:00 in winter
        ("2026-11-20T06:59:59", False),
        ("2026-11-20T16:59:59", True),
        ("2026-11-20T17:00:00", False),
        ("2026-11-21T12:00:00", False),  # Saturday
        ("2026-07-17T06:00:00", True),  # Friday, 08:00 in summer
        ("2026-07-17T16:00:00", False),
    ],
)
def test_outside_of_business_hours_nobody_is_asked(moment: str, somebody_is_there: bool) -> None:
    decision = policy(hold(hours=OFFICE)).decide(call(received_ns=at(moment)))
    assert isinstance(decision, Hold if somebody_is_there else Deny)
    if isinstance(decision, Deny):
        said = "Ask. People decide on it mon, tue, wed, thu, fri 08:00 to 18:00, Europe/Berlin."
        assert (decision.ruling.reason, decision.hidden) == (said, False)


def test_or_people_have_more_time() -> None:
    steps = (Step(approvers=("group:heads",), deadline_s=60),)
    rule = hold(hours=dataclasses.replace(OFFICE, outside_s=16 * 3600), steps=steps)
    night = held(rule, received_ns=at("2026-11-21T12:00:00")).terms
    day = held(rule, received_ns=at("2026-11-20T12:00:00")).terms
    assert [level.lasts_ns for level in night.levels] == [16 * HOUR_NS, 60 * 10**9]
    assert [level.lasts_ns for level in day.levels] == [600 * 10**9, 60 * 10**9]
    assert night.binding() == day.binding(), "asked again by night, it is the identical call"


# --- trying a rule out ---------------------------------------------------------------------------------------------------


def test_an_observed_rule_is_recorded_and_decides_nothing() -> None:
    rules = (
        Rule(id="hold", effect=Effect.HOLD, mode=Mode.OBSERVE, when="args.amount > 10"),
        Rule(id="deny", effect=Effect.DENY, mode=Mode.OBSERVE),
        Rule(id="other", effect=Effect.DENY, mode=Mode.OBSERVE, tools=("other__*",)),
        Rule(id="lift", effect=Effect.ALLOW, mode=Mode.OBSERVE, tools=(RISKY.name,), lifts_risk=True),
    )
    tried = policy(*rules)
    decision = tried.decide(call({"amount": 11}))
    assert isinstance(decision, Allow)
    assert decision.ruling.observed == (("hold", "hold"), ("deny", "deny"))
    assert tried.decide(call({})).ruling.observed == (("hold", "deny"), ("deny", "deny")), "no answer would deny"
    assert isinstance(tried.decide(call({"amount": 1}, to=RISKY)), Hold)
    assert tried.sees(identity(), target())
    assert tried.observed_rules() == ("hold", "deny", "other", "lift")
    assert {finding.rule_id: finding.observed for finding in tried.explain(call()).findings}["deny"]


def test_what_is_enforced_names_what_is_observed() -> None:
    tried = Rule(id="tried", effect=Effect.DENY, mode=Mode.OBSERVE)
    for enforced in (hold(), Rule(id="d", effect=Effect.DENY), hold(hours=dataclasses.replace(OFFICE, days=("sun",)))):
        decision = policy(enforced, tried).decide(call(received_ns=at("2026-11-20T12:00:00")))
        assert decision.ruling.observed == (("tried", "deny"),)
    assert policy(tried, defaults=Defaults()).decide(call(to=RISKY)).ruling.observed == (("tried", "deny"),)


# --- mistakes ------------------------------------------------------------------------------------------------------------

MISTAKES: list[tuple[dict[str, Any], str, str, str]] = [
    ({"quorum": "2 fo group:a"}, "quorum", "has 'fo' where 'of' should be", "Write quorum = 2"),
    ({"quorum": "2"}, "quorum", "has 'its end' where 'of' should be", ""),
    ({"quorum": "two of group:a"}, "quorum", "'two' where a number", "Write quorum = 2"),
    ({"quorum": "2 of grup:a"}, "quorum", "'grup:a' is neither", "Did you mean 'group'?"),
    ({"quorum": "2 of claim:a"}, "quorum", "'claim:a' is neither", ""),
    ({"quorum": "2 of group:a adn 1 of group:b"}, "quorum", "'adn' where 'and'", "Did you mean 'and'?"),
    ({"quorum": "2 of group:a and"}, "quorum", "ends with 'and'", ""),
    ({"quorum": "2 of"}, "quorum", "ends where people should be named", ""),
    ({"quorum": "2 of group:a or"}, "quorum", "ends where people should be named", ""),
    ({"quorum": ""}, "quorum", "is empty", ""),
    ({"quorum": "0 of group:a"}, "quorum", "at least 1", ""),
    ({"quorum": "11 of group:a"}, "quorum", "more than 10 people", ""),
    ({"quorum": "2 of user:a"}, "quorum", "only 1 approvers", "two seats"),
    ({"quorum": "1 of user:a and 1 of user:a"}, "quorum", "is 2, but there are only 1", "two seats"),
    ({"quorum": "2 of user:a and 1 of user:b or user:c"}, "quorum", "asks for 2 of user:a", ""),
    ({"quorum": "2 of group:a", "approvers": ("group:b",)}, "approvers", "names its people already", "Leave one"),
    ({"steps": (Step(deadline_s=5),)}, "on_silence.0.approvers", "is empty", "asked then"),
    ({"steps": (Step(approvers=("group:a",), deadline_s=0),)}, "on_silence.0.deadline", "more than nothing", ""),
    ({"steps": (Step(approvers=("group:a",), deadline_s=30 * 86_400),)}, "on_silence", "more than 30 days in all", ""),
    ({"hours": dataclasses.replace(OFFICE, zone="Europe/Berln")}, "hours.zone", "no time zone", "'Europe/Berlin'"),
    ({"hours": dataclasses.replace(OFFICE, zone="../etc/passwd")}, "hours.zone", "no time zone", ""),
    ({"hours": dataclasses.replace(OFFICE, days=("mno",))}, "hours.days", "'mno' is no day", "'mon'"),
    ({"hours": dataclasses.replace(OFFICE, days=("xyz",))}, "hours.days", "'xyz' is no day", "Days are"),
    ({"hours": dataclasses.replace(OFFICE, days=())}, "hours.days", "is empty", ""),
    ({"hours": dataclasses.replace(OFFICE, opens="8:00")}, "hours.opens", "'8:00' is no time", "08:30"),
    ({"hours": dataclasses.replace(OFFICE, opens="08:60")}, "hours.opens", "is no time", ""),
    ({"hours": dataclasses.replace(OFFICE, closes="24:01")}, "hours.closes", "is no time", ""),
    ({"hours": dataclasses.replace(OFFICE, closes="08:00")}, "hours.closes", "must be later", "24:00"),
    ({"hours": dataclasses.replace(OFFICE, outside_s=40 * 86_400)}, "hours.outside", "at most 30 days", ""),
]


@pytest.mark.parametrize(("keys", "key", "message", "hint"), MISTAKES)
def test_a_rule_under_which_nobody_could_agree_is_refused(keys: dict[str, Any], key: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        policy(hold(**keys))
    assert refused.value.where == f"rules.r.{key}"
    assert message in str(refused.value)
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    "keys",
    [{"steps": (Step(approvers=("group:a",), deadline_s=5),)}, {"comment_required": True}, {"denial_settles": False},
     {"max_auth_age_s": 1.0}, {"acr": ("a",)}, {"amr": ("a",)}, {"hours": OFFICE}, {"break_glass": False},
     {"run_unattended": True}, {"may_be_asked": True}],
)  # fmt: skip
def test_what_is_for_hold_rules_is_refused_elsewhere(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="means something for hold rules only"):
        policy(Rule(id="r", effect=Effect.DENY, **keys))


@pytest.mark.parametrize(
    ("defaults", "where", "message"),
    [
        ({"openers": ("duty",)}, "approval.break_glass.openers", "is neither"),
        ({"openers": ("user:one",)}, "approval.break_glass.openers", "at least two people"),
        ({"reviewers": ("group:audit",)}, "approval.break_glass.openers", "nothing to review"),
        ({"openers": ("group:a",), "reviewers": ("audit",)}, "approval.break_glass.reviewers", "is neither"),
        ({"openers": ("group:a",), "break_glass_s": 0.0}, "approval.break_glass.valid", "more than nothing"),
        ({"admins": ("root",)}, "approval.admins", "is neither"),
        ({"quorum": "1 of grup:a", "approvers": ()}, "approval.quorum", "is neither"),
    ],
)
def test_defaults_under_which_nobody_could_agree_are_refused(defaults: dict[str, Any], where: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        policy(defaults=dataclasses.replace(LEADS, **defaults))
    assert refused.value.where == where
    assert message in str(refused.value)


def test_approvers_without_a_number_are_refused_where_the_default_names_others() -> None:
    with pytest.raises(ConfigError, match="is missing, and that of"):
        policy(hold(approvers=("group:x",)), defaults=Defaults(quorum="1 of group:leads"))


GRANTS = Grants(max_calls=20, max_for_s=3_600.0, max_total={"amount": "10000"})
LIMITS = GrantLimits(max_calls=20, lasts_ns=HOUR_NS, total_of="amount", max_total="10000")


def test_grants_are_permitted_where_the_rule_says_so_and_nowhere_else() -> None:
    assert held(hold()).terms.grants == NO_GRANTS
    assert held(hold(grants=GRANTS)).terms.grants == LIMITS
    assert held(hold(grants=dataclasses.replace(GRANTS, max_total={}))).terms.grants == GrantLimits(
        max_calls=20, lasts_ns=HOUR_NS
    )


def test_no_rule_is_a_way_around_another_that_permits_no_grants_or_fewer() -> None:
    second = Rule(id="second", effect=Effect.HOLD)
    for other, limits in ((None, NO_GRANTS), (Grants(max_calls=3, max_for_s=60.0), 3)):
        decision = policy(hold(grants=GRANTS), dataclasses.replace(second, grants=other)).decide(call())
        assert isinstance(decision, Hold)
        assert limits in (decision.terms.grants, decision.terms.grants.max_calls)


def test_what_is_held_for_its_risk_is_granted_only_if_the_defaults_say_so() -> None:
    for grants, limits in ((None, NO_GRANTS), (GRANTS, LIMITS)):
        decision = policy(defaults=dataclasses.replace(LEADS, risk_grants=grants)).decide(call(to=RISKY))
        assert isinstance(decision, Hold)
        assert decision.terms.grants == limits
        assert held(hold(), dataclasses.replace(LEADS, risk_grants=grants)).terms.grants == NO_GRANTS


def test_grants_are_part_of_the_policys_hash_and_of_what_an_approval_binds() -> None:
    assert policy(hold()).policy_hash != policy(hold(grants=GRANTS)).policy_hash
    assert held(hold()).terms.binding() != held(hold(grants=GRANTS)).terms.binding()
    assert "grants" not in held(hold()).terms.binding()


@pytest.mark.parametrize(
    ("grants", "where"),
    [
        (dataclasses.replace(GRANTS, max_calls=0), "grants.max_calls"),
        (dataclasses.replace(GRANTS, max_calls=501), "grants.max_calls"),
        (dataclasses.replace(GRANTS, max_for_s=0.0), "grants.max_for"),
        (dataclasses.replace(GRANTS, max_for_s=31 * 86_400.0), "grants.max_for"),
        (dataclasses.replace(GRANTS, max_total={"a": "1", "b": "1"}), "grants.max_total"),
        (dataclasses.replace(GRANTS, max_total={"a": "0.0"}), "grants.max_total"),
        (dataclasses.replace(GRANTS, max_total={"a": "-1"}), "grants.max_total"),
        (dataclasses.replace(GRANTS, max_total={"a": "1e9"}), "grants.max_total"),
        (dataclasses.replace(GRANTS, max_total={"a": "nan"}), "grants.max_total"),
    ],
)
def test_grants_that_mean_nothing_are_refused(grants: Grants, where: str) -> None:
    with pytest.raises(ConfigError) as refused:
        policy(hold(grants=grants))
    assert refused.value.where == f"rules.r.{where}"
    with pytest.raises(ConfigError) as refused:
        policy(defaults=dataclasses.replace(LEADS, risk_grants=grants))
    assert refused.value.where == f"approval.risk_{where}"


def test_grants_are_for_hold_rules() -> None:
    with pytest.raises(ConfigError, match="hold rules only"):
        policy(Rule(id="r", effect=Effect.ALLOW, grants=GRANTS))
