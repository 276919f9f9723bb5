"""The entries of lists as JSON text: made once for each target, for as long as the catalog holds it."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from mcpgw.core.model import Target, TargetKind
from mcpgw.inbound.links import published_definition
from mcpgw.inbound.shaping import shape_definition

Publish: TypeAlias = Callable[[Target], dict[str, Any]]
"""The definition to list for a target: the upstream's, under the published name, with the admin's annotations."""

MOST: Final = 8_192
"""Targets whose texts are remembered: those of large catalogs, before and after a change."""
_MOST_PAGES: Final = 32
"""Pages whose text is remembered: those of a few roles in both eras. Each is as long as the entries that it holds."""


@dataclass(slots=True)
class _Entry:
    target: Target
    """Held, so that no other target can have its id."""
    texts: dict[bool, bytes]
    """By whether the client is modern; made when one asks."""
    mark: bytes = b""


@dataclass(frozen=True, slots=True)
class _Page:
    targets: tuple[Target, ...]
    """Held, so that no other targets can have their ids."""
    text: bytes


class Entries:
    """What lists hold of each target."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._known: OrderedDict[int, _Entry] = OrderedDict()
        self._pages: OrderedDict[tuple[bool, tuple[int, ...]], _Page] = OrderedDict()

    def page(self, targets: Sequence[Target], *, modern: bool) -> bytes:
        """Return a JSON array of the targets' entries in lists of that era, in ASCII, on one line."""
        key = (modern, tuple(map(id, targets)))
        page = self._pages.pop(key, None)
        if page is None:
            texts = b",".join(self.text(target, modern=modern) for target in targets)
            page = _Page(tuple(targets), b"[" + texts + b"]")
        self._pages[key] = page
        if len(self._pages) > _MOST_PAGES:
            self._pages.popitem(last=False)
        return page.text

    def text(self, target: Target, *, modern: bool) -> bytes:
        """Return the target's entry in lists of that era: JSON in ASCII, on one line."""
        texts = self._entry(target).texts
        if modern not in texts:
            texts[modern] = json.dumps(self._shown(target, modern=modern), separators=(",", ":")).encode("ascii")
        return texts[modern]

    def mark(self, target: Target) -> bytes:
        """Return a hash of what clients see of the target."""
        entry = self._entry(target)
        if not entry.mark:
            seen = json.dumps([target.name, target.definition_hash, target.annotations], sort_keys=True, default=dict)
            entry.mark = hashlib.sha256(seen.encode()).digest()
        return entry.mark

    def _entry(self, target: Target) -> _Entry:
        entry = self._known.get(id(target))
        if entry is None:
            entry = self._known[id(target)] = _Entry(target, {})
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        return entry

    def _shown(self, target: Target, *, modern: bool) -> dict[str, Any]:
        definition = published_definition(target, self._publish(target))
        return shape_definition(definition, modern=modern) if target.kind is TargetKind.TOOL else definition
