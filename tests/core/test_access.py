"""What a grant covers, to the letter, and what may be asked for."""

import json
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from mcpgw.core.access import (
    MAX_ALTERNATIVES,
    MAX_NAME,
    MAX_REASON,
    access_of,
    allowance_of,
    amount_of,
    as_data,
    clean_data,
    clean_sentences,
    number,
    objection,
    sentences,
)
from mcpgw.core.allowance import MAX_CALLS, NO_GRANTS, Allowance, GrantLimits, added, digits
from mcpgw.core.model import CleanJson

HOUR_NS = 3_600 * 10**9
EXAMPLE: dict[str, Any] = {"to": "DE89", "amount": 100, "memo": "rent", "flags": {"fast": True}}
LIMITS = GrantLimits(max_calls=20, lasts_ns=8 * HOUR_NS, total_of="amount", max_total="10000")


def asked(**changes: Any) -> dict[str, Any]:
    vary = {"amount": {"at_least": 1, "at_most": 500}}
    total = {"argument": "amount", "at_most": 1_000}
    return {"max_calls": 5, "lasts_ns": HOUR_NS, "vary": vary, "total": total, **changes}


def covered(arguments: dict[str, Any], clean: dict[str, Any] | None = None, **changes: Any) -> tuple[str, ...]:
    return amount_of(access_of(asked(**changes)), EXAMPLE, arguments, CleanJson(arguments if clean is None else clean))


def test_the_example_is_covered_and_counts_its_amount() -> None:
    assert covered(EXAMPLE) == ("100",)
    assert covered(EXAMPLE, total={}) == ("0",)


@pytest.mark.parametrize(
    "changed",
    [
        {"to": "DE89 "},
        {"to": "de89"},
        {"to": "\u216eE89"},  # a Roman numeral that looks like the letter
        {"to": "DE89\u200b"},
        {"to": ["DE89"]},
        {"to": None},
        {"flags": {"fast": 1}},
        {"flags": {"fast": True, "more": 0}},
        {"memo": ""},
        {"amount": "100"},
        {"amount": True},
        {"amount": None},
        {"amount": [100]},
        {"amount": -100},
        {"amount": 0},
        {"amount": 0.999999999},
        {"amount": 500.000001},
        {"amount": float("nan")},
        {"amount": float("inf")},
        {"amount": 10**30},
        {"Amount": 100},
        {"amount ": 100},
    ],
)
def test_what_differs_otherwise_than_it_may_is_not_covered(changed: dict[str, Any]) -> None:
    assert covered({**EXAMPLE, **changed}) == ()


def test_an_argument_that_is_left_out_is_not_covered_even_where_it_could_have_any_value() -> None:
    vary = {"memo": {"any": True}}
    arguments = {name: value for name, value in EXAMPLE.items() if name != "memo"}
    assert covered(arguments, vary=vary) == ()
    for value in ("other", None, {"deep": [1]}, True):
        assert covered({**EXAMPLE, "memo": value}, vary=vary) == ("100",)


@pytest.mark.parametrize(
    ("value", "fits"), [("EUR", True), ("USD", True), (1, True), (1.0, True), (True, False), ("eur", False)]
)
def test_alternatives_are_compared_to_the_letter(value: Any, fits: bool) -> None:
    assert bool(covered({**EXAMPLE, "memo": value}, vary={"memo": {"one_of": ["EUR", "USD", 1]}})) is fits


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        ({"at_most": 0.3}, [0.3, 0, 0.1], [0.30000000000000004, 1]),
        ({"at_least": -1.5}, [-1.5, 0], [-1.6]),
        ({"at_least": 2**53, "at_most": 2**53 + 1}, [2**53, 2**53 + 1], [2**53 + 2, 2**53 - 1]),
    ],
)
def test_numbers_are_compared_exactly(bounds: dict[str, Any], inside: list[Any], outside: list[Any]) -> None:
    for value in inside:
        assert covered({**EXAMPLE, "amount": value}, vary={"amount": bounds}, total={}), value
    for value in outside:
        assert not covered({**EXAMPLE, "amount": value}, vary={"amount": bounds}, total={}), value


