"""Where a payload stands, and whom it is about: what erasing and legal holds go by."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """One stored payload, without its contents."""

    seq: int
    slot: str
    time_ns: int
    principal: str
    session: str
    approval_id: str
    requester: str
    """Who asked for the approval that the record is about; empty where it is about none."""
    asked_in: str
    """The session in which that was asked for."""
    in_use: bool
    """Its call is under way, or its approval still waits for something: it is read again."""

    @property
    def people(self) -> tuple[str, str]:
        """Principals whose payload this is: the one who acted, and the one whose call it was about."""
        return self.principal, self.requester

    @property
    def sessions(self) -> tuple[str, str]:
        return self.session, self.asked_in


def is_named(who: str, principal: str) -> bool:
    """Tell whether a principal (issuer#subject) is the one that is named in full, or by its subject, to the letter."""
    return bool(who) and who in (principal, principal.partition("#")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Payloads to look for: in those slots, and of whatever is named; of anybody and anything where nothing is."""

    slots: frozenset[str]
    who: str = ""
    """A principal or a subject, to the letter; also what others said of its approvals."""
    session: str = ""
    call_id: str = ""
    event_id: str = ""
    before_ns: int = 2**63 - 1
    """Of records of an earlier time, whatever stands before or behind them: a clock may have been wrong."""
