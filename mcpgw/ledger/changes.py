"""Changes of the catalog, the policy, API keys, issuers and settings: each is one record, whoever comes first to tell of it.

How an aspect stands is compared with its mark, which holds what the record last said of it, in the transaction that writes the
record and moves the mark. So of any number of processes one records a change, what was edited while none ran is found at the
next start, and `before` is always the `after` that came last. Where there is no mark, nothing was recorded yet: `before` is
empty.

A mark is a projection. Its hash is the `after` of the newest record whose `facts.aspect` is its own. The hashes of the parts
stand in no record: after a rebuild the next change is told by its two hashes alone, without naming parts.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mcpgw.core.entries import (
    Changed,
    Event,
    Standing,
)
from mcpgw.ledger.describe import cut

_NAMED = 20
"""Parts that a record names of each list; those left out are counted. Names may be upstreams' own, and have to fit a leaf."""
_MAX_NAME = 128
"""Longest name of a part, in characters."""


def mark_name(aspect: str) -> str:
    """Return the name of the mark that holds how the aspect stands."""
    return f"standing.{aspect}"


def mark_of(standing: Standing) -> str:
    """Return the mark's value."""
    return json.dumps({"hash": standing.hash, "parts": dict(standing.parts)})


def bare_mark(after: str) -> str:
    """Return the mark's value as far as records tell it."""
    return json.dumps({"hash": after})


def hash_in(value: str) -> str:
    """Return the hash that a mark's value holds; the value itself where it is no such mark."""
    return str(_told(value).get("hash", value))


def differs(changed: Changed, mark: Sequence[str]) -> bool:
    """Tell whether the record does not know yet that the aspect stands so. `mark`: its mark's value, if there is one."""
    return changed.standing.hash != next(map(hash_in, mark), "")


def event_of(changed: Changed, mark: Sequence[str]) -> Event:
    """Return what is recorded of a change."""
    standing = changed.standing
    facts = {
        **changed.facts,
        "aspect": standing.aspect,
        "before": next(map(hash_in, mark), ""),
        "after": standing.hash,
        **_named(standing.parts, mark),
    }
    return Event(kind=changed.kind, actor=changed.actor, facts=facts, document=standing.document)


def _named(parts: Mapping[str, str], mark: Sequence[str]) -> dict[str, list[str] | int]:
    """Return which parts came, went and changed, or nothing where the mark does not tell what they were."""
    before = _told(mark[0]).get("parts") if mark else {}
    if not isinstance(before, dict):
        return {}
    lists = {
        "added": sorted(parts.keys() - before.keys()),
        "removed": sorted(before.keys() - parts.keys()),
        "changed": sorted(name for name in parts.keys() & before.keys() if parts[name] != before[name]),
    }
    named = {word: [cut(name, _MAX_NAME) for name in names[:_NAMED]] for word, names in lists.items()}
    return {**named, "unnamed": sum(len(names[_NAMED:]) for names in lists.values())}


def _told(value: str) -> dict[str, Any]:
    try:
        told = json.loads(value)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
