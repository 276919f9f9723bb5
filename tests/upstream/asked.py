"""Callers who can be asked, and the real servers that ask them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from mcpgw.core.errors import QuestionRefused
from mcpgw.core.model import (
    Identity,
    IdentityKind,
    JsonObject,
    RawNotice,
)
from mcpgw.upstream import Limits, ServerConfig
from tests.real_servers import asking_server, asking_url
from tests.upstream.world import QUICK, World, http, pool_of, sse, stdio

ALL: JsonObject = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
FORMS: JsonObject = {"elicitation": {"form": {}}}

ANN = Identity(subject="ann", issuer="test", kind=IdentityKind.HUMAN, method="jwt")
BOB = Identity(subject="bob", issuer="test", kind=IdentityKind.HUMAN, method="jwt")

MODERN = {"stdio, modern": ("stdio", ()), "HTTP, modern": ("http", ())}
LEGACY = {"stdio, legacy": ("stdio", ("--legacy-only",)), "HTTP, legacy": ("http", ("--legacy-only",)), "SSE": ("sse", ())}
WAYS = MODERN | LEGACY


class Caller:
    """`Interview` of a caller who answers by a table of methods, once `ready` is set; what is not in it is refused."""

    def __init__(self, answers: Mapping[str, JsonObject], *, declares: JsonObject = ALL, in_rounds: bool = False) -> None:
        self.declares = declares
        self.in_rounds = in_rounds
        self.ready = anyio.Event()
        self.ready.set()
        self.asked: list[RawNotice] = []
        self.news = anyio.Event()
        self.cancelled = 0
        self._answers = answers

    async def ask(self, questions: Mapping[str, RawNotice]) -> Mapping[str, JsonObject]:
        self.asked.extend(questions.values())
        self.news.set()
        self.news = anyio.Event()
        try:
            await self.ready.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        return {key: self._answer(question) for key, question in questions.items()}

    def _answer(self, question: RawNotice) -> JsonObject:
        for form in (str(question.params.get("message", "")), question.method):
            if form in self._answers:
                return self._answers[form]
        raise QuestionRefused("The caller's client is not there.")

    async def until_asked(self, times: int = 1) -> None:
        with anyio.fail_after(15):
            while len(self.asked) < times:
                await self.news.wait()


def day(name: str, **declared: JsonObject) -> Caller:
    """Somebody who accepts with that day."""
    return Caller({"elicitation/create": {"action": "accept", "content": {"day": name}}}, **declared)  # type: ignore[arg-type]


def slow(name: str) -> Caller:
    """The same, when `ready` is set."""
    caller = day(name)
    caller.ready = anyio.Event()
    return caller


@asynccontextmanager
async def asking(*ways: str, limits: Limits = QUICK) -> AsyncIterator[World]:
    """Run a pool on the asking server, reached in each of these ways, under their names."""
    async with AsyncExitStack() as stack:
        servers = {way: await _reached(way, stack) for way in ways}
        yield await stack.enter_async_context(pool_of(servers, limits=limits))


async def _reached(way: str, stack: AsyncExitStack) -> ServerConfig:
    transport, options = WAYS[way]
    if transport == "stdio":
        return stdio(asking_server("stdio", *options))
    url = await stack.enter_async_context(asking_url(transport, *options))
    return sse(url) if transport == "sse" else http(url)
