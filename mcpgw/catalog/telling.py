"""A drift in words, the same at the command line and in the console. Nothing in a line is hidden from its reader."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mcpgw.catalog.drift import Difference, Drift
from mcpgw.catalog.hidden import visible


class Tone(StrEnum):
    """How a line is meant; the surface chooses the colour."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"
    ALARM = "alarm"
    ADDED = "added"
    REMOVED = "removed"
    CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    tone: Tone


def tell(drift: Drift) -> Iterator[Line]:
    """Yield what an admin reads of one server, below its name."""
    if drift.is_clean and not drift.faults:
        yield Line(f"  as accepted, {drift.unchanged} definitions", Tone.GOOD)
    if drift.problem:
        yield Line(f"  not asked or no answer: {visible(drift.problem)}", Tone.BAD)
    if drift.is_gone:
        yield Line("  is in catalog.lock, and no more in the catalog", Tone.NOTE)
    if drift.is_new:
        yield Line("  is new: nothing was accepted of it", Tone.NOTE)
    if drift.reached:
        yield Line("  is reached in another way than when it was accepted:", Tone.NOTE)
        yield from map(_of_diff, drift.reached)
    for title, differences in (("added", drift.added), ("changed", drift.changed), ("removed", drift.removed)):
        for difference in differences:
            yield from _tell_one(title, difference)
    for fault in drift.faults:
        yield Line(f"  ! {visible(fault.name) or '(without a name)'}: {fault.message}", Tone.BAD)


def _tell_one(title: str, difference: Difference) -> Iterator[Line]:
    was = visible(difference.renamed_from)
    renamed = f", probably renamed{_and_changed(difference)} from {was}" if was else ""
    yield Line(f"  {title} {difference.kind.value} {visible(difference.name)}{renamed}", Tone.NOTE)
    for hidden in difference.hidden:
        yield Line(f"    ! hides text: {hidden}", Tone.ALARM)
    for suspicion in difference.suspicions:
        yield Line(f"    ! suspicious: {suspicion}", Tone.ALARM)
    if difference.loses_rules:
        yield Line(f"    ! the catalog's rules for {was} do not apply to it: write them under its new name", Tone.ALARM)
    if title != "removed":
        yield from map(_of_diff, difference.lines)


def _and_changed(difference: Difference) -> str:
    before, after = ({**(one or {}), "name": ""} for one in (difference.before, difference.after))
    return "" if before == after else " and changed"


def _of_diff(line: str) -> Line:
    return Line(f"  {line}", {"+": Tone.ADDED, "-": Tone.REMOVED}.get(line.lstrip()[:1], Tone.CONTEXT))
