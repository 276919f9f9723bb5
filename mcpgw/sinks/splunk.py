"""Splunk's HTTP Event Collector.

Source: "HTTP Event Collector REST API endpoints" and "About HTTP Event Collector Indexer Acknowledgment" of Splunk's manuals.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import anyio

from mcpgw.sinks.config import SplunkSink
from mcpgw.sinks.http import Answer, post, require_success
from mcpgw.sinks.outbox import OutgoingEvent
from mcpgw.sinks.receiver import SinkRefused, SinkUnavailable

_EVENTS = "/services/collector/event"
_ACKS = "/services/collector/ack"
_ABOUT_THE_EVENT = {6, 12, 13, 15}
"""HEC codes that blame the data: invalid format, `event` missing, `event` blank, indexed fields. The others that come with
status 400 (wrong index, channel missing, acknowledgement disabled, …) are a configuration, which a person can mend."""
_ACK_POLL_S = 0.5


class SplunkReceiver:
    """Acknowledges what HEC has taken, or what is indexed where `acknowledge` is set."""

    def __init__(self, config: SplunkSink, client: aiohttp.ClientSession) -> None:
        self._base = config.url.rstrip("/")
        self._host = config.host
        self._acknowledge = config.acknowledge
        self._acknowledge_within_s = config.acknowledge_within_s
        self._client = client
        self._channel = str(uuid.uuid4())
        self._headers = {"Authorization": f"Splunk {config.token}", "Content-Type": "application/json"}
        if config.acknowledge:
            self._headers["X-Splunk-Request-Channel"] = self._channel

    async def send(self, events: Sequence[OutgoingEvent]) -> None:
        body = b"\n".join(self._enveloped(event) for event in events)
        answer = await post(self._client, self._base + _EVENTS, body, self._headers)
        said = _object(answer)
        if answer.status == 400 and said.get("code") not in _ABOUT_THE_EVENT:
            raise SinkUnavailable(f"Splunk answered 400 with code {_code(said)}: its configuration and ours do not fit")
        try:
            require_success(answer)
        except SinkRefused as error:
            raise SinkRefused(f"Splunk answered {answer.status} with code {_code(said)}") from error
        if self._acknowledge:
            await self._wait_until_indexed(said)

    def _enveloped(self, event: OutgoingEvent) -> bytes:
        seconds = f"{event.time_ns // 10**9}.{event.time_ns % 10**9 // 10**6:03}"
        about = json.dumps({"host": self._host, "source": "mcpgw", "sourcetype": "_json", "fields": {"uid": event.uid}})
        return b'{"time":' + seconds.encode() + b',"event":' + event.body + b"," + about.encode()[1:]

    async def _wait_until_indexed(self, said: Mapping[str, Any]) -> None:
        ack = said.get("ackId")
        if not isinstance(ack, int):
            raise SinkUnavailable("Splunk gave no ackId: acknowledgement is not enabled for the token")
        url, body = f"{self._base}{_ACKS}?channel={self._channel}", json.dumps({"acks": [ack]}).encode()
        with anyio.move_on_after(self._acknowledge_within_s):
            while True:
                answer = await post(self._client, url, body, self._headers)
                if not answer.is_success:
                    raise SinkUnavailable(f"Splunk answered {answer.status} when asked whether the events are indexed")
                acks = _object(answer).get("acks")
                if isinstance(acks, dict) and acks.get(str(ack)) is True:
                    return
                await anyio.sleep(_ACK_POLL_S)
        raise SinkUnavailable(f"Splunk did not index the events within {self._acknowledge_within_s:.0f} s")


def _object(answer: Answer) -> Mapping[str, Any]:
    """Return the JSON object of an answer; an empty one where there is none."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _code(said: Mapping[str, Any]) -> str:
    """A receiver's words do not go into our messages; its number does."""
    code = said.get("code")
    return str(code) if isinstance(code, int) else "none"
