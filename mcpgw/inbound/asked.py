"""What a request that takes the corridor asks for: from validated parameters to a kind, a name and arguments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types.jsonrpc import INVALID_PARAMS

from mcpgw.core.answers import RESERVED
from mcpgw.core.model import (
    Target,
    TargetKind,
    UnknownTarget,
)
from mcpgw.core.naming import CALL_TOOL
from mcpgw.core.shape import misfits
from mcpgw.core.uris import MAX_URI
from mcpgw.inbound.covering import located
from mcpgw.inbound.links import restored
from mcpgw.ports import Catalog

KINDS: Final[Mapping[str, TargetKind]] = {
    "tools/call": TargetKind.TOOL,
    "prompts/get": TargetKind.PROMPT,
    "resources/read": TargetKind.RESOURCE,
    "completion/complete": TargetKind.COMPLETION,
}
"""The methods that take the corridor."""
_MAX_NAME: Final = 256
"""Characters. Published names have at most 64, and every name asked for is recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One ask. `target` is for what inbound itself has to know; the corridor finds it anew."""

    kind: TargetKind
    name: str
    arguments: dict[str, Any]
    target: Target | UnknownTarget
    uri: str = ""
    """Of a resource to read: its URI as the client wrote it."""
    via: str = ""
    """The own tool that the client named, where this is what it was asked to call."""

    @property
    def sent(self) -> dict[str, Any]:
        """The arguments with URIs of the server's own as it knows them: what is judged, recorded and sent."""
        if isinstance(self.target, UnknownTarget) or self.kind is TargetKind.RESOURCE:
            return self.arguments
        changed: dict[str, Any] = restored(self.arguments, self.target.server)
        return changed


def schema_of(target: Target) -> object:
    """Return the JSON Schema of a target's arguments, as far as there is one: a prompt lists names instead."""
    match target.kind:
        case TargetKind.TOOL:
            return target.definition.get("inputSchema")
        case TargetKind.PROMPT:
            listed = target.definition.get("arguments")
            names = [item.get("name") for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
            return {"properties": {name: {} for name in names if isinstance(name, str)}}
        case _:
            return {}


def asked_of(method: str, params: Mapping[str, Any], catalog: Catalog) -> Asked:
    """Return what a request of one of `KINDS` asks for. The SDK's models let some of this through, and policy must not meet it.

    Raises:
        MCPError: the parameters are not what the method takes.
    """
    kind = KINDS[method]
    match kind:
        case TargetKind.RESOURCE:
            return _read(params, catalog)
        case TargetKind.COMPLETION:
            name, arguments = _completed(params, catalog)
        case _:
            name, arguments = _text(params.get("name"), f"A {kind.value}'s name"), _own(_object(params, "arguments", kind))
    return Asked(kind=kind, name=name, arguments=arguments, target=catalog.find(kind, name))


def inner_of(asked: Asked, catalog: Catalog) -> Asked:
    """Return what a call of `mcpgw__call_tool` asks for, if it is one that fits; else what was asked.

    From here on it is a call of the inner tool, and of nothing else. Whether the caller has the outer one at all is to be
    known before. What does not fit goes to the outer tool, which says so.

    Raises:
        MCPError: the inner arguments are nobody's to send.
    """
    if asked.kind is not TargetKind.TOOL or asked.name != CALL_TOOL or not isinstance(asked.target, Target):
        return asked
    schema = asked.target.definition["inputSchema"]
    name, arguments = asked.arguments.get("name"), asked.arguments.get("arguments", {})
    if misfits(asked.arguments, schema["properties"], tuple(schema["required"])) or name == CALL_TOOL:
        return asked
    inner = str(name)
    return Asked(kind=asked.kind, name=inner, arguments=_own(arguments), target=catalog.find(asked.kind, inner), via=asked.name)


def _read(params: Mapping[str, Any], catalog: Catalog) -> Asked:
    uri = _text(params.get("uri"), "A resource's URI", MAX_URI)
    found = located(uri, catalog)
    target = catalog.find(TargetKind.RESOURCE, found.name)
    return Asked(kind=TargetKind.RESOURCE, name=found.name, arguments=found.arguments, target=target, uri=uri)


def _completed(params: Mapping[str, Any], catalog: Catalog) -> tuple[str, dict[str, Any]]:
    kind = TargetKind.COMPLETION
    reference, argument, context = (_object(params, key, kind) for key in ("ref", "argument", "context"))
    if reference.get("type") == "ref/resource":
        name = _text(reference.get("uri"), "A template's URI", MAX_URI)
        if isinstance(catalog.find(kind, name), UnknownTarget):
            name = located(name, catalog).name  # nobody's template, so perhaps somebody's data
    else:
        name = _text(reference.get("name"), "A prompt's name")
    given = _object(context, "arguments", kind)
    wanted = {"argument": {"name": argument.get("name"), "value": argument.get("value")}}
    return name, {**wanted, "context": {"arguments": given}} if given else wanted


def _text(value: object, what: str, longest: int = _MAX_NAME) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise MCPError(INVALID_PARAMS, f"{what} must be a string of 1 to {longest} characters.")
    return value


def _own(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a caller's own arguments, none of which passes for what the gateway puts among them."""
    if any(argument.startswith(RESERVED) for argument in arguments):
        raise MCPError(INVALID_PARAMS, f"No argument's name may begin with {RESERVED}.")
    return arguments


def _object(params: Mapping[str, Any], key: str, kind: TargetKind) -> dict[str, Any]:
    """Return the object under a key; an empty one where there is none."""
    value = params.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MCPError(INVALID_PARAMS, f"A {kind.value}'s {key} must be an object.")
    return value
