"""What upstreams offer against what was accepted: the difference an admin reads, and the acceptance that ends it. Pure."""

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mcpgw.catalog.definition import KINDS, Fault, Offered, Offers, examine
from mcpgw.catalog.entry import Entry
from mcpgw.catalog.hidden import Hidden, hidden_in, visible
from mcpgw.catalog.lock import Accepted, Lock, Pinned
from mcpgw.catalog.poison import Suspicion, suspicions
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import (
    Json,
    JsonObject,
    TargetKind,
)
from mcpgw.core.naming import published_name
from mcpgw.ports import Definitions

_ALIKE = 0.6
"""How alike a removed and an added definition are from which it is told as a probable rename: much, because what is told
wrongly costs a look, and what is missed is a changed tool that passes for a new one."""
_MAX_MATCHED_LINES = 5_000
"""Lines of one field above which both versions are shown whole: matching takes quadratic time, and hiding is no choice."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is offered and not accepted as it is, or accepted and offered no more."""

    kind: TargetKind
    name: str
    """The upstream's own."""
    before: JsonObject | None
    """None: it was not accepted before."""
    after: JsonObject | None
    """None: it is offered no more."""
    renamed_from: str = ""
    """For something new: what it probably was called. Its `before` is that definition."""
    loses_rules: bool = False
    """It was renamed, and the catalog's rules for its old name do not apply to it."""
    foreign: frozenset[str] = field(default=frozenset(), repr=False)
    """What other servers offer, by name: a definition has no reason to mention it."""

    @property
    def lines(self) -> tuple[str, ...]:
        """A unified diff by field, hidden characters escaped, without terminal control."""
        return tuple(field_diff(self.before or {}, self.after or {}))

    @property
    def hidden(self) -> tuple[Hidden, ...]:
        """What the offered definition hides from a reader's eye."""
        return tuple(hidden_in(self.after))

    @property
    def suspicions(self) -> tuple[Suspicion, ...]:
        """What in the offered definition seems to be meant for a model and not for the admin."""
        return tuple(suspicions(self.after, self.foreign)) if self.after is not None else ()

    @property
    def is_flagged(self) -> bool:
        """Tell whether a person must say that they read it before it is accepted."""
        return bool(self.hidden or self.loses_rules or self.suspicions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How one server stands to what was accepted of it."""

    server: str
    problem: str = ""
    """Why its offers are not known; then only the lock's side is told."""
    is_new: bool = False
    """Nothing was accepted of it yet."""
    is_gone: bool = False
    """It is in the lock and no more in the catalog."""
    reached: tuple[str, ...] = ()
    """Diff of how it is reached; empty where that is as accepted."""
    added: tuple[Difference, ...] = ()
    changed: tuple[Difference, ...] = ()
    removed: tuple[Difference, ...] = ()
    faults: tuple[Fault, ...] = ()
    unchanged: int = 0

    @property
    def is_clean(self) -> bool:
        return not (self.problem or self.is_new or self.is_gone or self.reached or self.differences)

    @property
    def differences(self) -> tuple[Difference, ...]:
        return (*self.added, *self.changed, *self.removed)


def diff(
    entries: Mapping[str, Entry], lock: Lock, offered: Mapping[str, Definitions | str], servers: Sequence[str] = ()
) -> tuple[Drift, ...]:
    """Compare the named servers (all, if none are named) with the lock, by name. In `offered` a text is why it is unknown."""
    wanted = servers or sorted(
        {name for name, entry in entries.items() if entry.enabled} | (lock.servers.keys() - entries.keys())
    )
    known = {name: _names(name, lock, offered.get(name, "")) for name in entries.keys() | lock.servers.keys()}
    return tuple(
        _told(_drift(name, entries, lock, offered.get(name, _unasked(entries, name))), entries, known) for name in wanted
    )


def _names(server: str, lock: Lock, offered: Definitions | str) -> frozenset[str]:
    """Return what a server offers and what was accepted of it, by name: its own words and the published ones."""
    items = () if isinstance(offered, str) else examine(offered).items
    pinned = lock.servers[server].accepted if server in lock.servers else {}
    own = {(item.kind, item.name) for item in items} | {(kind, name) for kind, names in pinned.items() for name in names}
    named = {name for kind, name in own if kind is not TargetKind.RESOURCE}
    return frozenset(named | {published_name(server, name) for name in named})


def _told(drift: Drift, entries: Mapping[str, Entry], known: Mapping[str, frozenset[str]]) -> Drift:
    """Return the drift with what takes more than one server to know."""
    others = frozenset().union(*(names for server, names in known.items() if server != drift.server))
    foreign = others - known.get(drift.server, frozenset())
    rules = entries[drift.server].single if drift.server in entries else {}

    def tell(difference: Difference) -> Difference:
        ruled = rules.get(difference.kind, {})
        loses = difference.renamed_from in ruled and difference.name not in ruled
        return replace(difference, foreign=foreign, loses_rules=loses)

    return replace(drift, added=tuple(map(tell, drift.added)), changed=tuple(map(tell, drift.changed)))


def _unasked(entries: Mapping[str, Entry], server: str) -> str:
    return "it is disabled in the catalog" if server in entries and not entries[server].enabled else "it was not asked"


def _drift(server: str, entries: Mapping[str, Entry], lock: Lock, offered: Definitions | str) -> Drift:
    if server not in entries:
        return Drift(server=server, is_gone=server in lock.servers, problem="" if server in lock.servers else "no such server")
    pinned = lock.servers.get(server)
    reached = _reached_diff(pinned, entries[server])
    if isinstance(offered, str):
        return Drift(server=server, problem=offered, is_new=pinned is None, reached=reached)
    offers = examine(offered)
    added, changed, removed = _compare(offers, pinned or Pinned(reached={}))
    return Drift(
        server=server,
        is_new=pinned is None,
        reached=reached,
        added=added,
        changed=changed,
        removed=removed,
        faults=offers.faults,
        unchanged=len(offers.items) - len(added) - len(changed),
    )


def _reached_diff(pinned: Pinned | None, entry: Entry) -> tuple[str, ...]:
    if pinned is None or pinned.fingerprint == entry.fingerprint:
        return ()
    return tuple(field_diff(pinned.reached, entry.reached))


def _compare(offers: Offers, pinned: Pinned) -> tuple[tuple[Difference, ...], tuple[Difference, ...], tuple[Difference, ...]]:
    added: list[Difference] = []
    changed: list[Difference] = []
    offered_names = {(item.kind, item.name) for item in offers.items}
    removed = [
        Difference(kind=kind, name=name, before=accepted.definition, after=None)
        for kind in KINDS
        for name, accepted in sorted(pinned.accepted.get(kind, {}).items())
        if (kind, name) not in offered_names
    ]
    for item in offers.items:
        accepted = pinned.accepted.get(item.kind, {}).get(item.name)
        if accepted is None:
            added.append(Difference(kind=item.kind, name=item.name, before=None, after=item.definition))
        elif accepted.hash != item.hash:
            changed.append(Difference(kind=item.kind, name=item.name, before=accepted.definition, after=item.definition))
    return tuple(_renames(added, removed)), tuple(changed), tuple(removed)


# --- renames -------------------------------------------------------------------------------------------------------------


def _renames(added: Sequence[Difference], removed: Sequence[Difference]) -> Iterator[Difference]:
    """Pair each new definition with the removed one most like it; each removed one is used once."""
    old_words = [_words(other.before or {}) for other in removed]
    new_words = [_words(one.after or {}) for one in added]
    pairs = sorted(
        (-alike, new, old)
        for new, one in enumerate(added)
        for old, other in enumerate(removed)
        if one.kind is other.kind and (alike := _alike(old_words[old], new_words[new])) >= _ALIKE
    )
    was: dict[int, int] = {}
    for _, new, old in pairs:
        if new not in was and old not in was.values():
            was[new] = old
    for new, one in enumerate(added):
        if new in was:
            other = removed[was[new]]
            yield Difference(kind=one.kind, name=one.name, before=other.before, after=one.after, renamed_from=other.name)
        else:
            yield one


@dataclass(frozen=True, slots=True)
class _Words:
    """What two definitions are compared by; apart, because a description is rewritten where the parameters stay."""

    told: Counter[str]
    """Words of descriptions, of parameters' too."""
    shape: Counter[str]
    """Names, types and values of parameters."""


def _alike(one: _Words, other: _Words) -> float:
    """Return 0 to 1. Linear time, since an upstream chooses the length."""
    if not (one.shape and other.shape):
        return _common(one.told, other.told)
    return (_common(one.told, other.told) + _common(one.shape, other.shape)) / 2


def _common(one: Counter[str], other: Counter[str]) -> float:
    """Dice coefficient."""
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 0.0


def _words(definition: JsonObject) -> _Words:
    words = _Words(Counter(), Counter())
    for key, value in definition.items():
        if key == "description":
            words.told.update(_WORD.findall(str(value).lower()))
        elif key in ("inputSchema", "outputSchema", "arguments"):
            _count(value, words)
    if set(words.shape) <= _EVERY_SCHEMAS:
        words.shape.clear()
    return words


_EVERY_SCHEMAS = frozenset({"type", "object", "properties", "required", "additionalProperties", "false", "true", "$schema"})
"""What a schema without parameters consists of: having none in common is no likeness."""


def _count(value: Json, words: _Words) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "description" and isinstance(item, str):
                words.told.update(_WORD.findall(item.lower()))
            elif key != "$schema":
                words.shape[key] += 1
                _count(item, words)
    elif isinstance(value, list):
        for item in value:
            _count(item, words)
    else:
        words.shape[str(value).lower()] += 1


# --- the diff of one definition ------------------------------------------------------------------------------------------


def field_diff(before: JsonObject, after: JsonObject) -> Iterator[str]:
    """One block per field that differs: its name, then the lines that went and came."""
    for key in dict.fromkeys((*before, *after)):
        old = _lines(before[key]) if key in before else []
        new = _lines(after[key]) if key in after else []
        if old != new or (key in before) != (key in after):
            yield f"  {visible(key)}:"
            yield from (f"    {line}" for line in _changed_lines(old, new))


def _changed_lines(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    if len(old) + len(new) > _MAX_MATCHED_LINES:
        yield from (f"- {line}" for line in old)
        yield from (f"+ {line}" for line in new)
        return
    lines = difflib.unified_diff(old, new, lineterm="", n=2)
    for line in list(lines)[2:]:  # the first two name files
        yield "  …" if line.startswith("@@") else f"{line[0]} {line[1:]}"


def _lines(value: Json) -> list[str]:
    """A text by its lines as they are, anything else as indented JSON; every hidden character escaped."""
    if isinstance(value, str):
        return [visible(line) for line in value.split("\n")]
    return [visible(line) for line in json.dumps(value, indent=2, ensure_ascii=False).split("\n")]


# --- acceptance ----------------------------------------------------------------------------------------------------------


def accept(
    entries: Mapping[str, Entry],
    lock: Lock,
    offered: Mapping[str, Definitions],
    single: str = "",
    kind: TargetKind = TargetKind.TOOL,
) -> Lock:
    """Return the lock with what the servers in `offered` offer now accepted: all of it, or the one thing that is named.

    Raises:
        ConfigError: it is not offered, or its server has to be accepted as a whole first.
    """
    servers = dict(lock.servers)
    for name, definitions in offered.items():
        offers, pinned = examine(definitions), lock.servers.get(name)
        if single:
            servers[name] = _with_single(entries[name], pinned, offers, kind, single)
        else:
            servers[name] = _whole(entries[name], pinned, offers)
    return Lock(servers)


def forget(lock: Lock, servers: Sequence[str]) -> Lock:
    """Return the lock without servers that left the catalog."""
    return Lock({name: pinned for name, pinned in lock.servers.items() if name not in servers})


def _whole(entry: Entry, pinned: Pinned | None, offers: Offers) -> Pinned:
    accepted: dict[TargetKind, dict[str, Accepted]] = {}
    for item in offers.items:
        accepted.setdefault(item.kind, {})[item.name] = _accepted(pinned, item)
    return Pinned(reached=entry.reached, accepted=accepted)


def _with_single(entry: Entry, pinned: Pinned | None, offers: Offers, kind: TargetKind, name: str) -> Pinned:
    item = next((item for item in offers.items if (item.kind, item.name) == (kind, name)), None)
    if pinned is not None and pinned.fingerprint != entry.fingerprint:
        message = (
            f'"{entry.name}" is reached in another way than when it was accepted, so its {kind.value}s cannot be taken'
            " one by one."
        )
        raise ConfigError(message, hint=f"Look at `mcpgw catalog diff {entry.name}`, then accept the server as a whole.")
    base = pinned or Pinned(reached=entry.reached)
    accepted = dict(base.accepted.get(kind, {}))
    if item is not None:
        accepted[name] = _accepted(pinned, item)
    elif name in accepted:
        del accepted[name]  # accepting that it is offered no more
    else:
        message = f'"{entry.name}" offers no {kind.value} "{visible(name)}".'
        raise ConfigError(message, hint="Give the upstream's own name or URI, as `mcpgw catalog list` shows it.")
    return Pinned(reached=base.reached, accepted={**base.accepted, kind: accepted})


def _accepted(pinned: Pinned | None, item: Offered) -> Accepted:
    """What was accepted stays as it was written where only the order of its keys differs: the file does not move."""
    before = pinned.accepted.get(item.kind, {}).get(item.name) if pinned else None
    return before if before is not None and before.hash == item.hash else Accepted(item.definition, item.hash)
