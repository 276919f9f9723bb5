"""Streamable HTTP as upstream, of both eras (from 2025-03-26 on): one POST per request, answered on its own response."""

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress

import aiohttp
import anyio
from anyio.abc import TaskGroup
from yarl import URL

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import (
    Json,
    RawJson,
    RawNotice,
    RawReply,
)
from mcpgw.upstream.client import http_client, http_url, refusal, unreachable
from mcpgw.upstream.config import HttpServer, Limits
from mcpgw.upstream.framing import Oversize, SseParser
from mcpgw.upstream.jsonrpc import Malformed, Message, Notification, Response, ServerRequest, Stray, decode, encode
from mcpgw.upstream.questions import CANCELLED, COMPLETE, Questions
from mcpgw.upstream.wire import ANNOUNCEMENTS, MOST_ASIDES, Ask, OnAnnounced, SessionExpired, WireLost, progress

logger = logging.getLogger(__name__)

RESUMPTIONS = 3
"""How often in a row an answer stream is taken up again without bringing anything new."""
FORGOT = "forgot the gateway's session"
"""HTTP 404 by the specification; many servers in TypeScript answer 400, with an error that names no request."""
TROUBLES = 3
"""Exchanges that broke below HTTP in a row, after which the server counts as down and is negotiated anew."""


