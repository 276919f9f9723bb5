"""OpenTelemetry logs: what arrives is what OTLP's own messages say, and nothing passes for an acknowledgement that is none."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from sink_parts import MemoryLog, http_server

from mcpgw.app import outlets
from mcpgw.core.errors import ConfigError
from mcpgw.settings import from_text
from mcpgw.sinks.config import OtlpSink
from mcpgw.sinks.open import open_receiver
from mcpgw.sinks.otlp import log_record
from mcpgw.sinks.outbox import OutgoingEvent, event_of
from mcpgw.sinks.receiver import SinkRefused, SinkUnavailable
from mcpgw.sinks.sift import send_sifted

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@dataclass
class OtlpCollector:
    """The logs side of a collector: it reads requests with OTLP's own messages, strictly."""

    url: str = ""
    answer: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    poison: str = ""
    """The uid of a log record that it rejects."""
    requests: list[ExportLogsServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def records(self) -> list[LogRecord]:
        scopes = [scope for request in self.requests for resource in request.resource_logs for scope in resource.scope_logs]
        return [record for scope in scopes for record in scope.log_records]

    async def handle(self, request: web.Request) -> web.Response:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        parsed = Parse(await request.read(), ExportLogsServiceRequest())  # an unknown or misspelt field is an error
        if self.poison and self.poison in str(parsed):
            return web.json_response({"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": "no"}})
        if self.status == 200:
            self.requests.append(parsed)
        return web.json_response(self.answer, status=self.status)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["OtlpCollector"]:
        async with http_server({"/v1/logs": self.handle}) as base:
            self.url = f"{base}/v1/logs"
            yield self


@pytest.fixture
async def collector() -> AsyncIterator[OtlpCollector]:
    async with OtlpCollector().serving() as collector:
        yield collector


@pytest.fixture
def events(log: MemoryLog) -> list[OutgoingEvent]:
    log.add("call.refused", outcome={"class": "refused", "code": "denied", "reason": "no"}, call="c1", origin={
        "transport": "http", "traceparent": f"00-{TRACE}-{SPAN}-01",
    })  # fmt: skip
    log.fill(2)
    return [event_of(row) for row in log.rows]


def attributes(record: LogRecord) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in record.attributes}


async def test_an_event_is_a_log_record_with_its_trace_and_what_tells_duplicates(
    collector: OtlpCollector, events: list[OutgoingEvent]
) -> None:
    async with open_receiver(OtlpSink(name="otel", url=collector.url, token="a token")) as receiver:
        await receiver.send(events)
    first, second, _ = collector.records
    assert [json.loads(one.body.string_value) for one in collector.records] == [json.loads(event.body) for event in events]
    assert attributes(first) == {"log.record.uid": events[0].uid, "mcpgw.kind": "call.refused", "mcpgw.sequence": 0}
    assert [attributes(one)["mcpgw.sequence"] for one in collector.records] == [0, 1, 2]
    assert (first.event_name, first.severity_number, first.severity_text) == (
        "call.refused", SeverityNumber.SEVERITY_NUMBER_WARN, "WARN",
    )  # fmt: skip
    assert (first.time_unix_nano, second.severity_number) == (events[0].time_ns, SeverityNumber.SEVERITY_NUMBER_INFO)
    resource = collector.requests[0].resource_logs[0].resource
    assert {one.key: one.value.string_value for one in resource.attributes}["service.name"] == "mcpgw"
    assert collector.headers[0]["authorization"] == "Bearer a token"
    assert collector.headers[0]["content-type"] == "application/json"


def test_ids_of_a_trace_are_hex_as_otlp_asks_for_and_a_made_up_one_is_none(events: list[OutgoingEvent]) -> None:
    """OTLP's JSON departs from protobuf's here: bytes would be base64, and trace ids are hex."""
    assert [log_record(events[0])[name] for name in ("traceId", "spanId", "flags")] == [TRACE, SPAN, 1]
    for made_up in ("", "00-xyz", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"01-{TRACE}-{SPAN}-01"):
        log = MemoryLog()
        log.add("call.refused", outcome={"class": "refused", "code": "denied", "reason": "no"}, origin={"traceparent": made_up})
        assert "traceId" not in log_record(event_of(log.rows[0]))


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_a_collector_in_trouble_gets_it_again(collector: OtlpCollector, events: list[OutgoingEvent], status: int) -> None:
    collector.status = status
    async with open_receiver(OtlpSink(name="otel", url=collector.url)) as receiver:
        with pytest.raises(SinkUnavailable):
            await receiver.send(events)
    assert "authorization" not in collector.headers[0]


async def test_what_it_rejected_of_a_batch_is_found_and_its_neighbours_are_taken(
    collector: OtlpCollector, events: list[OutgoingEvent]
) -> None:
    collector.poison = events[1].uid
    async with open_receiver(OtlpSink(name="otel", url=collector.url)) as receiver:
        with pytest.raises(SinkRefused, match="rejected 1 of 3"):
            await receiver.send(events)
        refused = await send_sifted(receiver, events)
    assert [one.uid for one in refused] == [events[1].uid]
    assert {attributes(one)["log.record.uid"] for one in collector.records} == {events[0].uid, events[2].uid}


@pytest.mark.parametrize("answer", [{}, {"partialSuccess": {}}, {"partialSuccess": {"errorMessage": "a warning"}}])
async def test_a_success_with_a_warning_is_one(
    collector: OtlpCollector, events: list[OutgoingEvent], answer: dict[str, Any]
) -> None:
    collector.answer = answer
    async with open_receiver(OtlpSink(name="otel", url=collector.url)) as receiver:
        await receiver.send(events)


def test_plain_http_is_for_loopback_alone() -> None:
    with pytest.raises(ConfigError, match="https"):
        OtlpSink(name="otel", url="http://otel.bank.example:4318/v1/logs")


SINK = '[[sinks]]\nname = "otel"\nkind = "otlp"\nurl = "https://otel.bank.example:4318/v1/logs"\n'


@pytest.mark.parametrize(("secret", "token"), [("", ""), ('secret = "${env:OTEL_TOKEN}"\n', "t")])
def test_the_token_of_the_settings_may_be_left_out(secret: str, token: str, tmp_path: Path) -> None:
    (sink,) = outlets.sinks(from_text(SINK + secret, tmp_path), {"OTEL_TOKEN": "t"})
    assert isinstance(sink, OtlpSink)
    assert (sink.kind, sink.url, sink.token) == ("otlp", "https://otel.bank.example:4318/v1/logs", token)
