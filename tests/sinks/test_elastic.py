"""Elasticsearch: what its `_bulk` says of each event decides, and an event that is there already was delivered."""

import base64
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web
from sink_parts import FAST, Certificates, MemoryLog, http_server

from mcpgw.app import outlets
from mcpgw.core.errors import ConfigError
from mcpgw.outgoing import AddressRefused
from mcpgw.settings import from_text
from mcpgw.sinks.backfill import backfill
from mcpgw.sinks.config import ElasticSink, Tls
from mcpgw.sinks.cursor import CursorFile
from mcpgw.sinks.exporter import open_exporter
from mcpgw.sinks.http import _MAX_ANSWER_BYTES
from mcpgw.sinks.open import open_receiver
from mcpgw.sinks.outbox import OutgoingEvent, event_of
from mcpgw.sinks.receiver import SinkRefused, SinkUnavailable
from mcpgw.sinks.sift import send_sifted

KEY = "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw=="
ERRORS = {
    400: "document_parsing_exception",
    403: "cluster_block_exception",
    409: "version_conflict_engine_exception",
    429: "es_rejected_execution_exception",
    503: "unavailable_shards_exception",
}


@dataclass
class Elasticsearch:
    """The `_bulk` of one index, as Elastic's API reference describes it: actions, items and `filter_path`."""

    url: str = ""
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    """By `_id`: what it answers for one document instead of creating it."""
    whole: int = 200
    """What it answers instead of looking at a request."""
    filters: bool = True
    """Whether `filter_path` reaches it."""
    answer: web.Response | None = None
    tries: Counter[str] = field(default_factory=Counter)
    headers: dict[str, str] = field(default_factory=dict)
    said: int = 0
    """Characters of its last answer that was not filtered."""

    async def bulk(self, request: web.Request) -> web.Response:
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        if self.whole != 200:
            return web.json_response({"error": {"type": "security_exception"}, "status": self.whole}, status=self.whole)
        body = await request.text()
        assert request.content_type == "application/x-ndjson"
        assert body.endswith("\n"), "The bulk request must be terminated by a newline [\\n]"
        lines = [json.loads(line) for line in body.splitlines()]
        pairs = zip(lines[::2], lines[1::2], strict=True)
        items = [{"create": self.create(**action["create"], source=source)} for action, source in pairs]
        if self.answer:
            return self.answer
        if self.filters:
            assert request.query["filter_path"] == "items.*.status,items.*.error.type"
            return web.json_response({"items": [{"create": _filtered(item["create"])} for item in items]})
        answer = web.json_response({"took": 3, "errors": any("error" in item["create"] for item in items), "items": items})
        self.said = len(answer.text or "")
        return answer

    def create(self, _id: str, source: dict[str, Any]) -> dict[str, Any]:
        assert "@timestamp" in source, "data stream timestamp field [@timestamp] is missing"
        self.tries[_id] += 1
        status = self.statuses.get(_id, 409 if _id in self.documents else 201)
        if status == 201:
            self.documents[_id] = source
            return {"_index": "mcpgw", "_id": _id, "_version": 1, "result": "created", "_seq_no": 0, "status": 201}
        error = {"type": ERRORS[status], "reason": f"it quotes: {source['message']}", "index": "mcpgw"}
        return {"_index": "mcpgw", "_id": _id, "status": status, "error": error}

    @asynccontextmanager
    async def serving(self, certificates: Certificates | None = None) -> AsyncIterator["Elasticsearch"]:
        context = certificates.server_context() if certificates else None
        async with http_server({"/mcpgw/_bulk": self.bulk}, context=context) as self.url:
            yield self


def _filtered(result: dict[str, Any]) -> dict[str, Any]:
    return {"status": result["status"]} | ({"error": {"type": result["error"]["type"]}} if "error" in result else {})


@pytest.fixture
async def elastic() -> AsyncIterator[Elasticsearch]:
    async with Elasticsearch().serving() as elastic:
        yield elastic


@pytest.fixture
def events(log: MemoryLog) -> list[OutgoingEvent]:
    log.fill(5)
    return [event_of(row) for row in log.rows]


def sink(elastic: Elasticsearch, **options: Any) -> ElasticSink:
    return ElasticSink(**{"name": "soc", "url": elastic.url, "index": "mcpgw", "credential": KEY, **options})


async def send(config: ElasticSink, events: list[OutgoingEvent]) -> None:
    async with open_receiver(config) as receiver:
        await receiver.send(events)


