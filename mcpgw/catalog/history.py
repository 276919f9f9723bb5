"""How a definition came to be what it is: its versions, from what stood in the catalog after each recorded change. Pure."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from mcpgw.catalog.drift import field_diff
from mcpgw.core.model import JsonObject

GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stood:
    """What one record says stood in the catalog from then on."""

    time_ns: int
    actor: str
    was_accepted: bool
    """By a command, whose user is the actor; else it was found in the files."""
    targets: JsonObject
    """By kind and published name, `tool bank__pay`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A definition, for as long as it stood; or, with an empty hash, that there was none."""

    hash: str
    definition: JsonObject
    since_ns: int
    until_ns: int = 0
    """When the next took its place; 0 while it stands."""
    accepted_by: str = ""
    """Empty where it was found in the files, so that nobody knows."""
    lines: tuple[str, ...] = ()
    """What differs from the one before, fit to be shown."""


def versions(named: str, told: Iterable[Stood]) -> tuple[Version, ...]:
    """Return the versions of one target, the oldest first. `told`: everything that is recorded, in its order."""
    found: list[Version] = []
    for stood in told:
        target = stood.targets.get(named, {})
        now = str(target.get("definition_hash", ""))
        before = found[-1] if found else None
        if now == (before.hash if before else ""):
            continue
        if before is not None:
            found[-1] = replace(before, until_ns=stood.time_ns)
        definition = target.get("definition", {})
        found.append(
            Version(
                hash=now,
                definition=definition,
                since_ns=stood.time_ns,
                accepted_by=stood.actor if stood.was_accepted else "",
                lines=tuple(field_diff(before.definition if before else {}, definition)),
            )
        )
    return tuple(found)


def tell(found: Iterable[Version], said: Callable[[int], str]) -> Iterator[str]:
    """Yield the lines that people read. `said` writes a time, given in Unix nanoseconds."""
    for version in found:
        who = f"accepted by {version.accepted_by}" if version.accepted_by else "found in the files"
        yield f"{said(version.since_ns)}  {version.hash[:12] or GONE}  {who}{'' if version.until_ns else ', and stands'}"
        yield from (f"  {line}" for line in version.lines)
