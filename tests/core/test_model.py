"""The names by which rules, approvers and readers mean an identity."""

import pytest

from mcpgw.core.model import Identity, IdentityKind

IDP = "https://idp.example"


def identity(issuer: str, subject: str, *groups: str) -> Identity:
    return Identity(subject=subject, issuer=issuer, kind=IdentityKind.HUMAN, method="jwt", groups=frozenset(groups))


def test_an_identity_is_named_with_its_issuer_and_without() -> None:
    assert identity(IDP, "alice", "leads").names == {
        "user:alice", f"user:{IDP}#alice", "group:leads", f"group:{IDP}#leads",
    }  # fmt: skip


@pytest.mark.parametrize("name", [f"group:{IDP}#leads", f"user:{IDP}#leads", "group:leads", "user:leads"])
def test_a_name_made_up_at_another_issuer_to_hold_an_issuer_does_not_pass(name: str) -> None:
    assert name in identity(IDP, "leads", "leads").names
    assert name not in identity("https://other.example", f"{IDP}#leads", f"{IDP}#leads").names
