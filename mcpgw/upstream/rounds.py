"""Multi round-trip requests of 2026-07-28: a server that answers with questions is asked again, with the answers.

Sources: 2026-07-28, "Multi Round-Trip Requests", and `InputRequiredResult`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import anyio

from mcpgw.core.answers import Answers
from mcpgw.core.errors import QuestionRefused, UpstreamError
from mcpgw.core.model import (
    Json,
    JsonObject,
    RawJson,
    RawNotice,
    RawReply,
)
from mcpgw.ports import Interview
from mcpgw.upstream.clock import Clock

MOST_ROUNDS: Final = 10
"""How often a call is made again for its server, as the SDKs' clients do."""
_PAUSE_S: Final = 0.25
"""Before a call is made again for a server that asked nothing, and only gave a state to be sent back: it wants time."""

Send = Callable[[JsonObject], Awaitable[RawReply]]
"""Makes the call, with these parameters beside its own."""


def brought(answers: Answers) -> dict[str, Json]:
    """Return the parameters by which a request brings answers along; none for a request that answers nothing."""
    responses = {"inputResponses": answers.responses} if answers.responses else {}
    return {**responses, **({"requestState": answers.state} if answers.state else {})}


class Rounds:
    """One call and what its server asks, round by round."""

    def __init__(self, name: str, interview: Interview, clock: Clock) -> None:
        self._name = name
        self._interview = interview
        self._clock = clock

    async def carry_out(self, send: Send, answers: Answers) -> RawReply:
        """Make the call until it has a result, or one that is the caller's to answer. `answers`: what it brings by itself.

        Raises:
            UpstreamError: what is asked is not answered, may not be asked, or has no end.
            TimeoutError: the time is over.
        """
        for left in reversed(range(MOST_ROUNDS + 1)):
            reply = await send(brought(answers))
            if not reply.asks:
                return reply
            questions, state = self._read(reply.payload)
            if self._interview.in_rounds:
                return reply
            if left:
                answers = Answers(responses=await self._answers(questions), state=state)
        raise self._breach(f"asked for input more than {MOST_ROUNDS} times, and gave no result")

    async def _answers(self, questions: Mapping[str, RawNotice]) -> Mapping[str, JsonObject]:
        if not questions:
            with self._clock.scope():
                await anyio.sleep(_PAUSE_S)
                return {}
            raise TimeoutError
        try:
            with self._clock.stopped():
                return await self._interview.ask(questions)
        except QuestionRefused as refused:
            raise self._breach(f"asked for input, which it does not get, so that the call has no result: {refused}") from None

    def _read(self, result: JsonObject) -> tuple[Mapping[str, RawNotice], str]:
        """Return the questions of a result by their keys, and its state."""
        requests, state = result.get("inputRequests", {}), result.get("requestState", "")
        if not isinstance(requests, Mapping) or not isinstance(state, str) or not (requests or state):
            raise self._breach("asked for input in a form that its protocol does not know")
        if requests and not self._interview.declares:
            may = "It may where the catalog's `questions` says so, and the caller's client can be asked."
            raise self._breach(f"asked for input, though it was told that it may ask nothing. {may}")
        return {key: self._question(request) for key, request in requests.items()}, state

    def _question(self, request: Json) -> RawNotice:
        if isinstance(request, Mapping):
            method, params = request.get("method"), request.get("params", {})
            if isinstance(method, str) and isinstance(params, dict):
                return RawNotice(method=method, params=RawJson(params))
        raise self._breach("asked for input in a form that its protocol does not know")

    def _breach(self, what: str) -> UpstreamError:
        return UpstreamError(f"The upstream server {self._name!r} {what.removesuffix('.')}.", sent=True)
