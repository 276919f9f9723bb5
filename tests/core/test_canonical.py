"""Canonical bytes: RFC 8785 for I-JSON, exact beyond it."""

import math
import struct

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from mcpgw.core.canonical import canonical, commitment, digest

I_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@given(I_JSON)
def test_i_json_is_written_as_an_independent_implementation_writes_it(value: object) -> None:
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(st.integers(0, 2**64 - 1))
def test_every_double_is_written_as_an_independent_implementation_writes_it(bits: int) -> None:
    (value,) = struct.unpack("<d", bits.to_bytes(8, "little"))
    if math.isfinite(value):
        assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # RFC 8785, appendix B
        (0.0, "0"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (-1.7976931348623157e308, "-1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"),
        (999999999999999700000.0, "999999999999999700000"),
        (1e21, "1e+21"),
        (0.000001, "0.000001"),
        (9.999999999999997e-7, "9.999999999999997e-7"),
        (333333333.3333332, "333333333.3333332"),
        (-1e-7, "-1e-7"),
        # each shape of a number, on both sides of its bounds
        (1.5, "1.5"),
        (-0.5, "-0.5"),
        (0.001, "0.001"),
        (0.00012, "0.00012"),
        (10.5, "10.5"),
        (120.0, "120"),
        (1e20, "100000000000000000000"),
        (1.2e-7, "1.2e-7"),
        (1.5e300, "1.5e+300"),
        ({}, "{}"),
        ([], "[]"),
        ((1, [2]), "[1,[2]]"),
        ({"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\xf6": 7},
         '{"\\r":2,"1":4,"\x80":6,"\xf6":7,"\u20ac":1,"\U0001f600":5,"\ufb33":3}'),
    ],
)  # fmt: skip
def test_vectors(value: object, text: str) -> None:
    assert canonical(value).decode() == text


def test_integers_that_a_double_would_merge_stay_apart() -> None:
    assert canonical(2**53) != canonical(2**53 + 1)
    assert digest({"amount": 2**53}) != digest({"amount": 2**53 + 1})


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (math.nan, "^NaN and infinities are not JSON numbers$"),
        (math.inf, "not JSON numbers"),
        ({1: 2}, "^an object's key is int, not a string$"),
        ("\ud800", "surrogates not allowed"),
        ({"\ud800": 1}, "surrogates not allowed"),
        (b"bytes", "^bytes is not a JSON type$"),
        ({"a": {1}}, "not a JSON type"),
    ],
)
def test_what_is_not_json_is_refused(value: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        canonical(value)


def test_a_commitment_depends_on_salt_and_payload() -> None:
    salt, other = bytes(32), bytes(31) + b"\1"
    assert len({commitment(salt, b"x"), commitment(other, b"x"), commitment(salt, b"y")}) == 3
    assert (
        commitment(salt, b"") == "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
    )  # SHA-256 of 32 zero bytes


def test_a_short_salt_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes of salt, not 3"):
        commitment(b"abc", b"payload")
