"""What a record means to a SIEM: severity, status, action and disposition by kind and outcome, as one table.

Severity: 1 is everyday work; 2 is worth counting; 3 is something refused or broken that an analyst may look at; 4 needs a
person today (an effect whose outcome nobody knows, a gateway that cannot do its duty, events that a SIEM will never see).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class _Captioned(IntEnum):
    @property
    def caption(self) -> str:
        return self.name.replace("_", " ").title()


class Status(_Captioned):
    """OCSF `status_id`."""

    UNKNOWN = 0
    SUCCESS = 1
    FAILURE = 2


class Action(_Captioned):
    """OCSF `action_id`, of the security_control profile."""

    UNKNOWN = 0
    ALLOWED = 1
    DENIED = 2
    OBSERVED = 3


class Disposition(_Captioned):
    """OCSF `disposition_id`, of the security_control profile."""

    UNKNOWN = 0
    ALLOWED = 1
    BLOCKED = 2
    APPROVED = 8
    DELAYED = 14
    LOGGED = 17
    COUNT = 20
    REJECTED = 25
    UNAUTHORIZED = 26
    ERROR = 27


@dataclass(frozen=True, slots=True)
class Meaning:
    severity_id: int
    status: Status
    action: Action
    disposition: Disposition


@dataclass(frozen=True, slots=True)
class Activity:
    """OCSF `activity_id` of API Activity, and its name; for 99 the name is ours."""

    id: int
    name: str

    @classmethod
    def other(cls, name: str) -> "Activity":
        return cls(99, name)

    @property
    def caption(self) -> str:
        return "Other" if self.id == 99 else self.name


_READ, _UPDATE, _DELETE = Activity(2, "Read"), Activity(3, "Update"), Activity(4, "Delete")

ACTIVITIES: Mapping[str, Activity] = {
    "tool": Activity.other("Call"),
    "resource": _READ,
    "prompt": _READ,
    "completion": _READ,
    "evidence.read": _READ,
    "evidence.exported": _READ,
    "catalog.changed": _UPDATE,
    "catalog.accepted": _UPDATE,
    "policy.activated": _UPDATE,
    "identity.changed": _UPDATE,
    "profiles.changed": _UPDATE,
    "settings.changed": _UPDATE,
    "key.rotated": _UPDATE,
    "retention.held": _UPDATE,
    "retention.released": _UPDATE,
    "retention.swept": _DELETE,
    "payload.shredded": _DELETE,
}
"""By kind of target for calls, by kind of record for everything else."""

_LOGGED = Meaning(1, Status.SUCCESS, Action.OBSERVED, Disposition.LOGGED)
_NOTABLE = Meaning(2, Status.SUCCESS, Action.OBSERVED, Disposition.LOGGED)
_SERIOUS = Meaning(3, Status.SUCCESS, Action.OBSERVED, Disposition.LOGGED)
_PASSED = Meaning(1, Status.SUCCESS, Action.ALLOWED, Disposition.APPROVED)
_REJECTED = Meaning(2, Status.FAILURE, Action.DENIED, Disposition.REJECTED)
_BLOCKED = Meaning(3, Status.FAILURE, Action.DENIED, Disposition.BLOCKED)
_BROKEN = Meaning(3, Status.FAILURE, Action.ALLOWED, Disposition.ERROR)

_MEANINGS: Mapping[tuple[str, str], Meaning] = {
    ("call.intent", ""): Meaning(1, Status.UNKNOWN, Action.ALLOWED, Disposition.ALLOWED),
    ("call.outcome", "completed"): Meaning(1, Status.SUCCESS, Action.ALLOWED, Disposition.ALLOWED),
    ("call.outcome", "tool_error"): Meaning(2, Status.FAILURE, Action.ALLOWED, Disposition.ALLOWED),
    ("call.outcome", ""): _BROKEN,
    ("call.asked", ""): Meaning(1, Status.UNKNOWN, Action.OBSERVED, Disposition.DELAYED),
    ("call.answered", ""): _LOGGED,
    ("call.unanswered", ""): Meaning(2, Status.FAILURE, Action.OBSERVED, Disposition.REJECTED),
    ("call.held", ""): Meaning(2, Status.UNKNOWN, Action.OBSERVED, Disposition.DELAYED),
    ("call.indeterminate", ""): Meaning(4, Status.UNKNOWN, Action.ALLOWED, Disposition.ERROR),
    ("call.refused", "unauthenticated"): Meaning(3, Status.FAILURE, Action.DENIED, Disposition.UNAUTHORIZED),
    ("call.refused", "malformed"): _REJECTED,
    ("call.refused", "not_approved"): Meaning(3, Status.FAILURE, Action.DENIED, Disposition.REJECTED),
    ("call.refused", "abandoned"): Meaning(1, Status.FAILURE, Action.OBSERVED, Disposition.REJECTED),
    ("call.refused", "unavailable"): Meaning(4, Status.FAILURE, Action.DENIED, Disposition.ERROR),
    ("call.refused", ""): _BLOCKED,
    ("approval.voted", "approve"): _PASSED,
    ("approval.voted", "deny"): _REJECTED,
    ("approval.settled", "approved"): _PASSED,
    ("approval.break_glass", "approved"): Meaning(4, Status.SUCCESS, Action.ALLOWED, Disposition.APPROVED),
    ("approval.escalated", ""): _NOTABLE,
    ("approval.vote_withdrawn", ""): _NOTABLE,
    ("approval.proposed", ""): _REJECTED,
    ("approval.lapsed", ""): _NOTABLE,
    ("approval.withdrawn", ""): _REJECTED,
    ("approval.revoked", ""): _REJECTED,
    ("approval.resolved", ""): _SERIOUS,
    ("approval.reviewed", ""): _NOTABLE,
    ("approval.settled", ""): _REJECTED,
    ("refusals.counted", ""): Meaning(3, Status.FAILURE, Action.DENIED, Disposition.COUNT),
    ("anchor.failed", ""): Meaning(4, Status.FAILURE, Action.OBSERVED, Disposition.ERROR),
    ("sink.failed", ""): Meaning(4, Status.FAILURE, Action.OBSERVED, Disposition.ERROR),
    ("catalog.changed", ""): _NOTABLE,
    ("catalog.accepted", ""): _NOTABLE,
    ("policy.activated", ""): _NOTABLE,
    ("identity.changed", ""): _NOTABLE,
    ("profiles.changed", ""): _NOTABLE,
    ("settings.changed", ""): _NOTABLE,
    ("key.rotated", ""): _SERIOUS,
    ("evidence.read", ""): _NOTABLE,
    ("evidence.exported", ""): _NOTABLE,
    ("retention.held", ""): _NOTABLE,
    ("retention.released", ""): _NOTABLE,
    ("retention.swept", ""): _LOGGED,
    ("payload.shredded", ""): _SERIOUS,
}
"""By kind, and by what came of it: the code or class of the outcome, a verdict, a state. "" stands for every other."""


def meaning_of(record: Mapping[str, Any]) -> Meaning:
    """Return what a record means; a kind that is not in the table is plain news."""
    kind = record["kind"]
    outcome, approval = record.get("outcome", {}), record.get("approval", {})
    results = (outcome.get("code"), outcome.get("class"), approval.get("verdict"), approval.get("state"), "")
    keys = ((kind, result) for result in results if result is not None)
    return next((_MEANINGS[key] for key in keys if key in _MEANINGS), _LOGGED)
