"""Whom an entry means."""

import pytest

from mcpgw.core.members import is_one_of, malformed
from mcpgw.core.model import Identity, IdentityKind

BOB = Identity(
    subject="bob",
    issuer="https://idp.example",
    kind=IdentityKind.HUMAN,
    method="jwt",
    groups=frozenset({"leads"}),
    claims={"desk": "fx", "floors": [3, "roof", True, 2.5, float("nan"), 2**64, {}], "https://x/?a=b": "c"},
)


@pytest.mark.parametrize(
    ("entry", "means_him"),
    [
        ("user:bob", True),
        ("user:https://idp.example#bob", True),
        ("user:https://other.example#bob", False),
        ("group:leads", True),
        ("group:https://idp.example#leads", True),
        ("group:risk", False),
        ("claim:desk=fx", True),
        ("claim:desk=rates", False),
        ("claim:floors=3", True),
        ("claim:floors=roof", True),
        ("claim:floors=true", True),
        ("claim:floors=2.5", True),
        ("claim:floors=nan", False),
        ("claim:floors=18446744073709551616", False),
        ("claim:https://x/?a=b=c", True),
        ("claim:none=None", False),
        ("claim:desk", False),
        ("bob", False),
        ("", False),
    ],
)
def test_an_entry_means_somebody_to_the_letter(entry: str, means_him: bool) -> None:
    assert is_one_of(BOB, entry) is means_him


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [("user:bob", False), ("group:a b", False), ("claim:a=b", False), ("claim:a=", True), ("claim:=b", True), ("claim:a", True),
     ("user:", True), ("grup:x", True), ("bob", True), ("", True)],
)  # fmt: skip
def test_what_names_nobody_is_malformed(entry: str, wrong: bool) -> None:
    assert malformed(entry) is wrong
