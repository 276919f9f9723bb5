"""A call in rounds (multi round-trip requests of 2026-07-28): what is answered with a question is called again with an answer.

Who asks is the gateway or the server:

- A held call, as URL elicitation: where it waits, then answers that only say that it waits still. The client is shown the page
  once. What it says to that (accepted, declined, cancelled) is not looked at: hosts without a person cancel by themselves, and
  a host's word is nobody's verdict. It retries, and each retry waits for people before it is answered.
- A server that asks for input. The answers are told to it with the call that the client makes again, as arguments of that call.
- A server of an earlier revision, in the middle of a call that goes on meanwhile (`parking`).

What the client holds between rounds is sealed by the SDK's boundary, to this identity, the name and the arguments.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp_types.methods import INPUT_REQUIRED_METHODS

from mcpgw.core.answers import INPUT_REQUIRED, STATE, Answers
from mcpgw.core.model import (
    CleanReply,
    Held,
    JsonObject,
    Patience,
)
from mcpgw.inbound.answers import APPROVAL_META
from mcpgw.inbound.caller import caller_of, session_owner
from mcpgw.inbound.shaping import is_modern

INVALID_STATE: Final = {"reason": "invalid_request_state"}
"""The data of the error by which the boundary refuses a state, whatever is wrong with it."""
_MOST_ROUNDS: Final = 10
"""After as many answers that ask for input the SDKs' clients raise; so the one after says that the call is pending."""
_ROUND_S: Final = 45.0
"""Longest wait of a retry: below the limits of known clients (60 s), and long enough that a person can decide."""
_RESPONSES: Final = "inputResponses"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a retry brought back. The first call of all is round 0, and resumes nothing."""

    resumes: str = ""
    """The approval that it waits for."""
    number: int = 0
    answers: Answers = field(default_factory=Answers)
    """What it brings along for the server."""
    parked: str = ""
    """The call that goes on and waits for these answers; nothing is called anew."""

    def patience(self, client: Patience) -> Patience:
        """Return how long this round waits: the first not at all, since the page is to be shown first."""
        return replace(client, budget_s=min(client.budget_s, _ROUND_S) if self.number else 0.0)

    def can_ask(self, meta: Mapping[str, Any]) -> bool:
        """Tell whether the client can be asked for another round: there are `_MOST_ROUNDS` at most, the first with a page."""
        return self.number < _MOST_ROUNDS and bool(self.number or _page(meta))

    def asking(self, held: Held, meta: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result that asks for another round; `meta` is what others are told of the held call."""
        state: dict[str, Any] = {"approval": held.approval_id, "round": self.number + 1}
        if self.answers:  # the retry answers the gateway's question, and does not repeat those to the server's
            state |= {"server": self.answers.state, "responses": dict(self.answers.responses)}
        result = {"resultType": INPUT_REQUIRED, STATE: json.dumps(state), "_meta": dict(meta)}
        if self.number:
            return result  # it has the page already, and has just waited
        params = {"mode": "url", "message": _MESSAGE.format(held=held), "url": _page(meta)}
        return {**result, "inputRequests": {"approval": {"method": "elicitation/create", "params": params}}}


def asked_by_server(reply: CleanReply, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return a server's result that asks for input, for a client that calls again with its answers."""
    asked = {key: value for key, value in reply.payload.items() if key not in (STATE, "_meta")}
    return {**asked, STATE: json.dumps({"server": reply.state}), "_meta": dict(meta)}


def asked_meanwhile(requests: Mapping[str, JsonObject], parked_id: str) -> dict[str, Any]:
    """Return the result that puts questions to the client of a call that goes on."""
    return {"resultType": INPUT_REQUIRED, "inputRequests": dict(requests), STATE: json.dumps({"parked": parked_id})}


def _page(meta: Mapping[str, Any]) -> str:
    page: str = meta[APPROVAL_META].get("url", "")
    return page


_MESSAGE = "This call is held for approval {held.approval_id} and was not executed. See here what it waits for. {held.reason}"


def round_of(ctx: ServerRequestContext[Any, Any]) -> Round:
    """Return the round that a call belongs to, by its state, which the boundary has opened already.

    What the boundary does not look at (an earlier revision, a completion) has no rounds, and a state there is forged.
    """
    if not is_modern(ctx.protocol_version) or ctx.method not in INPUT_REQUIRED_METHODS:
        return Round()
    params = ctx.params or {}
    responses = given if isinstance(given := params.get(_RESPONSES), dict) else {}
    if (opened := params.get(STATE)) is None:
        return Round(answers=Answers(responses=responses))
    state = json.loads(opened)
    if "parked" in state:
        return Round(parked=state["parked"], answers=Answers(responses=responses))
    if "approval" in state:
        answers = Answers(responses=state.get("responses", {}), state=state.get("server", ""))
        return Round(resumes=state["approval"], number=state["round"], answers=answers)
    return Round(answers=Answers(responses=responses, state=state["server"]))


class StateSeal:
    """The SDK's boundary, for the revision that has a `requestState`; an earlier one is spared it."""

    def __init__(self, key: bytes, *, audience: str, lifetime_s: float) -> None:
        security = RequestStateSecurity(
            keys=[key], ttl=lifetime_s, bind_principal=lambda ctx: session_owner(caller_of(ctx).identity)
        )
        self._boundary = RequestStateBoundary(security, default_audience=audience)

    async def around(self, ctx: ServerRequestContext[Any, Any], answer: CallNext) -> HandlerResult:
        """Answer with what a state says in its place, and seal the one in the answer.

        Raises:
            MCPError: the state is not one that this caller was given for this very call, or has expired.
        """
        return await (self._boundary(ctx, answer) if is_modern(ctx.protocol_version) else answer(ctx))
