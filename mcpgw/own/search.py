"""The tools of those who should not carry every definition: one finds tools, the other calls them.

The second is no way around anything. Where it comes in, its call is made the call of the inner tool before anything judges it;
what is answered here is only what cannot be made one.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from mcpgw.core.model import (
    Call,
    JsonObject,
    Masking,
    Target,
    TargetKind,
)
from mcpgw.core.naming import CALL_TOOL, FIND_TOOLS
from mcpgw.own.ranking import Document, ranked
from mcpgw.own.tool import NotUnderstood, Offer
from mcpgw.ports import Catalog, ListingPolicy

Publish: TypeAlias = Callable[[Target], Mapping[str, Any]]
"""The definition as lists show it."""

FOR_DEFINITIONS: Final = "definitions"
"""Redaction profile of what is found: a definition has no rows, so columns and paths mean nothing in it."""
_MOST: Final = 20
_FEW: Final = 5
_SIZE: Final = 40_000
"""Bytes of the definitions in one answer, which holds them twice, as data and as text, and must stay below its limit."""
_QUERY: Final = 500
_REMEMBERED: Final = 8_192
"""Definitions: those of large catalogs, before and after a change."""

FIND: Final = Offer(
    name="find_tools",
    title="Find tools",
    description=(
        "Find tools that you may call, by words of what you want to do. Returns the best matches, each with its description "
        "and the JSON Schema of its arguments. Call what you find with mcpgw__call_tool."
    ),
    properties={
        "query": {"type": "string", "minLength": 1, "maxLength": _QUERY, "description": "A few words: list card payments."},
        "limit": {
            "type": "integer",
            "minimum": 1,
            "maximum": _MOST,
            "description": f"How many tools at most; {_FEW} if left out.",
        },
    },
    required=("query",),
    output={
        "type": "object",
        "properties": {
            "tools": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "description": {"type": "string"},
                        "inputSchema": {"type": "object"},
                    },
                    "required": ["name", "description", "inputSchema"],
                },
            },
            "more": {"type": "integer", "description": "How many others match."},
        },
        "required": ["tools", "more"],
    },
    is_read_only=True,
    masking=Masking(profile=FOR_DEFINITIONS),
)
CALL: Final = Offer(
    name="call_tool",
    title="Call a tool",
    description=(
        "Call a tool by the name that mcpgw__find_tools returned, with arguments that fit its inputSchema. What comes back is "
        "the tool's own answer; whether it is allowed, held or denied is as if it had been called directly."
    ),
    properties={
        "name": {"type": "string", "minLength": 1, "maxLength": 256, "description": "As mcpgw__find_tools returned it."},
        "arguments": {"type": "object", "description": "The tool's own arguments; none if left out."},
    },
    required=("name",),
    is_read_only=False,
    annotations={"destructiveHint": True, "idempotentHint": False, "openWorldHint": True},
    masking=Masking(paths=("arguments",)),
)


class FindTool:
    """Answers for `FIND`: of what its caller may call, and of nothing else."""

    def __init__(self, catalog: Catalog, policy: ListingPolicy, publish: Publish) -> None:
        self._catalog = catalog
        self._policy = policy
        self._publish = publish
        self._read: dict[int, tuple[Target, Document]] = {}
        """By the id of the target, which is held so that the id stays its own."""

    async def answer(self, call: Call) -> JsonObject:
        targets = self._policy.visible(call.identity, tuple(self._catalog.targets(TargetKind.TOOL)))
        by_name = {target.name: target for target in targets if target.name not in (FIND_TOOLS, CALL_TOOL)}
        names = ranked(call.arguments["query"], [self._document(target) for target in by_name.values()])
        found: list[dict[str, Any]] = []
        size = 0
        for name in names[: call.arguments.get("limit", _FEW)]:
            told = self._told(by_name[name])
            size += len(json.dumps(told))
            if found and size > _SIZE:
                break
            found.append(told)
        return {"tools": found, "more": len(names) - len(found)}

    def _told(self, target: Target) -> dict[str, Any]:
        shown = self._publish(target)
        schema = shown.get("inputSchema")
        return {
            "name": target.name,
            "description": str(shown.get("description") or ""),
            "inputSchema": schema if isinstance(schema, Mapping) else {"type": "object"},
        }

    def _document(self, target: Target) -> Document:
        known = self._read.get(id(target))
        if known is None:
            if len(self._read) >= _REMEMBERED:
                self._read.clear()
            known = self._read[id(target)] = (target, Document.of(target.name, self._publish(target)))
        return known[1]


async def answer_call(call: Call) -> JsonObject:
    """Refuse what is no call of another tool.

    Raises:
        NotUnderstood: always.
    """
    raise NotUnderstood(f"{CALL_TOOL} calls other tools, and not itself.")
