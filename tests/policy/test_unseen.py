"""What was masked is not guessed: a decision on what is left is told only if it is the one that was made on all of it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mcpgw.core.answers import ANSWERS, Answers, with_answers
from mcpgw.core.model import Risk, UnknownTarget
from mcpgw.policy import Effect, Policy, Role, Rule, Scope, SqlCondition, Unseen, Untold
from mcpgw.policy.plain import Unsuitable, plain
from mcpgw.policy.policy import Explanation
from mcpgw.policy.unseen import Reads, reads_of
from tests.policy.samples import EVERYTHING, LEADS, RISKY, call, identity, policy, target
from tests.policy.test_totality import ARGUMENTS, IDENTITIES, JSON, TARGETS

ARGS = ("amount", "list", "to", "query")
CONDITIONS = st.sampled_from(
    [
        "args.amount > 10",
        "has(args.to) && args.to == 'x'",
        "args['to'] != 'x' && args.amount < 5",
        "size(args) > 1",
        "'to' in args",
        "args.exists(name, name == 'to' && args[name] == 'x')",
        "has(args.list) && args.list.exists(i, i == args.to)",
        "identity.claims.dept == 'x'",
        "identity.subject == 'bob' || args.amount == 3",
        "",
    ]
)
RULES = st.lists(
    st.builds(
        lambda effect, when, sql, lifts, roles, mode: Rule(
            id="r",
            effect=effect,
            tools=("bank__transfer", "bank__read", "crm__find"),
            when=when,
            roles=roles,
            mode=mode,
            sql=SqlCondition(argument="query", dialect="postgres", allow_only=("select",)) if sql else None,
            lifts_risk=lifts and effect is Effect.ALLOW,
        ),
        st.sampled_from(Effect),
        CONDITIONS,
        st.booleans(),
        st.booleans(),
        st.sampled_from([(), ("kind:agent",), ("claim:dept=x",), ("claim:dept=x", "group:leads")]),
        st.sampled_from(["enforce", "observe"]),
    ),
    max_size=4,
)


def made(rules: list[Rule], *, by_claim: bool, approvers: bool) -> Policy:
    numbered = [replace(rule, id=f"r{number}") for number, rule in enumerate(rules)]
    members = ("claim:level=3", "group:leads") if by_claim else ("everyone", "group:tellers")
    defaults = LEADS if approvers else replace(LEADS, approvers=())
    numbered = [rule for rule in numbered if approvers or rule.effect is not Effect.HOLD]
    return Policy.build(
        [Role("staff", members, ("all", "reads"))], [*EVERYTHING, Scope(name="reads", tags=("pii",))], numbered, defaults
    )


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(RULES, ARGUMENTS, IDENTITIES, TARGETS, st.data())
def test_what_is_told_of_a_masked_call_is_what_was_decided_on_the_whole_one(
    rules: list[Rule], arguments: dict[str, Any], caller: Any, tool: Any, data: st.DataObject
) -> None:
    judging = made(rules, by_claim=data.draw(st.booleans()), approvers=data.draw(st.booleans()))
    masked = data.draw(st.frozensets(st.sampled_from(sorted(arguments)), max_size=2)) if arguments else frozenset()
    hidden = {name: data.draw(JSON) if name in masked else value for name, value in arguments.items()}
    gone = data.draw(st.booleans())
    try:
        plain(arguments), plain(hidden), plain(caller.claims)
    except Unsuitable:
        assume(False)  # then no rule has an answer, and whoever asks knows by the record
    asked, left = call(arguments, by=caller, to=tool), call(hidden, by=caller, to=tool)
    if gone:
        left = call(hidden, by=replace(caller, claims={}), to=tool)
    told = judging.rejudge(left, Unseen(arguments=masked, claims=gone))
    if isinstance(told, Explanation):
        assert type(told.decision) is type(judging.decide(asked))
    if not masked and not gone:
        assert told == judging.explain(asked)


@pytest.mark.parametrize(
    ("source", "names", "everything"),
    [
        ("args.amount > 1 && args['to'] == \"x\"", {"amount", "to"}, False),
        ('args["to"].size() > 1', {"to"}, False),
        ("args.rows[0].ssn == args . memo", {"rows", "memo"}, False),
        ("size(args) > 1 || args.a", {"a"}, True),
        ("args.exists(n, n == 'x')", set(), True),
        ("args[identity.subject] == 1", set(), True),
        ("args['a\\\\'b'] == 1", set(), True),
        ("myargs.x == 1 && identity.subject == 'x'", set(), False),
        ("answers.exists(key, answers[key].action == 'decline') || args.a", {ANSWERS, "a"}, False),
    ],
)  # fmt: skip
def test_what_a_condition_reads_is_never_less_than_it_does(source: str, names: set[str], everything: bool) -> None:
    assert reads_of(source) == Reads(arguments=frozenset(names), all_arguments=everything)


def test_a_role_a_rule_and_a_decider_may_depend_on_claims_that_are_gone() -> None:
    gone = Unseen(claims=True)
    by_role = Policy.build([Role("teller", ("claim:dept=x",), ("all",))], EVERYTHING, [], LEADS)
    assert by_role.rejudge(call(), gone) == Untold(())
    assert policy(Rule(id="r", effect=Effect.DENY, roles=("claim:dept=x",))).rejudge(call(), gone) == Untold(("r",))
    elsewhere = policy(Rule(id="r", effect=Effect.DENY, roles=("claim:dept=x",), tools=("crm__find",)))
    told = elsewhere.rejudge(call(), gone)
    assert isinstance(told, Explanation) and told.decision == elsewhere.decide(call())


def test_a_rule_that_reads_masked_answers_is_not_asked() -> None:
    """They stand among the arguments, under a name that no condition writes."""
    denying = policy(Rule(id="r", effect=Effect.DENY, when="answers.who.content.name == 'Ann'"))
    masked = call(with_answers({}, Answers(responses={"who": {"content": {"name": "<PERSON>"}}})))
    assert denying.rejudge(masked, Unseen(arguments=frozenset({ANSWERS}))) == Untold(("r",))


def test_only_what_could_be_taken_back_is_untold() -> None:
    """A mask hides nothing from somebody who may call nothing, nor of a name that nobody publishes."""
    always = Rule(id="always", effect=Effect.DENY, tools=("crm__find",))
    reading = policy(Rule(id="r", effect=Effect.DENY, when="args.amount > 1"), always)
    all_gone = Unseen(all_arguments=True)
    assert reading.rejudge(call(), all_gone) == Untold(("r",))
    for certain in (
        call(by=identity(groups=frozenset())),
        call(to=UnknownTarget(kind=target().kind, name="bank__nothing")),
        call(to=target("crm__find")),
    ):
        told = reading.rejudge(certain, all_gone)
        assert isinstance(told, Explanation) and type(told.decision) is type(reading.decide(certain))


@pytest.mark.parametrize(("risk", "told"), [(Risk.HIGH, False), (Risk.LOW, True)])
def test_an_allow_rule_that_cannot_be_asked_matters_only_where_it_would_lift_a_risk(risk: Risk, told: bool) -> None:
    lifting = policy(Rule(id="fine", effect=Effect.ALLOW, tools=(RISKY.name,), when="args.amount < 5", lifts_risk=True))
    found = lifting.rejudge(call({"amount": 1}, to=target(RISKY.name, risk=risk)), Unseen(arguments=frozenset({"amount"})))
    assert isinstance(found, Explanation) is told and (told or found == Untold(("fine",)))