def test_an_amount_below_zero_or_masked_or_of_too_many_digits_is_not_covered() -> None:
    wide = {"vary": {"amount": {"any": True}}}
    assert covered({**EXAMPLE, "amount": 0.1}, **wide) == ("0.1",)
    assert covered({**EXAMPLE, "amount": -0.0}, **wide) == ("0",)
    assert covered({**EXAMPLE, "amount": 1e3}, **wide) == ("1000",)
    for bad in (-1, -0.001, 10**18, 1e-19, "7", None):
        assert covered({**EXAMPLE, "amount": bad}, **wide) == (), bad
    assert covered(EXAMPLE, {**EXAMPLE, "amount": "<NUMBER>"}) == ()
    assert covered(EXAMPLE, {"to": "DE89"}) == ()


def test_sums_are_exact() -> None:
    total = "0"
    for _ in range(10):
        total = added(total, "0.1")
    assert total == "1"
    assert added("999999999999999999", "0.000000000000000001") == "999999999999999999.000000000000000001"
    assert digits(Decimal("-0.00")) == "0"


@pytest.mark.parametrize(
    ("uses", "total", "amount", "room"),
    [(0, "0", "100", True), (1, "900", "100", True), (1, "900", "100.01", False), (5, "0", "0", False), (4, "0", "1000", True)],
)
def test_an_allowance_has_room_for_so_many_calls_and_so_much(uses: int, total: str, amount: str, room: bool) -> None:
    allowance = allowance_of(access_of(asked()), 7)
    assert allowance == Allowance(max_calls=5, until_ns=7, total_of="amount", max_total="1000")
    assert allowance.has_room(uses, total, amount) is room
    assert str(allowance) == "5 calls, 1000 in all of amount"


