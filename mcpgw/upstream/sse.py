"""HTTP+SSE of 2024-11-05 as upstream: one long GET brings every answer; requests are POSTed where its first event says."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import anyio
from anyio.abc import TaskGroup
from yarl import URL

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import Json, RawReply
from mcpgw.upstream.client import http_client, http_url, refusal, unreachable
from mcpgw.upstream.config import Limits, SseServer
from mcpgw.upstream.exchange import Correlator, Exchange
from mcpgw.upstream.framing import Oversize, SseParser
from mcpgw.upstream.jsonrpc import Malformed, encode
from mcpgw.upstream.questions import Questions
from mcpgw.upstream.wire import MOST_ASIDES, Ask, OnAnnounced

logger = logging.getLogger(__name__)


class SseWire:
    """The stream, the endpoint, and who waits for what."""

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
        self._correlator = Correlator(name, post=self._aside, on_announced=on_announced, questions=questions)
        self._endpoint = URL()
        self._endpoint_known = anyio.Event()
        self._version = ""
        self._asides = 0

    async def request(self, ask: Ask) -> RawReply:
        body = self._encoded(ask.message)
        exchange = self._correlator.open(ask)
        try:
            with ask.clock.scope():
                exchange.sent = True  # from here on only the POST knows better
                self._tasks.start_soon(self._post, body, exchange)  # its answer may come before the POST's
                return await exchange.wait(ask.on_notice)
            if exchange.settled:  # only handing on its notices took too long
                return exchange.result()
            raise TimeoutError
        finally:
            self._correlator.close(exchange)

    async def notify(self, method: str, params: Mapping[str, Json]) -> None:
        self._aside({"jsonrpc": "2.0", "method": method, "params": params})

    def adopt(self, version: str, *, modern: bool) -> None:
        self._version = version

    async def listen(self) -> None:
        """Everything comes on the one stream."""

    async def listening(self) -> None:
        """From the beginning."""

    @property
    def session_id(self) -> str:
        return ""

    async def lost(self) -> str:
        return await self._correlator.lost()

    def lose(self, because: str) -> None:
        self._correlator.lose(because)

    async def endpoint(self) -> None:
        """Wait until the server has said where to POST."""
        await self._endpoint_known.wait()

    async def read(self) -> None:
        """Read the stream until it ends; whatever ends it ends the wire."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_s)
        headers = {"Accept": "text/event-stream"}
        try:
            async with self._client.get(self._url, headers=headers, allow_redirects=False, timeout=timeout) as response:
                if response.status != 200 or response.content_type != "text/event-stream":
                    self.lose(refusal(response.status))
                    return
                parser = SseParser(self._limits.reply_bytes)
                async for chunk in response.content.iter_any():
                    for event in parser.feed(chunk):
                        self._event(event.name, event.data)
            self.lose("ended its event stream")
        except Oversize:
            self.lose("sent an event beyond the size limit")
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            self.lose(unreachable(error))
        except (aiohttp.ClientError, OSError) as error:
            self.lose(f"broke its event stream off ({type(error).__name__})")

    def _event(self, name: str, data: bytes) -> None:
        if name == "message":
            self._correlator.receive(data)
        elif name == "endpoint" and not self._endpoint_known.is_set():
            self._name_endpoint(data)

    def _name_endpoint(self, data: bytes) -> None:
        """The endpoint gets our credential, so it must be of the stream's own origin (scheme, host and port)."""
        try:
            endpoint = self._url.join(URL(data.decode()))
            foreign = endpoint.origin() != self._url.origin()
        except ValueError:
            self.lose("named an endpoint that is no http or https URL")
            return
        if foreign:
            self.lose("named an endpoint of another origin, which is not followed")
            return
        self._endpoint = endpoint
        self._endpoint_known.set()

    async def _post(self, body: bytes, exchange: Exchange | None) -> None:
        """Deliver one message; a failure is the outcome of its exchange, unless an answer was faster."""
        headers = {"MCP-Protocol-Version": self._version} if self._version else {}
        try:
            with anyio.fail_after(self._limits.post_s):
                async with self._client.post(self._endpoint, data=body, headers=headers, allow_redirects=False) as response:
                    status = response.status
            if status < 300:
                return
            problem, sent = refusal(status), True
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            problem, sent = unreachable(error), False
        except TimeoutError:
            problem, sent = "did not take the request in time", True
        except (aiohttp.ClientError, OSError) as error:
            problem, sent = f"broke the connection off ({type(error).__name__})", True
        if exchange is None:
            logger.info("upstream %s: a notification was not delivered: it %s", self._name, problem)
        else:
            exchange.settle(UpstreamError(f"The upstream server {self._name!r} {problem}.", sent=sent))

    def _aside(self, message: dict[str, Json]) -> None:
        """Called by the correlator, which does not once the wire is lost."""
        if self._asides >= MOST_ASIDES:
            logger.info("upstream %s: %s was not sent: too many wait", self._name, message.get("method", "an answer"))
            return
        self._asides += 1
        self._tasks.start_soon(self._post_counted, self._encoded(message))

    async def _post_counted(self, body: bytes) -> None:
        try:
            await self._post(body, None)
        finally:
            self._asides -= 1

    def _encoded(self, message: Mapping[str, Json]) -> bytes:
        try:
            return encode(message)
        except Malformed as problem:
            raise UpstreamError(f"The request to the upstream server {self._name!r} holds {problem}.", sent=False) from None


@asynccontextmanager
async def open_sse(
    name: str, config: SseServer, limits: Limits, on_announced: OnAnnounced, questions: Questions, tasks: TaskGroup
) -> AsyncIterator[SseWire]:
    """Open the stream and wait for its endpoint event. `tasks` must be cancelled after the wire is left.

    Raises:
        UpstreamError: it did not come, in time or at all.
    """
    url = http_url(name, config.url)
    async with http_client(url, config, limits) as client:
        wire = SseWire(name, url, limits=limits, client=client, tasks=tasks, on_announced=on_announced, questions=questions)
        tasks.start_soon(wire.read)
        try:
            await _endpoint_or_end(name, wire, limits.connect_s)
            yield wire
        finally:
            wire.lose("was stopped")


async def _endpoint_or_end(name: str, wire: SseWire, patience_s: float) -> None:
    because = "named no endpoint in time"

    async with anyio.create_task_group() as race:

        async def fail() -> None:
            nonlocal because
            because = await wire.lost()
            race.cancel_scope.cancel()

        race.start_soon(fail)
        with anyio.move_on_after(patience_s):
            await wire.endpoint()
            because = ""
        race.cancel_scope.cancel()
    if because:
        raise UpstreamError(f"The upstream server {name!r} {because}.", sent=False)