class HttpWire:
    """One pooled HTTP client for one upstream.

    There is no connection to lose: the wire is lost when the server cannot be reached, or breaks off several times in a row.
    """

    def __init__(
        self,
        name: str,
        url: URL,
        *,
        limits: Limits,
        client: aiohttp.ClientSession,
        tasks: TaskGroup,
        on_announced: OnAnnounced,
        questions: Questions,
    ) -> None:
        self._name = name
        self._url = url
        self._limits = limits
        self._client = client
        self._tasks = tasks
        self._on_announced = on_announced
        self._questions = questions
        self._listening = anyio.Event()
        self._version = ""
        self._modern = False
        self._session_id = ""
        self._troubles = 0
        self._asides = 0
        self._lost_because = ""
        self._lost = anyio.Event()
        self._under_way: set[anyio.CancelScope] = set()

    async def request(self, ask: Ask) -> RawReply:
        if self._lost_because:
            raise WireLost(self._says(self._lost_because), sent=False)
        body = self._encoded(ask.message)
        over = False
        scope = ask.clock.scope()
        self._under_way.add(scope)
        try:
            with scope:
                reply = await self._post(ask, body)
                over = True
                return reply
            if self._lost_because:
                raise WireLost(self._says(self._lost_because), sent=True)
            raise TimeoutError
        except UpstreamError:
            over = True  # there is nothing left to cancel
            raise
        finally:
            self._under_way.discard(scope)
            # A modern server takes the closed stream for the cancellation (2026-07-28, Streamable HTTP, "Cancellation").
            if not over and ask.cancellable and not self._modern:
                params = {"requestId": ask.id, "reason": "The caller is gone or its time is over."}
                self._aside({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

    async def notify(self, method: str, params: Mapping[str, Json]) -> None:
        await self._post_aside({"jsonrpc": "2.0", "method": method, "params": params})

    def adopt(self, version: str, *, modern: bool) -> None:
        self._version = version
        self._modern = modern

    @property
    def session_id(self) -> str:
        return self._session_id

    async def lost(self) -> str:
        await self._lost.wait()
        return self._lost_because

    def lose(self, because: str) -> None:
        if not self._lost_because:
            self._lost_because = because
            self._lost.set()

    def end(self) -> None:
        """The wire is lost, if it was not yet, and so is every request under way."""
        self.lose("was stopped")
        for scope in self._under_way:
            scope.cancel()

    # --- one exchange ------------------------------------------------------------------------------------------------

    async def _post(self, ask: Ask, body: bytes) -> RawReply:
        session_id = "" if ask.method == "initialize" else self._session_id
        own = {} if ask.method == "initialize" else self._headers(session_id)  # the handshake is what agrees on them
        headers = own | dict(ask.headers)
        with self._mapped_errors():
            response = await self._client.post(self._url, data=body, headers=headers, allow_redirects=False)
            whole = False
            try:
                reply = await self._read(ask, response, session_id)
                whole = True
            finally:
                self._let_go(response, whole=whole)
        if ask.method == "initialize":
            self._session_id = response.headers.get("Mcp-Session-Id", "")
        self._troubles = 0
        return reply

    def _let_go(self, response: aiohttp.ClientResponse, *, whole: bool) -> None:
        """Give the connection back; an event stream ends only just after its answer, which should not cost a connection."""
        if not whole:
            response.close()
        elif response.content.at_eof() or self._lost_because:
            response.release()
        else:
            self._tasks.start_soon(_see_end, response)

    async def _read(self, ask: Ask, response: aiohttp.ClientResponse, session_id: str) -> RawReply:
        if session_id and response.status == 404:
            raise SessionExpired(self._says(FORGOT), session_id)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise UpstreamError(self._says("sent a compressed answer that was not asked for"), sent=True)
        if response.status == 200 and response.content_type == "text/event-stream":
            return await self._read_stream(ask, response)
        if response.content_type == "application/json" and response.status != 202:
            return await self._read_json(ask, response, session_id)
        if session_id and response.status == 400:
            raise SessionExpired(self._says(FORGOT), session_id)
        raise UpstreamError(self._says(refusal(response.status)), sent=True)

    async def _read_json(self, ask: Ask, response: aiohttp.ClientResponse, session_id: str) -> RawReply:
        try:
            message = decode(await self._body(response))
        except Malformed as problem:
            because = f"sent a malformed answer ({problem})" if response.ok else refusal(response.status)
            raise UpstreamError(self._says(because), sent=True) from None
        match message:
            case Response(id=ask.id, reply=reply):
                return reply
            case Stray() if session_id and response.status == 400:
                raise SessionExpired(self._says(FORGOT), session_id)
            case Stray(reply=reply) if not response.ok:  # an error raised before the request's id was read
                return reply
            case _:
                raise UpstreamError(self._says("answered something else than was asked"), sent=True)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._limits.reply_bytes:
                raise UpstreamError(self._says("sent an answer beyond the size limit"), sent=True)
        return bytes(body)

    async def _read_stream(self, ask: Ask, response: aiohttp.ClientResponse) -> RawReply:
        """Read the answer stream; take it up again where a legacy server let it go (2025-11-25, "Resumability")."""
        parser = SseParser(self._limits.reply_bytes)
        reply = await self._scan(ask, response, parser)
        fruitless = 0
        while reply is None:
            if self._modern or not parser.last_id or fruitless >= RESUMPTIONS:
                raise UpstreamError(self._says("ended its answer before the result"), sent=True)
            await anyio.sleep(parser.retry_ms / 1000)
            seen = parser.last_id
            headers = self._headers(self._session_id) | {"Accept": "text/event-stream", "Last-Event-ID": seen}
            async with self._client.get(self._url, headers=headers, allow_redirects=False) as again:
                if again.status == 200 and again.content_type == "text/event-stream":
                    reply = await self._scan(ask, again, parser)
            fruitless = 0 if parser.last_id != seen else fruitless + 1
        return reply

    async def _scan(self, ask: Ask, response: aiohttp.ClientResponse, parser: SseParser) -> RawReply | None:
        """Deal with what comes before the reply, and return it; None where the stream ended first."""
        async for chunk in response.content.iter_any():
            for message in self._parsed(parser, chunk):
                if isinstance(message, Response) and message.id == ask.id:
                    return message.reply
                await self._meanwhile(ask, message)
        return None

    def _parsed(self, parser: SseParser, chunk: bytes) -> list[Message]:
        try:
            return [decode(event.data) for event in parser.feed(chunk) if event.name == "message" and event.data]
        except Oversize:
            raise UpstreamError(self._says("sent an event beyond the size limit"), sent=True) from None
        except Malformed as problem:
            raise UpstreamError(self._says(f"sent a malformed event ({problem})"), sent=True) from None

    async def _meanwhile(self, ask: Ask, message: Message) -> None:
        """Deal with a message that stands before the answer on its stream, and so belongs to its call."""
        match message:
            case Notification(method="notifications/progress", params=params):
                if ask.on_notice is not None and params.get("progressToken") == ask.id:
                    await ask.on_notice(progress(message))
            case Notification(method="notifications/message", params=params):
                if ask.on_notice is not None:
                    await ask.on_notice(RawNotice(method=message.method, params=RawJson(params)))
            case _:
                self._unrelated(message)

    def _unrelated(self, message: Message) -> None:
        match message:
            case Notification(method=method) if method in ANNOUNCEMENTS:
                self._on_announced(message)
            case ServerRequest() if not self._modern:
                self._questions.asked(message, self._aside)
            case Notification(method=method) if method in (CANCELLED, COMPLETE):
                self._questions.told(message)
            case _:
                logger.debug("upstream %s: dropped a message that belongs to no call", self._name)

    # --- beside the exchanges ----------------------------------------------------------------------------------------

    async def listening(self) -> None:
        await self._listening.wait()

    async def listen(self) -> None:
        pause_s = 1.0
        offered = False
        while not self._lost_because:
            began = anyio.current_time()
            try:
                if not await self._listen_once(offered):
                    return
                offered = True
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                self.lose(unreachable(error))
                return
            except SessionExpired:
                raise
            except (aiohttp.ClientError, OSError, UpstreamError) as error:
                logger.info("upstream %s: its notification stream broke off (%s)", self._name, type(error).__name__)
            pause_s = 1.0 if anyio.current_time() - began > 60.0 else min(pause_s * 2, 60.0)
            await anyio.sleep(pause_s)

    async def _listen_once(self, offered: bool) -> bool:
        """Read the stream to its end; False where the server offers none. `offered`: it did before."""
        session_id = self._session_id
        headers = self._headers(session_id) | {"Accept": "text/event-stream"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_s, sock_read=self._limits.stream_idle_s)
        async with self._client.get(self._url, headers=headers, allow_redirects=False, timeout=timeout) as response:
            self._listening.set()
            if response.status in (400, 404) and session_id and offered:
                raise SessionExpired(self._says(FORGOT), session_id)
            if response.status != 200 or response.content_type != "text/event-stream":
                return offered and response.status >= 500  # a proxy's trouble passes
            parser = SseParser(self._limits.reply_bytes)
            async for chunk in response.content.iter_any():
                for message in self._parsed(parser, chunk):
                    self._unrelated(message)
            return True

    async def end_session(self) -> None:
        """Tell a legacy server that its session is over; it may refuse."""
        if not self._session_id or self._lost_because:
            return
        with suppress(aiohttp.ClientError, TimeoutError, OSError), anyio.move_on_after(self._limits.stop_s):
            async with self._client.delete(self._url, headers=self._headers(self._session_id), allow_redirects=False):
                pass

    def _aside(self, message: dict[str, Json]) -> None:
        if self._lost_because:  # then there is no task left to do it
            return
        if self._asides >= MOST_ASIDES:
            logger.info("upstream %s: %s was not sent: too many wait", self._name, message.get("method", "an answer"))
            return
        self._asides += 1
        self._tasks.start_soon(self._post_counted, message)

    async def _post_counted(self, message: Mapping[str, Json]) -> None:
        try:
            await self._post_aside(message)
        finally:
            self._asides -= 1

    async def _post_aside(self, message: Mapping[str, Json]) -> None:
        """Post a message that has no answer. That it got lost is for the log: nobody waits for it."""
        headers = self._headers(self._session_id)
        try:
            with anyio.fail_after(self._limits.post_s):
                async with self._client.post(
                    self._url, data=self._encoded(message), headers=headers, allow_redirects=False
                ) as response:
                    status = response.status
            if status >= 300:
                logger.info("upstream %s: refused %s with HTTP %d", self._name, message.get("method", "an answer"), status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.info("upstream %s: %s was not delivered: %s", self._name, message.get("method"), type(error).__name__)

    # --- small things ------------------------------------------------------------------------------------------------

    def _headers(self, session_id: str) -> dict[str, str]:
        headers: dict[str, str] = {}
        if self._version:
            headers["MCP-Protocol-Version"] = self._version
        if session_id:
            headers["Mcp-Session-Id"] = session_id
        return headers

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            because = unreachable(error)
            self.lose(because)
            raise WireLost(self._says(because), sent=False) from error
        except (aiohttp.ClientError, OSError) as error:
            self._troubles += 1
            because = f"broke the connection off before it answered ({type(error).__name__})"
            if self._troubles >= TROUBLES:
                self.lose(because)
            raise UpstreamError(self._says(because), sent=True) from error

    def _encoded(self, message: Mapping[str, Json]) -> bytes:
        try:
            return encode(message)
        except Malformed as problem:
            raise UpstreamError(f"The request to the upstream server {self._name!r} holds {problem}.", sent=False) from None

    def _says(self, what: str) -> str:
        return f"The upstream server {self._name!r} {what}."


async def _see_end(response: aiohttp.ClientResponse) -> None:
    """Read what is left of an answered stream, if it ends soon, so that its connection can be used again."""
    size = 0
    try:
        with anyio.move_on_after(1.0):
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > 65_536:
                    break
    except aiohttp.ClientError:
        pass  # the answer is here already
    finally:
        response.release()  # closes the connection unless the stream has ended


@asynccontextmanager
async def open_http(
    name: str, config: HttpServer, limits: Limits, on_announced: OnAnnounced, questions: Questions, tasks: TaskGroup
) -> AsyncIterator[HttpWire]:
    """Make the client; nothing is sent yet. `tasks` must be cancelled after the wire is left.

    Raises:
        UpstreamError: the URL cannot be one.
    """
    url = http_url(name, config.url)
    async with http_client(url, config, limits) as client:
        wire = HttpWire(name, url, limits=limits, client=client, tasks=tasks, on_announced=on_announced, questions=questions)
        try:
            yield wire
        finally:
            with anyio.CancelScope(shield=True):  # bounded by `stop_s`
                await wire.end_session()
            wire.end()
