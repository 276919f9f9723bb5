"""Legal holds: while one stands, nothing that it covers is erased, by people or by a sweep."""

from collections.abc import Mapping
from dataclasses import dataclass

from mcpgw.ledger.places import Place, is_named
from mcpgw.ledger.record import Members

HELD, RELEASED = "retention.held", "retention.released"
EVER_NS = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LegalHold:
    """What may not be erased: whatever fits all that is given."""

    id: str
    who: str = ""
    """A principal or a subject, to the letter; also of approvals that were asked for by it. Empty: anybody's."""
    session: str = ""
    from_ns: int = 0
    until_ns: int = EVER_NS
    """The first moment that is not covered any more."""
    reason: str = ""
    seq: int = -1
    """The record that says so."""

    def covers(self, place: Place) -> bool:
        """Tell whether a payload may not be erased."""
        if self.who and not any(is_named(self.who, principal) for principal in place.people):
            return False
        if self.session and self.session not in place.sessions:
            return False
        return self.from_ns <= place.time_ns < self.until_ns

    def facts(self) -> dict[str, object]:
        """Return what the record says of it."""
        told = {"id": self.id, "who": self.who, "session": self.session, "reason": self.reason}
        times = {"from_ns": str(self.from_ns), "until_ns": str(self.until_ns)}
        return {**{name: value for name, value in told.items() if value}, **times}


def hold_of(members: Members) -> LegalHold:
    """Return the hold that a record of kind `HELD` tells of.

    Raises:
        (KeyError, TypeError, ValueError): it is no such record of ours.
    """
    facts: Mapping[str, str] = members["facts"]
    return LegalHold(
        id=facts["id"],
        who=facts.get("who", ""),
        session=facts.get("session", ""),
        from_ns=int(facts["from_ns"]),
        until_ns=int(facts["until_ns"]),
        reason=facts.get("reason", ""),
        seq=members["seq"],
    )
