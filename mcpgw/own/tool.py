"""What one of the gateway's own tools is: a definition that is code, whom it is for, and who answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from mcpgw.core.canonical import digest
from mcpgw.core.errors import GatewayError
from mcpgw.core.model import (
    Audience,
    Call,
    Json,
    JsonObject,
    Masking,
    Target,
    TargetKind,
)
from mcpgw.core.naming import OWN_SERVER, published_name
from mcpgw.core.shape import misfits

Answer: TypeAlias = Callable[[Call], Awaitable[JsonObject]]
"""Answers a call, whose arguments fit the `inputSchema`, with what becomes `structuredContent`. A `GatewayError` becomes a
result that says so; the call's identity is all that it may act as."""

_FINGERPRINT = digest({"own": OWN_SERVER})
"""How this server is reached: it is the gateway itself."""
_NOTHING_MORE = Masking()


class NotUnderstood(GatewayError):
    """The arguments are not what the tool takes. The message holds no value of them."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What is listed. Nothing is pinned: the definition is the program's own, and its hash goes into every record."""

    name: str
    """Without `mcpgw__`."""
    title: str
    description: str
    properties: JsonObject
    """Of the arguments, by name; each a JSON Schema that `core.shape` understands. No others are taken."""
    required: tuple[str, ...] = ()
    output: JsonObject = field(default_factory=dict)
    """JSON Schema of the answer; empty where it may be anything."""
    is_read_only: bool
    audience: Audience = Audience.GRANTED
    timeout_s: float = 60.0
    annotations: JsonObject = field(default_factory=dict)
    """Beside `readOnlyHint`."""
    masking: Masking = _NOTHING_MORE
    """What the record masks beside what is found: for one, another tool's arguments, whose own rules are not asked here."""

    @cached_property
    def definition(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": {
                "type": "object",
                "properties": self.properties,
                "required": list(self.required),
                "additionalProperties": False,
            },
            **({"outputSchema": self.output} if self.output else {}),
        }

    @cached_property
    def target(self) -> Target:
        """What the corridor judges by. It takes no value behind a reversible token: what its caller was not shown stays so."""
        return Target(
            kind=TargetKind.TOOL,
            name=published_name(OWN_SERVER, self.name),
            server=OWN_SERVER,
            server_fingerprint=_FINGERPRINT,
            upstream_name=self.name,
            definition=self.definition,
            definition_hash=digest(self.definition),
            annotations={"openWorldHint": False, **self.annotations, "readOnlyHint": self.is_read_only},
            audience=self.audience,
            masking=self.masking,
            timeout_s=self.timeout_s,
        )

    def must_fit(self, arguments: JsonObject) -> None:
        """Refuse arguments that the `inputSchema` does not allow.

        Raises:
            NotUnderstood: it says everything that is wrong.
        """
        if wrong := misfits(arguments, self.properties, self.required):
            raise NotUnderstood(" ".join(wrong))


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTool:
    """An offer, and who answers."""

    offer: Offer
    answer: Answer


def text_of(error: GatewayError) -> Json:
    """Return what a refusal says to a caller: what is wrong, and what to do."""
    return f"{error} {error.hint}".rstrip()
