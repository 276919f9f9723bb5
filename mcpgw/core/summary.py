"""What people want to see of a record among others: one line of it, in a terminal as in a browser."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_FEW: Final = 3
_SHORT: Final = 24
"""Facts of an event that are told, and characters of each; the record itself has them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Of one record. Its texts are as they were recorded: whoever shows them makes them `visible`."""

    seq: int
    time_ns: int
    who: str
    """A principal (`issuer#subject`), or the actor of an event (`os:root`, `gateway`)."""
    kind: str
    target: str
    result: str
    """How it ended, else what was decided, else what became of an approval."""
    why: str
    """Rules, reason and approval of a decision; of an event its first facts."""
    session: str


def summary_of(seq: int, index: Mapping[str, str | int], members: Mapping[str, Any]) -> Summary:
    """Return the line of a record, of which `index` is what is searched for and `members` the parsed leaf."""
    who, approval = members.get("who", {}), members.get("approval", {})
    return Summary(
        seq=seq,
        time_ns=int(index["time_ns"]),
        who=f"{who['iss']}#{who['sub']}" if who else str(members.get("actor", "")),
        kind=str(index["kind"]),
        target=str(index["target"]),
        result=str(index["outcome"] or index["decision"] or approval.get("verdict") or approval.get("state", "")),
        why=_why(members) or _facts(members),
        session=str(index["session"]),
    )


def reason_of(members: Mapping[str, Any]) -> str:
    """Return why it came to this, in a sentence; empty where nobody says."""
    parts = (members.get("outcome", {}), members.get("decision", {}), members.get("approval", {}))
    return next((str(part["reason"]) for part in parts if part.get("reason")), "")


def is_attended(members: Mapping[str, Any]) -> bool:
    """Whether a client made the request that the record tells of, as all do that do not say otherwise (`Origin.attended`)."""
    return members.get("origin", {}).get("attended") is not False


def _why(members: Mapping[str, Any]) -> str:
    rules = members.get("decision", {}).get("rules", [])
    named = f"[{', '.join(map(str, rules))}]" if rules else ""
    alone = "" if is_attended(members) else "(unattended)"
    return " ".join(part for part in (named, reason_of(members), str(members.get("approval", {}).get("id", "")), alone) if part)


def _facts(members: Mapping[str, Any]) -> str:
    """`reason Audit of May, what log`: why somebody did it first, then what else the event says."""
    told = {
        name: str(value) for name, value in members.get("facts", {}).items() if isinstance(value, str | int) and value != ""
    }
    ordered = sorted(told, key=lambda name: name != "reason")
    return ", ".join(f"{name} {_cut(told[name])}" for name in ordered[:_FEW])


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."  # `visible` would write an ellipsis as an escape
