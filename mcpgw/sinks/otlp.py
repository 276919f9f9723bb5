"""OpenTelemetry logs over OTLP/HTTP, as JSON.

Source: OTLP Specification 1.x, "OTLP/HTTP" (https://opentelemetry.io/docs/specs/otlp/), the protobuf messages of
`opentelemetry/proto/logs/v1/logs.proto` in their JSON mapping (64-bit integers as text, ids in hex, enums as numbers), and the
Logs Data Model for severities.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from mcpgw.sinks.config import OtlpSink
from mcpgw.sinks.http import Answer, post, require_success
from mcpgw.sinks.outbox import OutgoingEvent
from mcpgw.sinks.receiver import SinkRefused

_TRACEPARENT = re.compile(r"00-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")
"""W3C Trace Context, section 3.2; an id of zeros is none."""
_SEVERITIES = {1: (9, "INFO"), 2: (10, "INFO2"), 3: (13, "WARN"), 4: (17, "ERROR"), 5: (18, "ERROR2"), 6: (21, "FATAL")}
"""By OCSF's `severity_id`: number and text of the Logs Data Model."""


class OtlpReceiver:
    """Posts log records to a collector; what the collector says that it rejected counts as refused."""

    def __init__(self, config: OtlpSink, client: aiohttp.ClientSession) -> None:
        self._url = config.url
        self._client = client
        self._headers = {"Content-Type": "application/json"}
        if config.token:
            self._headers["Authorization"] = f"Bearer {config.token}"
        resource = {"service.name": "mcpgw", "host.name": config.host}
        self._resource = {"attributes": [_attribute(name, value) for name, value in resource.items()]}

    async def send(self, events: Sequence[OutgoingEvent]) -> None:
        scope = {"scope": {"name": "mcpgw"}, "logRecords": [log_record(event) for event in events]}
        request = {"resourceLogs": [{"resource": self._resource, "scopeLogs": [scope]}]}
        answer = await post(self._client, self._url, json.dumps(request, separators=(",", ":")).encode(), self._headers)
        require_success(answer)
        if rejected := _rejected(answer):
            raise SinkRefused(f"the collector rejected {rejected} of {len(events)} log records")


def log_record(event: OutgoingEvent) -> dict[str, Any]:
    """Return a LogRecord whose body is the event, as text; what it is found and told apart by stands in attributes as well."""
    number, text = _SEVERITIES.get(event.severity, (0, ""))
    return {
        "timeUnixNano": str(event.time_ns),
        "observedTimeUnixNano": str(event.time_ns),
        "severityNumber": number,
        "severityText": text,
        "eventName": event.kind,
        "body": {"stringValue": event.body.decode()},
        "attributes": [
            _attribute("log.record.uid", event.uid),
            _attribute("mcpgw.kind", event.kind),
            *([{"key": "mcpgw.sequence", "value": {"intValue": str(event.seq)}}] if event.seq >= 0 else []),
        ],
        **_trace(json.loads(event.body)),
    }


def _trace(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the trace that the caller said its call belongs to, if it did."""
    origin = event.get("unmapped", {}).get("mcpgw", {}).get("origin", {})
    found = _TRACEPARENT.fullmatch(str(origin.get("traceparent", "")))
    if not found:
        return {}
    return {"traceId": found["trace"], "spanId": found["span"], "flags": int(found["flags"], 16)}


def _attribute(name: str, value: str) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": value}}


def _rejected(answer: Answer) -> int:
    """Return how many log records a partial success left out; an answer that is no JSON, or says nothing, took all."""
    try:
        return int(json.loads(answer.body or b"{}").get("partialSuccess", {}).get("rejectedLogRecords", 0))
    except (ValueError, TypeError, AttributeError):
        return 0