def test_without_a_total_calls_alone_are_counted() -> None:
    allowance = allowance_of(access_of(asked(total={})), 7)
    assert allowance.has_room(4, "999999", "1")
    assert not allowance.has_room(5, "0", "0")
    assert str(allowance) == "5 calls"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ([], "must be a JSON object"),
        (asked(calls=1), "'calls', which is none of"),
        (asked(max_calls=0), "between 1 and"),
        (asked(max_calls=MAX_CALLS + 1), "between 1 and"),
        (asked(max_calls=True), "between 1 and"),
        (asked(max_calls=1.0), "between 1 and"),
        (asked(lasts_ns=0), "more than nothing"),
        (asked(lasts_ns="1h"), "more than nothing"),
        (asked(reason="x" * (MAX_REASON + 1)), "the reason"),
        (asked(reason=1), "the reason"),
        (asked(vary=[]), "vary must be a JSON object"),
        (asked(vary={"a": 1}), "vary.a must be a JSON object"),
        (asked(vary={"a": {"any": 1}}), "vary.a must be one of"),
        (asked(vary={"a": {"any": False}}), "vary.a must be one of"),
        (asked(vary={"a": {"any": True, "at_most": 1}}), "vary.a must be one of"),
        (asked(vary={"a": {"one_of": []}}), "vary.a must be one of"),
        (asked(vary={"a": {"one_of": list(range(MAX_ALTERNATIVES + 1))}}), "vary.a must be one of"),
        (asked(vary={"a": {"one_of": [1], "at_most": 1}}), "vary.a must be one of"),
        (asked(vary={"a": {"at_most": "1"}}), "vary.a must be one of"),
        (asked(vary={"a": {"at_most": float("nan")}}), "vary.a must be one of"),
        (asked(vary={"a": {}}), "vary.a must be one of"),
        (asked(vary={"a": {"most": 1}}), "'most', which is none of"),
        (asked(total={"argument": "amount"}), "a number above 0"),
        (asked(total={"argument": "amount", "at_most": 0}), "a number above 0"),
        (asked(total={"argument": "", "at_most": 1}), "the total's argument"),
        (asked(total={"argument": "a" * (MAX_NAME + 1), "at_most": 1}), "the total's argument"),
        (asked(total={"argument": "amount", "at_most": 1, "of": 1}), "'of', which is none of"),
    ],
)
def test_what_is_no_request_is_refused_in_words(data: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        access_of(data)


def test_a_lone_surrogate_is_no_alternative() -> None:
    with pytest.raises(ValueError):
        access_of(asked(vary={"a": {"one_of": ["\ud800"]}}))


@pytest.mark.parametrize(
    ("changes", "limits", "problem"),
    [
        ({}, NO_GRANTS, "permits no grants"),
        ({"max_calls": 21}, LIMITS, "At most 20 calls"),
        ({"lasts_ns": 9 * HOUR_NS}, LIMITS, "for at most 8 h here, and 9 h were asked for"),
        ({"vary": {"other": {"any": True}}}, LIMITS, "is not in the example"),
        ({"total": {}}, LIMITS, "needs a total of amount here, of at most 10000"),
        ({"total": {"argument": "to", "at_most": 5}}, LIMITS, "needs a total of amount"),
        ({"total": {"argument": "amount", "at_most": 10_000.5}}, LIMITS, "may be at most 10000"),
        ({"total": {"argument": "other", "at_most": 5}}, GrantLimits(max_calls=9, lasts_ns=HOUR_NS), "no total of it"),
        ({"vary": {"amount": {"at_most": 99}}}, LIMITS, "The example itself"),
        ({"total": {"argument": "amount", "at_most": 99}}, LIMITS, "Not even the example"),
        ({}, LIMITS, ""),
        ({"total": {}}, GrantLimits(max_calls=5, lasts_ns=HOUR_NS), ""),
    ],
)
def test_what_may_not_be_asked_for_is_refused_in_a_sentence(changes: Any, limits: GrantLimits, problem: str) -> None:
    said = objection(access_of(asked(**changes)), limits, EXAMPLE, CleanJson(EXAMPLE))
    assert problem in said
    assert bool(said) is bool(problem)


def test_a_total_of_what_the_record_masks_may_not_be_asked_for() -> None:
    said = objection(access_of(asked()), LIMITS, EXAMPLE, CleanJson({**EXAMPLE, "amount": "<NUMBER>"}))
    assert "is masked in the record" in said


def test_the_record_names_no_alternative_no_bound_of_what_is_masked_and_no_reason() -> None:
    vary = {"amount": {"at_most": 500}, "to": {"one_of": ["DE89", "FR14"]}, "memo": {"any": True}, "flags": {"any": True}}
    access = access_of(asked(vary=vary, reason="for Jane Roe"))
    clean = clean_data(access, EXAMPLE, CleanJson({"to": "<IBAN>", "amount": 100, "memo": "<TEXT>"}))
    assert clean["vary"] == {"amount": {"at_most": 500}, "to": {"one_of": 2}, "memo": {"any": True}, "(masked)": {"any": True}}
    masked = clean_data(access, EXAMPLE, CleanJson({**EXAMPLE, "amount": "<NUMBER>"}))
    assert masked["vary"]["amount"] == {"between": "(masked)"}
    assert "FR14" not in json.dumps([clean, masked])
    assert "Roe" not in json.dumps([clean, masked])


def test_what_is_granted_is_told_argument_by_argument() -> None:
    vary = {"amount": {"at_least": 1, "at_most": 500}, "memo": {"any": True}, "to": {"one_of": ["DE89", "FR14"]}}
    assert sentences(access_of(asked(vary=vary)), EXAMPLE) == (
        '"amount": any number from 1 up to 500',
        '"memo": ANY VALUE AT ALL',
        '"to": one of "DE89", "FR14"',
        '"flags": exactly {"fast":true}',
        "No other argument, and none of these left out.",
    )
    long = {**EXAMPLE, "memo": "x" * 200}
    assert '"memo": exactly as in the example' in sentences(access_of(asked()), long)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (LIMITS, NO_GRANTS, NO_GRANTS),
        (LIMITS, LIMITS, LIMITS),
        (LIMITS, GrantLimits(max_calls=3, lasts_ns=9 * HOUR_NS, total_of="sum", max_total="1"), NO_GRANTS),
        (
            LIMITS,
            GrantLimits(max_calls=3, lasts_ns=9 * HOUR_NS),
            GrantLimits(max_calls=3, lasts_ns=8 * HOUR_NS, total_of="amount", max_total="10000"),
        ),
        (
            GrantLimits(max_calls=30, lasts_ns=HOUR_NS, total_of="amount", max_total="900"),
            LIMITS,
            GrantLimits(max_calls=20, lasts_ns=HOUR_NS, total_of="amount", max_total="900"),
        ),
    ],
)
def test_two_limits_permit_what_both_permit(one: GrantLimits, other: GrantLimits, both: GrantLimits) -> None:
    assert one.narrowed(other) == both
    assert other.narrowed(one) == both


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)
NUMBERS = st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6).map(lambda one: round(one, 6)))