async def test_each_event_is_created_under_its_uid_with_its_time(elastic: Elasticsearch, events: list[OutgoingEvent]) -> None:
    await send(sink(elastic, url=f"{elastic.url}/"), events)
    assert list(elastic.documents) == [event.uid for event in events]
    for event in events:
        document = elastic.documents[event.uid]
        assert document.pop("@timestamp") == "2001-09-09T01:46:40.000Z"
        assert document == json.loads(event.body)
    assert elastic.headers["authorization"] == f"ApiKey {KEY}"


async def test_a_login_is_sent_as_one(elastic: Elasticsearch, events: list[OutgoingEvent]) -> None:
    await send(sink(elastic, credential="mcpgw:pass:wörd"), events)
    scheme, _, value = elastic.headers["authorization"].partition(" ")
    assert (scheme, base64.b64decode(value).decode()) == ("Basic", "mcpgw:pass:wörd")


@pytest.mark.parametrize("filters", [True, False])
async def test_what_is_there_already_was_delivered(elastic: Elasticsearch, events: list[OutgoingEvent], filters: bool) -> None:
    elastic.filters = filters
    await send(sink(elastic), events[:3])
    await send(sink(elastic), events)
    assert list(elastic.documents) == [event.uid for event in events]
    assert elastic.tries[events[0].uid] == 2


@pytest.mark.parametrize("status", [403, 429, 503])
async def test_an_event_that_it_is_too_busy_for_is_sent_again_and_none_is_given_up(
    elastic: Elasticsearch, events: list[OutgoingEvent], status: int
) -> None:
    elastic.statuses = {events[1].uid: status, events[2].uid: 400}
    async with open_receiver(sink(elastic)) as receiver:
        with pytest.raises(SinkUnavailable, match=rf"took 3 of 5 events: {status} \({ERRORS[status]}\)"):
            await send_sifted(receiver, events)
        elastic.statuses = {}
        assert await send_sifted(receiver, events) == ()
    assert sorted(elastic.documents) == sorted(event.uid for event in events)


async def test_an_event_that_does_not_fit_the_mapping_is_passed_over_and_its_neighbours_are_taken(
    elastic: Elasticsearch, events: list[OutgoingEvent]
) -> None:
    elastic.statuses = {events[3].uid: 400}
    async with open_receiver(sink(elastic)) as receiver:
        refused = await send_sifted(receiver, events)
    assert [(one.uid, one.why) for one in refused] == [
        (events[3].uid, "Elasticsearch answered 400 (document_parsing_exception)")
    ]  # fmt: skip
    assert sorted(elastic.documents) == sorted(event.uid for event in events if event is not events[3])


async def test_an_index_that_fits_nothing_is_misconfigured(elastic: Elasticsearch, events: list[OutgoingEvent]) -> None:
    elastic.statuses = dict.fromkeys((event.uid for event in events), 400)
    async with open_receiver(sink(elastic)) as receiver:
        with pytest.raises(SinkUnavailable, match="took none of the events"):
            await send_sifted(receiver, events)


@pytest.mark.parametrize(
    ("status", "error"), [(401, SinkUnavailable), (404, SinkUnavailable), (429, SinkUnavailable), (413, SinkRefused)]
)
async def test_a_request_that_is_refused_whole(
    elastic: Elasticsearch, events: list[OutgoingEvent], status: int, error: type[Exception]
) -> None:
    elastic.whole = status
    with pytest.raises(error, match=str(status)):
        await send(sink(elastic), events)


@pytest.mark.parametrize(
    "body",
    ["", "<html>", "[]", *(f'{{"items":[{items}]}}' for items in (
        "", "7", '{"index":{"status":201}}', '{"create":{"status":201}}', '{"create":{"error":{}}}',
        '{"create":{"status":"?"}}', '{"create":{"status":201,"error":7}}',
    ))],
)  # fmt: skip
async def test_an_answer_that_does_not_speak_of_each_event_acknowledges_none(
    elastic: Elasticsearch, events: list[OutgoingEvent], body: str
) -> None:
    elastic.answer = web.Response(text=body, content_type="application/json")
    with pytest.raises(SinkUnavailable, match="what became of each of 5"):
        await send(sink(elastic), events)


