"""How the gateway's own tools come into the corridor: beside the catalog's targets, and behind the upstreams' door."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from mcpgw.core.errors import GatewayError, LedgerUnavailable, UpstreamError
from mcpgw.core.model import (
    Call,
    Permit,
    RawJson,
    RawReply,
    ReplyKind,
    Target,
    TargetKind,
    UnknownTarget,
)
from mcpgw.own.tool import Offer, OwnTool, text_of
from mcpgw.ports import Catalog, Interview, OnNotice, Upstreams


class CatalogWithOwn:
    """Implements `ports.Catalog`: what the catalog publishes, and the gateway's own tools, whose names it gives to nobody."""

    def __init__(self, catalog: Catalog, offers: Sequence[Offer]) -> None:
        self._catalog = catalog
        self._own: Mapping[str, Target] = {offer.target.name: offer.target for offer in offers}
        self._joined: tuple[Sequence[Target], tuple[Target, ...]] = ((), self._with_own(()))
        """What the catalog listed last, and the same with the own tools among it."""

    def find(self, kind: TargetKind, name: str) -> Target | UnknownTarget:
        if kind is TargetKind.TOOL and name in self._own:
            return self._own[name]
        return self._catalog.find(kind, name)

    def targets(self, kind: TargetKind) -> Sequence[Target]:
        """See `ports.Catalog.targets`. While the catalog's is the same, so is this."""
        targets = self._catalog.targets(kind)
        if kind is not TargetKind.TOOL:
            return targets
        if self._joined[0] is not targets:
            self._joined = (targets, self._with_own(targets))
        return self._joined[1]

    def _with_own(self, targets: Sequence[Target]) -> tuple[Target, ...]:
        return tuple(sorted([*targets, *self._own.values()], key=lambda target: target.name))

    def templates(self, server: str) -> Sequence[Target]:
        return self._catalog.templates(server)

    def withheld(self, server: str) -> Sequence[str]:
        return self._catalog.withheld(server)


class UpstreamsWithOwn:
    """Implements `ports.Upstreams`: a permit for the gateway's own server is answered here, any other passed on."""

    def __init__(self, upstreams: Upstreams, tools: Sequence[OwnTool]) -> None:
        self._upstreams = upstreams
        self._own: Mapping[str, OwnTool] = {tool.offer.target.name: tool for tool in tools}

    async def send(self, permit: Permit, on_notice: OnNotice, interview: Interview) -> RawReply:
        """See `ports.Upstreams.send`. What a tool refuses is a result that says so, as an upstream's would be."""
        call = permit.call
        if not isinstance(call.target, Target) or not call.target.is_own:
            return await self._upstreams.send(permit, on_notice, interview)
        tool = self._own.get(call.target.name)
        if tool is None:
            raise UpstreamError(f"The gateway has no tool {call.target.name!r} of its own.", sent=False)
        with anyio.fail_after(call.target.timeout_s):
            return await _answered(tool, call)


async def _answered(tool: OwnTool, call: Call) -> RawReply:
    try:
        tool.offer.must_fit(call.arguments)
        return _result(dict(await tool.answer(call)))
    except LedgerUnavailable as error:
        raise UpstreamError("The gateway could not write its record.", sent=True) from error
    except GatewayError as error:
        return RawReply(
            kind=ReplyKind.RESULT, payload=RawJson({"content": [{"type": "text", "text": text_of(error)}], "isError": True})
        )


def _result(structured: dict[str, Any]) -> RawReply:
    return RawReply(kind=ReplyKind.RESULT, payload=result_payload(structured))


def result_payload(structured: dict[str, Any]) -> RawJson:
    """Return the result: the answer as data, and the same as text for clients that show no other (2025-11-25 server/tools)."""
    text = json.dumps(structured, ensure_ascii=False)
    return RawJson({"content": [{"type": "text", "text": text}], "structuredContent": structured})