@given(st.dictionaries(st.sampled_from(["to", "amount", "memo", "flags", "x"]), VALUES))
def test_without_variation_nothing_but_the_example_is_covered(arguments: dict[str, Any]) -> None:
    try:
        amounts = covered(arguments, vary={}, total={})
    except ValueError:
        return  # lone surrogates, and numbers that are none
    assert bool(amounts) is (json.dumps(arguments, sort_keys=True) == json.dumps(EXAMPLE, sort_keys=True))


@given(NUMBERS, NUMBERS, NUMBERS)
def test_bounds_hold_as_in_exact_arithmetic(low: float, high: float, value: float) -> None:
    fits = covered({**EXAMPLE, "amount": value}, vary={"amount": {"at_least": low, "at_most": high}}, total={})
    assert bool(fits) is (Decimal(repr(low)) <= Decimal(repr(value)) <= Decimal(repr(high)))


@given(st.lists(st.integers(0, 10**18 - 1) | st.floats(0, 1e12).map(lambda one: round(one, 4)), max_size=30))
def test_uses_never_add_up_to_more_than_the_total(amounts: list[float]) -> None:
    allowance = allowance_of(access_of(asked(max_calls=10, total={"argument": "amount", "at_most": 10**17})), 0)
    taken: list[Decimal] = []
    total = "0"
    for amount in amounts:
        (exact,) = number(amount)
        if allowance.has_room(len(taken), total, digits(exact)):
            total = added(total, digits(exact))
            taken.append(exact)
    assert len(taken) <= 10
    assert sum(map(int, taken)) <= 10**17
    assert Decimal(total) <= 10**17


@given(st.dictionaries(st.text(max_size=3), st.sampled_from([{"any": True}, {"at_most": 1.5}, {"one_of": [1, "x", None]}])))
def test_what_was_written_down_is_read_back(vary: dict[str, Any]) -> None:
    access = access_of(asked(vary=vary))
    assert access_of(json.loads(json.dumps(as_data(access)))) == access


def test_what_the_record_knows_of_a_grant_is_told_as_far_as_it_goes() -> None:
    vary = {"amount": {"at_most": 500}, "to": {"one_of": ["DE89", "FR14"]}, "memo": {"any": True}}
    access = access_of(asked(vary=vary))
    assert clean_sentences(clean_data(access, EXAMPLE, CleanJson({**EXAMPLE, "amount": "<NUMBER>"}))) == (
        '"amount": any number in bounds, which are on the approval\'s own page',
        '"to": one of 2 values, which are on the approval\'s own page',
        '"memo": ANY VALUE AT ALL',
        "Every other argument exactly as in the example, and no other.",
    )
    assert '"amount": any number up to 500' in clean_sentences(clean_data(access, EXAMPLE, CleanJson(EXAMPLE)))
