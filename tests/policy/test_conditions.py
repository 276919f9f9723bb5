"""Conditions over JSON: numbers, gaps, nesting, hostile values; and no payload in any reason."""

import json
import time
from typing import Any

import pytest

from mcpgw.core.model import (
    Allow,
    Decision,
    Deny,
)
from mcpgw.policy import Effect, Rule
from mcpgw.policy.plain import MAX_DEPTH, MAX_TEXT, MAX_VALUES, Unsuitable, plain
from mcpgw.settings import Listen
from tests.policy.samples import call, identity, policy, target


def decide(when: str, arguments: Any, **who: Any) -> Decision:
    """Deny where the condition holds or has no answer."""
    return policy(Rule(id="r", effect=Effect.DENY, when=when, reason="It holds.")).decide(call(arguments, by=identity(**who)))


@pytest.mark.parametrize(
    ("when", "arguments", "holds"),
    [
        ("args.amount > 10000", {"amount": 20000}, True),
        ("args.amount > 10000", {"amount": 10000.5}, True),
        ("args.amount > 10000", {"amount": 10000}, False),
        ("args.amount > 10000", {"amount": 10000.0}, False),
        ("args.amount > 10000.5", {"amount": 10001}, True),
        ("args.amount > 10000", {"amount": 2**63 - 1}, True),
        ("args.amount > 10000", {"amount": 2**64 - 1}, True),
        ("args.amount > 10000", {"amount": -(2**63)}, False),
        ("args.amount > 10000", {"amount": 1e300}, True),
        ("args.amount == 3", {"amount": 3.0}, True),
        ("args.ok == true", {"ok": True}, True),
        ("args.ok == true", {"ok": 1}, False),
        ("args.ok == true", {"ok": "true"}, False),
        ("args.ok", {"ok": True}, True),
        ("double(args.amount) > 10.0", {"amount": "11.5"}, True),
        ("double(args.amount) * 2.0 > 10.0", {"amount": 6}, True),
        ("args.to == null", {"to": None}, True),
        ("args.to.bank[0].iban == null", {"to": {"bank": [{"iban": None}]}}, True),
        ("has(args.to) && has(args.to.iban)", {"to": {}}, False),
        ("has(args.to)", {}, False),
        ("args['a.b'] == 1", {"a.b": 1}, True),
        ("args.list.exists(x, x > 3)", {"list": [1, 2, 4.5]}, True),
        ("args.list.all(x, x > 3)", {"list": []}, True),
        ("size(args.list) > 2", {"list": (1, 2, 3)}, True),
        ("args.iban.matches('^DE[0-9]{20}$')", {"iban": "DE" + "1" * 20}, True),
        ("args.iban.matches('^DE[0-9]{20}$')", {"iban": "FR" + "1" * 20}, False),
        ("args.note.contains('ü')", {"note": "für"}, True),
        ("args.a == 1 || args.b == 1", {"a": 1}, True),
        ("identity.subject == 'alice' && 'tellers' in identity.groups", {}, True),
        ("identity.kind == 'human' && identity.method == 'jwt'", {}, True),
        ("identity.actors == [] && identity.amr == [] && identity.client_id == ''", {}, True),
        ("identity.issuer.startsWith('https://')", {}, True),
        ("tool.name == 'bank__transfer' && tool.server == 'bank'", {}, True),
        ("tool.risk == 'low' && tool.tags == [] && !tool.annotations.readOnlyHint", {}, True),
        ("now == timestamp('2023-11-14T22:13:20Z')", {}, True),
        ("now.getHours('Europe/Berlin') >= 8", {}, True),
    ],
)
def test_conditions_over_calls(when: str, arguments: dict[str, Any], holds: bool) -> None:
    decision = decide(when, arguments)
    assert isinstance(decision, Deny if holds else Allow), decision
    if isinstance(decision, Deny):
        assert decision.ruling.reason == "It holds."


