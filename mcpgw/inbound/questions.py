"""Questions of servers to the clients of calls under way: what a client declares, and what waits for it to answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
from mcp.server.context import ServerRequestContext

from mcpgw.core.errors import QuestionRefused
from mcpgw.core.model import (
    CleanNotice,
    Identity,
    JsonObject,
)
from mcpgw.inbound.presentation import declared_in
from mcpgw.inbound.shaping import is_modern

_ABOUT: Final = ("elicitation", "sampling", "roots")
_MOST: Final = 20
"""Questions of one call that wait at the same time."""


def declares(ctx: ServerRequestContext[Any, Any]) -> JsonObject:
    """Return the capabilities by which this request's client can be asked something; nothing where no way leads to it."""
    if is_modern(ctx.protocol_version):
        declared = declared_in(ctx)
    elif ctx.session.client_capabilities is not None and ctx.session.can_send_request:
        declared = ctx.session.client_capabilities.model_dump(by_alias=True, mode="json", exclude_none=True)
    else:
        declared = {}
    return {name: declared[name] for name in _ABOUT if isinstance(declared.get(name), Mapping)}


@dataclass(slots=True, kw_only=True)
class Questions:
    """What a call's client has still to answer, while the client is away and comes back with answers one by one."""

    timeout_s: float
    """How long a question waits."""
    asked_of: Identity
    """For whom the call runs. Another credential of the same principal may be entitled to less, and answers nothing."""
    _open: dict[str, CleanNotice] = field(default_factory=dict)
    _given: dict[str, JsonObject] = field(default_factory=dict)
    _news: list[anyio.Event] = field(default_factory=list)

    @property
    def requests(self) -> dict[str, JsonObject]:
        """`inputRequests` of 2026-07-28: what is not answered yet, by a key of its own."""
        return {key: {"method": one.method, "params": dict(one.params)} for key, one in self._open.items()}

    async def answers(self, questions: Mapping[str, CleanNotice]) -> Mapping[str, JsonObject]:
        """Put these, and return the answer of each once all are there.

        Raises:
            QuestionRefused: the client does not answer in time, or has too many questions already.
        """
        if len(self._open) + len(questions) > _MOST:
            raise QuestionRefused("Too many questions wait for this caller.")
        keys = {key: self._put(key, question) for key, question in questions.items()}
        self.tell()
        try:
            with anyio.fail_after(self.timeout_s):
                while not all(key in self._given for key in keys.values()):
                    await self.changed()
            return {key: self._given[own] for key, own in keys.items()}
        except TimeoutError:
            raise QuestionRefused("The caller did not answer in time.") from None
        finally:
            for own in keys.values():
                self._open.pop(own, None)
                self._given.pop(own, None)

    def give(self, responses: Mapping[str, Any]) -> None:
        """Take answers to open questions; one to no question, or that is no result, is left aside."""
        for key, answer in responses.items():
            if key in self._open and isinstance(answer, dict):
                del self._open[key]
                self._given[key] = answer
        self.tell()

    async def changed(self) -> None:
        """Return when something is asked, answered or told."""
        news = anyio.Event()
        self._news.append(news)
        await news.wait()

    def tell(self) -> None:
        """Wake everybody who waits for a change."""
        news, self._news = self._news, []
        for one in news:
            one.set()

    def _put(self, key: str, question: CleanNotice) -> str:
        """Servers that ask on a stream have no keys of their own, and what stands for them may be taken."""
        own, number = key, 1
        while own in self._open or own in self._given:
            number += 1
            own = f"{key}-{number}"
        self._open[own] = question
        return own