async def test_its_words_about_an_event_are_not_repeated(elastic: Elasticsearch, events: list[OutgoingEvent]) -> None:
    said = {"create": {"status": 400, "error": {"type": f"Alice said: {events[0].uid}"}}}
    elastic.answer = web.json_response({"items": [said] * 5})
    with pytest.raises(SinkRefused) as caught:
        await send(sink(elastic), events)
    assert str(caught.value) == "Elasticsearch answered 400"


async def test_the_largest_batch_has_its_answer_read(elastic: Elasticsearch, log: MemoryLog) -> None:
    log.fill(600)
    elastic.filters = False
    events = [event_of(row) for row in log.rows]
    await send(sink(elastic), events)
    assert len(elastic.documents) == 600
    assert elastic.said > _MAX_ANSWER_BYTES


async def test_a_range_that_is_sent_again_makes_no_duplicates(elastic: Elasticsearch, log: MemoryLog) -> None:
    log.fill(20)
    config = sink(elastic, max_events=7)
    async with open_receiver(config) as receiver:
        for _ in range(2):
            done = [seq async for seq, _ in backfill(config, receiver, log, first=3, last=18, pace=FAST)]
            assert done[-1] == 18
    assert sorted(document["metadata"]["sequence"] for document in elastic.documents.values()) == list(range(3, 19))


async def test_its_certificate_is_checked(events: list[OutgoingEvent], certificates: Certificates) -> None:
    async with Elasticsearch().serving(certificates) as elastic:
        with pytest.raises(SinkUnavailable, match="Certificate"):
            await send(sink(elastic), events)
        assert not elastic.documents
        await send(sink(elastic, tls=Tls(ca=str(certificates.ca))), events)
        assert len(elastic.documents) == 5


async def test_an_address_of_a_clouds_metadata_is_never_connected_to(events: list[OutgoingEvent]) -> None:
    config = ElasticSink(name="soc", url="https://169.254.169.254:9200", index="mcpgw", credential=KEY)
    with pytest.raises(SinkUnavailable) as caught:
        await send(config, events)
    assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorError)
    assert isinstance(caught.value.__cause__.os_error, AddressRefused)


async def test_what_it_will_never_take_is_a_record_and_what_it_could_not_take_yet_is_delivered(
    elastic: Elasticsearch, log: MemoryLog, tmp_path: Path
) -> None:
    log.fill(12)
    events = [event_of(row) for row in log.rows]
    elastic.statuses = {events[2].uid: 429, events[5].uid: 400}
    async with (
        open_exporter([sink(elastic)], log=log, cursors=partial(CursorFile, tmp_path), pace=FAST) as exporter,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(exporter.run)
        with anyio.fail_after(20):
            while True:
                (status,) = await exporter.status()
                if elastic.tries[events[2].uid] >= 3:
                    elastic.statuses.pop(events[2].uid, None)
                if not status.lag:
                    break
                await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
    delivered = {document["metadata"]["sequence"] for document in elastic.documents.values()}
    assert delivered == set(range(13)) - {5}, "everything else, and the record of what was refused"
    assert (status.refused, status.problem) == (1, "")
    (refused,) = json.loads(log.rows[12].leaf)["facts"]["events"]
    assert (refused["seq"], refused["why"]) == (5, "Elasticsearch answered 400 (document_parsing_exception)")


SINK = """[[sinks]]
name = "elastic"
kind = "elastic"
url = "https://elastic.bank.example:9200"
index = "mcpgw"
secret = "${env:ELASTIC}"
"""


def test_it_is_configured_with_an_index_and_a_credential_by_reference(tmp_path: Path) -> None:
    (found,) = outlets.sinks(from_text(SINK, tmp_path), {"ELASTIC": KEY})
    assert isinstance(found, ElasticSink)
    assert (found.kind, found.index, found.credential) == ("elastic", "mcpgw", KEY)
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    ("was", "now", "why"),
    [
        ('index = "mcpgw"\n', "", "needs `index`"),
        ('"mcpgw"', '"../_all"', "index"),
        ('secret = "${env:ELASTIC}"\n', "", "needs `secret`"),
        ("${env:ELASTIC}", KEY, "written out"),
        ("https://elastic", "http://elastic", "https"),
        ('"elastic"\nurl', '"splunk"\nurl', "has no `index`"),
    ],
)
def test_a_configuration_that_cannot_work_says_so(was: str, now: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        outlets.sinks(from_text(SINK.replace(was, now), tmp_path), {"ELASTIC": KEY})
    assert KEY not in str(caught.value)