@pytest.mark.parametrize(
    ("when", "arguments", "says"),
    [
        ("args.amount > 1", {}, "looks at 'amount', which is not there"),
        ("args.amount > 1", {"amount": "9"}, "cannot use > on (string, int64)"),
        ("args.amount + 1 > 1", {"amount": 1.5}, "cannot use + on (double, int64)"),
        ("args.amount + 1 > 1", {"amount": 2**63 - 1}, "cannot be evaluated"),
        ("args.amount > 1", {"amount": 2**64}, "cannot look at an integer of more than 64 bits"),
        ("args.amount > 1", {"amount": -(2**64)}, "cannot look at an integer of more than 64 bits"),
        ("args.amount > 1", {"amount": float("nan")}, "cannot look at a number that is not finite"),
        ("args.amount > 1", {"amount": 1, "other": float("inf")}, "not finite"),
        ("args.a.b.c == 1", {"a": {"b": 1}}, "cannot be evaluated"),
        ("args.a", {"a": 1}, "is a INT, not true or false"),
        ("args[args.key] == 1", {"key": "SECRET"}, "looks at a key that is not there"),
        ("args[args.key] == 1", {"key": ""}, "looks at a key that is not there"),
        ("args.s == 'x'", {"s": "SECRET\ud800"}, "not valid Unicode"),
        ("args.s == 'x'", {"s\ud800": 1}, "not valid Unicode"),
        ("args.l.all(i, args.l.all(j, j >= 0))", {"l": list(range(500))}, "takes too many steps"),
        ("args.l == 1", {"l": [0] * (MAX_VALUES + 1)}, "more than 10000 values"),
        ("args.l == 1", {str(n): 1 for n in range(MAX_VALUES)}, "more than 10000 values"),
        ("args.s == 'x'", {"s": "x" * (MAX_TEXT + 1)}, "characters of text"),
        ("args.s == 'x'", {"s": object()}, "not JSON"),
        ("args.s == 'x'", {"s": {1: 2}}, "a key that is not a string"),
        ("args.s == b'x'", {"s": b"x"}, "not JSON"),
    ],
)
def test_a_condition_without_an_answer_denies_and_quotes_no_payload(when: str, arguments: dict[str, Any], says: str) -> None:
    decision = decide(when, arguments)
    assert isinstance(decision, Deny)
    assert says in decision.ruling.reason
    assert "SECRET" not in decision.ruling.reason


def test_nesting_that_would_end_the_process_is_refused() -> None:
    """CEL's native runtime overflows its stack some ten thousand levels down."""
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    decision = decide("args.deep == 1", {"deep": deep})
    assert isinstance(decision, Deny)
    assert f"nested more than {MAX_DEPTH} levels deep" in decision.ruling.reason
    while isinstance(deep, list):  # unwind by hand: the interpreter's own destructor is fine, but let it be cheap
        deep = deep.pop()


def test_odd_arguments_only_matter_to_rules_that_look_at_them() -> None:
    assert isinstance(decide("identity.subject == 'bob'", {"amount": float("nan")}), Allow)


def test_odd_claims_deny_where_a_rule_looks_at_the_caller() -> None:
    decision = decide("identity.claims.dept == 'x'", {}, claims={"dept": float("nan")})
    assert isinstance(decision, Deny)


def test_a_time_beyond_the_calendar_has_no_answer() -> None:
    rule = Rule(id="r", effect=Effect.DENY, when="now < timestamp('2020-01-01T00:00:00Z')")
    decision = policy(rule).decide(call(received_ns=10**30))
    assert isinstance(decision, Deny)
    assert "beyond the calendar" in decision.ruling.reason


def test_all_rules_share_the_facts_of_one_call() -> None:
    rules = [Rule(id=f"r{n}", effect=Effect.DENY, when=f"args.amount > {n}") for n in range(3)]
    decision = policy(*rules).decide(call({"amount": float("nan")}))
    assert decision.ruling.rule_ids == ("r0", "r1", "r2")


def test_regular_expressions_run_in_linear_time() -> None:
    started = time.perf_counter()
    assert isinstance(decide("args.s.matches('^(a|a)*$')", {"s": "a" * (MAX_TEXT - 2) + "b"}), Allow)
    assert time.perf_counter() - started < 2


def test_no_message_of_the_longest_that_are_taken_by_default_holds_too_much_text() -> None:
    arguments = {"s": "x" * (Listen().max_body_bytes - len("s"))}
    assert isinstance(decide("args.s.endsWith('y')", arguments), Allow)
    assert isinstance(decide("args.s.endsWith('x')", arguments), Deny)


def test_a_tool_may_have_odd_annotations() -> None:
    odd = target(annotations={"readOnlyHint": True, "x": {"y": [None]}})
    rule = Rule(id="r", effect=Effect.DENY, when="tool.annotations.x.y[0] == null")
    assert not policy(rule).sees(identity(), odd)


def test_the_limits_are_exact() -> None:
    def nested(levels: int) -> Any:
        return [nested(levels - 1)] if levels > 1 else 1

    for inside, beyond in [
        (nested(MAX_DEPTH), nested(MAX_DEPTH + 1)),
        ([0] * (MAX_VALUES - 1), [0] * MAX_VALUES),
        ("x" * MAX_TEXT, "x" * (MAX_TEXT + 1)),
        ({"x" * MAX_TEXT: 1}, {"x" * MAX_TEXT: "y"}),
        (-(2**63), -(2**63) - 1),
        (2**64 - 1, 2**64),
    ]:
        assert plain(inside) == inside
        with pytest.raises(Unsuitable):
            plain(beyond)


def test_a_plain_copy_is_equal_and_its_own() -> None:
    value = {"a": [1, 2.5, "x", None, True, {"b": []}]}
    copied = plain(value)
    assert json.dumps(copied) == json.dumps(value)
    assert copied is not value
    with pytest.raises(Unsuitable):
        plain({"a": {1, 2}})
