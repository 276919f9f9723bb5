"""Elasticsearch's `_bulk`, which OpenSearch answers alike.

Each event is a `create` under its own uid, so one that is sent again is a conflict, which says that it is there already.
Source: "Bulk index or delete documents" of Elastic's API reference: `items` has one result for each action, in order; the
answer is a 200 even where nothing was taken.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import aiohttp

from mcpgw.sinks.config import ElasticSink
from mcpgw.sinks.http import Answer, post, require_success
from mcpgw.sinks.outbox import OutgoingEvent
from mcpgw.sinks.receiver import SinkRefused, SinkUnavailable

_ASKED = "filter_path=items.*.status,items.*.error.type"
_MAX_ANSWER_BYTES = 4_000_000
"""The largest batch, with an error for each event and a reason for each error, where a proxy has dropped what is asked for."""
_TYPE = re.compile(r"[a-z_]{1,64}")


@dataclass(frozen=True, slots=True)
class _Result:
    status: int
    why: str
    """Its own name for the error, such as `document_parsing_exception`; not its words, which may quote the event."""

    @property
    def is_there(self) -> bool:
        return 200 <= self.status < 300 or self.status == HTTPStatus.CONFLICT

    def __str__(self) -> str:
        return f"{self.status} ({self.why})" if self.why else str(self.status)


class ElasticReceiver:
    """Acknowledges what Elasticsearch says is in the index, now or since an earlier try."""

    def __init__(self, config: ElasticSink, client: aiohttp.ClientSession) -> None:
        self._url = f"{config.url.rstrip('/')}/{config.index}/_bulk?{_ASKED}"
        self._headers = {"Authorization": _authorization(config.credential), "Content-Type": "application/x-ndjson"}
        self._client = client

    async def send(self, events: Sequence[OutgoingEvent]) -> None:
        body = b"".join(_action(event) for event in events)
        answer = await post(self._client, self._url, body, self._headers, max_answer_bytes=_MAX_ANSWER_BYTES)
        require_success(answer)
        results = _results(answer)
        if len(results) != len(events):
            raise SinkUnavailable(f"Elasticsearch did not say what became of each of {len(events)} events")
        left = [result for result in results if not result.is_there]
        # Only a 400 speaks of the event. All else (429, 503, a block, no privilege) may pass, and settles nothing until it has.
        for result in left:
            if result.status != HTTPStatus.BAD_REQUEST:
                raise SinkUnavailable(f"Elasticsearch took {len(events) - len(left)} of {len(events)} events: {result}")
        if left:
            raise SinkRefused(f"Elasticsearch answered {left[0]}")


def _authorization(credential: str) -> str:
    """RFC 7617 for `user:password`; an encoded API key is base64, which has no colon."""
    if ":" in credential:
        return f"Basic {base64.b64encode(credential.encode()).decode()}"
    return f"ApiKey {credential}"


def _action(event: OutgoingEvent) -> bytes:
    """Return the two lines of one event; `@timestamp` is what data streams and Kibana sort by."""
    at = datetime.fromtimestamp(event.time_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    stamp = f'{{"@timestamp":"{at}.{event.time_ns % 10**9 // 10**6:03}Z",'
    return b'{"create":{"_id":"' + event.uid.encode() + b'"}}\n' + stamp.encode() + event.body[1:] + b"\n"


def _results(answer: Answer) -> list[_Result]:
    """Return what became of each action; nothing where the answer is none of `_bulk`'s."""
    try:
        return [_result(item["create"]) for item in json.loads(answer.body)["items"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _result(found: Mapping[str, Any]) -> _Result:
    why = str(found.get("error", {}).get("type", ""))
    return _Result(status=int(found["status"]), why=why if _TYPE.fullmatch(why) else "")
