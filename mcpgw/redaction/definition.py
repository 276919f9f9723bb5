"""A definition as lists show it: its words without personal data, its `outputSchema` as masked answers satisfy it."""

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from mcpgw.core.errors import GatewayError
from mcpgw.core.model import (
    Masking,
    Target,
    TargetKind,
)
from mcpgw.redaction.config import RedactionConfig
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import NoModel
from mcpgw.redaction.memory import remember
from mcpgw.redaction.schema import relaxed_output_schema

_WORDS = frozenset({"title", "description", "$comment"})
"""What is said to people and models. Everything else in a definition is a name, or data that a client has to send as it is."""
_DATA = frozenset({"default", "const", "enum"})
_ENTRIES = 4_096
"""Definitions that are remembered: those of large catalogs."""


class ShownDefinitions:
    """Definitions of tools, prompts and resources, as they leave the gateway.

    Their words are judged here by patterns, keys and cues, without a language model: an admin has read and accepted each.
    """

    def __init__(self, config: RedactionConfig) -> None:
        self._engine = Engine(config, NoModel(), memory=0)
        self._shown: OrderedDict[tuple[str, str, str, str], dict[str, Any]] = OrderedDict()

    def shown(self, target: Target) -> dict[str, Any]:
        """Return the upstream's definition under the published name, and a tool's with the annotations that hold.

        Nothing is changed but the words in which something was found, and `outputSchema` exactly where masking may change a
        value's type. Where its words cannot be judged, they are left empty.
        """
        annotations = dict(target.annotations)
        key = (
            target.kind.value,
            target.definition_hash,
            target.masking.profile,
            json.dumps(annotations, sort_keys=True, default=dict),
        )
        shown = self._shown.get(key)
        if shown is None:
            held = {"annotations": annotations} if target.kind is TargetKind.TOOL else {}
            shown = self._clean({**target.definition, **held}, Masking(profile=target.masking.profile))
            remember(self._shown, key, shown, _ENTRIES)
        return {**shown, _name_key(target): target.name}

    def _clean(self, definition: dict[str, Any], masking: Masking) -> dict[str, Any]:
        said = list(_words(definition))
        try:
            clean = self._engine.redact(said, masking, envelope=False).payload
        except GatewayError:  # no such profile, say: calls of this tool are refused with the reason
            clean = [""] * len(said)
        shown: dict[str, Any] = _with_words(definition, iter(clean)) if clean != said else definition
        if isinstance(shown.get("outputSchema"), Mapping):
            shown = {**shown, "outputSchema": relaxed_output_schema(shown["outputSchema"])}
        return shown


def _name_key(target: Target) -> str:
    """The field by which clients ask for it."""
    if target.kind is not TargetKind.RESOURCE:
        return "name"
    return "uriTemplate" if target.is_template else "uri"


def _words(value: Any) -> Iterator[str]:
    """Yield the texts of a definition, in the order in which they stand."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in _WORDS and isinstance(item, str):
                yield item
            elif key not in _DATA:
                yield from _words(item)
    elif isinstance(value, list):
        for item in value:
            yield from _words(item)


def _with_words(value: Any, words: Iterator[str]) -> Any:
    if isinstance(value, Mapping):
        return {
            key: next(words) if key in _WORDS and isinstance(item, str) else item if key in _DATA else _with_words(item, words)
            for key, item in value.items()
        }
    return [_with_words(item, words) for item in value] if isinstance(value, list) else value
