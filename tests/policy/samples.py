"""A small bank: its people, its tools and its calls."""

from collections.abc import Mapping
from typing import Any

from mcpgw.core.model import (
    Call,
    Identity,
    IdentityKind,
    Origin,
    Risk,
    Target,
    TargetKind,
    UnknownTarget,
)
from mcpgw.policy import Defaults, Policy, Role, Rule, Scope

ORIGIN = Origin(transport="http", protocol_version="2026-07-28")
LEADS = Defaults(approvers=("group:leads",), quorum=1, deadline_s=600.0)
EVERYTHING = (Scope(name="all", tools=("*",)),)
TELLER = (Role("teller", ("group:tellers",), ("all",)),)


def identity(subject: str = "alice", **changes: Any) -> Identity:
    known: dict[str, Any] = {
        "subject": subject,
        "issuer": "https://idp.example",
        "kind": IdentityKind.HUMAN,
        "method": "jwt",
        "groups": frozenset({"tellers"}),
    }
    return Identity(**{**known, **changes})


def target(name: str = "bank__transfer", **changes: Any) -> Target:
    known: dict[str, Any] = {
        "kind": TargetKind.TOOL,
        "name": name,
        "server": name.partition("__")[0],
        "server_fingerprint": "f",
        "upstream_name": name.partition("__")[2],
        "definition": {},
        "definition_hash": "d",
        "annotations": {"readOnlyHint": False},
    }
    return Target(**{**known, **changes})


def call(
    arguments: Mapping[str, Any] | None = None,
    *,
    by: Identity | None = None,
    to: Target | UnknownTarget | None = None,
    received_ns: int = 1_700_000_000_000_000_000,
) -> Call:
    return Call(
        id="0190",
        identity=by or identity(),
        target=to or target(),
        arguments=arguments or {},
        origin=ORIGIN,
        received_ns=received_ns,
    )


def policy(*rules: Rule, defaults: Defaults = LEADS) -> Policy:
    """Tellers may call everything, as far as the rules let them."""
    return Policy.build(TELLER, EVERYTHING, rules, defaults)


RISKY = target("bank__close_account", risk=Risk.HIGH)
