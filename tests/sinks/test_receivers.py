"""Each receiver speaks its protocol as the other side's manual says, and takes nothing for an acknowledgement that is none."""

import base64
import contextlib
import gzip
import hashlib
import hmac
import json
import os
import re
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from anyio import to_thread
from anyio.abc import SocketAttribute, SocketStream
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sink_parts import SECRET, Certificates, Collector, MemoryLog, TlsSyslog, http_server

from mcpgw.core.errors import ConfigError
from mcpgw.sinks.config import FileSink, SplunkSink, SyslogSink, Tls, WebhookSink
from mcpgw.sinks.open import open_receiver
from mcpgw.sinks.outbox import OutgoingEvent, event_of
from mcpgw.sinks.receiver import SinkRefused, SinkUnavailable


@pytest.fixture
def events(log: MemoryLog) -> list[OutgoingEvent]:
    log.fill(3)
    return [event_of(row) for row in log.rows]


async def send(config: Any, events: list[OutgoingEvent]) -> None:
    async with open_receiver(config) as receiver:
        await receiver.send(events)


# --- file ----------------------------------------------------------------------------------------------------------------


async def test_a_file_gets_one_line_for_each_event_and_survives_rotation(events: list[OutgoingEvent], tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with open_receiver(FileSink(name="soc", path=path)) as receiver:
        await receiver.send(events[:2])
        path.rename(tmp_path / "events.jsonl.1")
        await receiver.send(events[2:])
    lines = (tmp_path / "events.jsonl.1").read_bytes() + path.read_bytes()
    assert lines.splitlines() == [event.body for event in events]
    assert path.stat().st_mode & 0o777 == 0o640 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


async def test_a_line_that_a_crash_tore_is_not_glued_to_the_next(events: list[OutgoingEvent], tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(events[0].body[:50])
    await send(FileSink(name="soc", path=path), events)
    torn, *whole = path.read_bytes().splitlines()
    assert torn == events[0].body[:50]
    assert whole == [event.body for event in events]


async def test_a_file_that_cannot_be_written_is_a_receiver_that_is_down(events: list[OutgoingEvent], tmp_path: Path) -> None:
    with pytest.raises(SinkUnavailable, match="cannot be written: No such file"):
        await send(FileSink(name="soc", path=tmp_path / "no" / "events.jsonl"), events)


async def test_a_full_disk_is_a_receiver_that_is_down(events: list[OutgoingEvent]) -> None:
    with pytest.raises(SinkUnavailable, match="No space left"):
        await send(FileSink(name="soc", path=Path("/dev/full")), events)


# --- webhook -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [SECRET, "whsec_" + base64.b64encode(SECRET.encode()).decode()])
async def test_a_webhook_is_signed_over_id_time_and_body(
    secret: str, events: list[OutgoingEvent], collector: Collector
) -> None:
    await send(WebhookSink(name="soc", url=collector.url, secret=secret), events)
    ((headers, body),) = collector.requests
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == [json.loads(event.body) for event in events]


async def test_a_batch_that_is_sent_again_has_its_id_again(events: list[OutgoingEvent], collector: Collector) -> None:
    config = WebhookSink(name="soc", url=collector.url, secret=SECRET)
    await send(config, events)
    await send(config, events)
    await send(config, events[:2])
    one, again, other = (headers["webhook-id"] for headers, _ in collector.requests)
    assert one == again != other


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, SinkRefused) for status in (400, 413, 422)),
        *((status, SinkUnavailable) for status in (302, 401, 403, 404, 408, 429, 500, 503)),
    ],
)
async def test_only_what_speaks_of_the_events_refuses_them(
    status: int, error: type[Exception], events: list[OutgoingEvent], collector: Collector
) -> None:
    collector.behave = lambda _: web.Response(status=status, headers={"Location": "http://127.0.0.1:9/", "Retry-After": "17"})
    with pytest.raises(error, match=f"answered {status}") as caught:
        await send(WebhookSink(name="soc", url=collector.url, secret=SECRET), events)
    assert len(collector.requests) == 1
    if isinstance(caught.value, SinkUnavailable):
        assert caught.value.retry_after_s == 17


async def test_an_answer_without_end_or_that_unpacks_is_not_taken_in(
    events: list[OutgoingEvent], collector: Collector
) -> None:  # fmt: skip
    collector.behave = lambda _: web.Response(body=b"x" * 70_000)
    with pytest.raises(SinkUnavailable, match="more than 65536 bytes"):
        await send(WebhookSink(name="soc", url=collector.url, secret=SECRET), events)
    bomb = gzip.compress(b"x" * 10**7)
    collector.behave = lambda _: web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
    await send(WebhookSink(name="soc", url=collector.url, secret=SECRET), events)


async def test_https_is_checked_against_the_authority_that_is_named(
    events: list[OutgoingEvent], certificates: Certificates
) -> None:
    collector = Collector()
    async with http_server({"/in": collector.handle}, context=certificates.server_context()) as base:
        config = WebhookSink(name="soc", url=f"{base}/in", secret=SECRET, tls=Tls(ca=str(certificates.ca)))
        await send(config, events)
        assert collector.seqs == [0, 1, 2]
        with pytest.raises(SinkUnavailable, match="Certificate"):
            await send(replace(config, tls=Tls()), events)


async def test_a_receiver_that_asks_for_our_certificate_gets_it(
    events: list[OutgoingEvent], certificates: Certificates
) -> None:  # fmt: skip
    collector = Collector()
    ours = Tls(ca=str(certificates.ca), certificate=str(certificates.server), key=str(certificates.server_key))
    async with http_server({"/in": collector.handle}, context=certificates.server_context(ask_client=True)) as base:
        await send(WebhookSink(name="soc", url=f"{base}/in", secret=SECRET, tls=ours), events)
        with pytest.raises(SinkUnavailable):
            await send(WebhookSink(name="soc", url=f"{base}/in", secret=SECRET, tls=Tls(ca=ours.ca)), events)
    assert collector.seqs == [0, 1, 2]


# --- Splunk --------------------------------------------------------------------------------------------------------------


class Hec:
    """Splunk's HTTP Event Collector, as its manual describes it."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        self.answer = web.json_response({"text": "Success", "code": 0})
        self.asked = 0
        self.indexed_when_asked = 1
        self.ack_status = 200

    async def event(self, request: web.Request) -> web.Response:
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        if self.answer.status == 200:
            self.events += [json.loads(line) for line in (await request.text()).splitlines()]
        return self.answer

    async def ack(self, request: web.Request) -> web.Response:
        assert request.query["channel"] == self.headers["x-splunk-request-channel"]
        self.asked += 1
        (ack,) = (await request.json())["acks"]
        return web.json_response({"acks": {str(ack): self.asked >= self.indexed_when_asked}}, status=self.ack_status)

    def serving(self) -> Any:
        return http_server({"/services/collector/event": self.event, "/services/collector/ack": self.ack})


async def test_splunk_gets_events_in_its_envelope(events: list[OutgoingEvent]) -> None:
    async with (hec := Hec()).serving() as base:
        await send(SplunkSink(name="soc", url=f"{base}/", token="a-token", host="gw1"), events)
    assert hec.headers["authorization"] == "Splunk a-token"
    assert [envelope["event"] for envelope in hec.events] == [json.loads(event.body) for event in events]
    first = hec.events[0]
    assert first["time"] == 1_000_000_000.0
    assert (first["host"], first["source"], first["fields"]) == ("gw1", "mcpgw", {"uid": events[0].uid})


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, 6, SinkRefused),
        (400, 7, SinkUnavailable),
        (400, None, SinkUnavailable),
        (403, 4, SinkUnavailable),
        (413, 27, SinkRefused),
        (503, 9, SinkUnavailable),
    ],
)
async def test_splunks_codes_tell_bad_events_from_a_bad_configuration(
    status: int, code: int | None, error: type[Exception], events: list[OutgoingEvent]
) -> None:
    async with (hec := Hec()).serving() as base:
        said = json.dumps({"text": "no", "code": code}) if code else "<html>"
        hec.answer = web.Response(text=said, status=status)
        with pytest.raises(error, match=str(status)):
            await send(SplunkSink(name="soc", url=base, token="t"), events)


async def test_splunk_may_be_waited_for_until_it_has_indexed(events: list[OutgoingEvent]) -> None:
    async with (hec := Hec()).serving() as base:
        hec.answer = web.json_response({"text": "Success", "code": 0, "ackId": 7})
        hec.indexed_when_asked = 2
        await send(SplunkSink(name="soc", url=base, token="t", acknowledge=True), events)
    assert hec.asked == 2


async def test_splunk_without_acknowledgement_is_told_apart(events: list[OutgoingEvent]) -> None:
    async with (hec := Hec()).serving() as base:
        with pytest.raises(SinkUnavailable, match="not enabled for the token"):
            await send(SplunkSink(name="soc", url=base, token="t", acknowledge=True), events)
        assert hec.asked == 0


@pytest.mark.parametrize(("status", "why"), [(503, "answered 503 when asked"), (200, "did not index")])
async def test_splunk_that_never_says_indexed_has_not_acknowledged(
    status: int, why: str, events: list[OutgoingEvent]
) -> None:  # fmt: skip
    async with (hec := Hec()).serving() as base:
        hec.answer = web.json_response({"text": "Success", "code": 0, "ackId": 7})
        hec.indexed_when_asked, hec.ack_status = 10**6, status
        config = SplunkSink(name="soc", url=base, token="t", acknowledge=True, acknowledge_within_s=0.2)
        with pytest.raises(SinkUnavailable, match=why):
            await send(config, events)


# --- syslog --------------------------------------------------------------------------------------------------------------

RFC_5424 = re.compile(
    rb"<(?P<pri>\d{1,3})>1 (?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (?P<host>[\x21-\x7e]{1,255}) "
    rb"(?P<app>[\x21-\x7e]{1,48}) - (?P<msgid>[\x21-\x7e]{1,32}) - (?P<msg>\{.*\})"
)


def syslog(server: TlsSyslog, certificates: Certificates, **options: Any) -> SyslogSink:
    tls = Tls(ca=str(certificates.ca))
    return SyslogSink(**{"name": "soc", "url": f"tls://127.0.0.1:{server.port}", "host": "gw 1", "tls": tls, **options})


async def test_syslog_messages_are_framed_by_length_and_read_to_the_end(log: MemoryLog, certificates: Certificates) -> None:
    log.fill(2000)
    log.add("sink.failed", facts={"note": "Grüße, 世界\n\x1b[31m"})
    events = [event_of(row) for row in log.rows]
    async with TlsSyslog().serving(certificates.server_context()) as server:
        await send(syslog(server, certificates), events)
        messages = server.messages
    assert [json.loads(event.body) for event in events] == server.events()
    found = [RFC_5424.fullmatch(message) for message in messages]
    assert all(found)
    first, last = found[0], found[-1]
    assert first is not None
    assert last is not None
    assert (first["pri"], first["time"], first["host"]) == (b"110", b"2001-09-09T01:46:40.000000Z", b"gw_1")
    assert (last["pri"], last["app"], last["msgid"]) == (b"107", b"mcpgw", b"sink.failed")
    assert messages[-1].isascii()


async def test_a_syslog_connection_that_breaks_is_no_acknowledgement(log: MemoryLog, certificates: Certificates) -> None:
    log.fill(500)
    events = [event_of(row) for row in log.rows]
    async with TlsSyslog().serving(certificates.server_context()) as server:
        server.break_after = 100_000
        with pytest.raises(SinkUnavailable, match=r"failed|closed before"):
            await send(syslog(server, certificates), events)
        server.break_after = 10**9
        await send(syslog(server, certificates), events)
    assert len(server.messages) == 500


async def test_a_syslog_server_that_ends_before_it_has_read_is_no_acknowledgement(
    events: list[OutgoingEvent], certificates: Certificates
) -> None:
    """What reaches a closed socket is lost, and the orderly end that came before says nothing about it."""
    context = certificates.server_context()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tls://127.0.0.1:{listener.getsockname()[1]}"
        config = SyslogSink(name="soc", url=address, tls=Tls(ca=str(certificates.ca)))

        def close_after_the_handshake() -> None:
            connection, _ = listener.accept()
            with contextlib.suppress(OSError):
                context.wrap_socket(connection, server_side=True).close()

        for _ in range(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(to_thread.run_sync, close_after_the_handshake)
                with pytest.raises(SinkUnavailable):
                    await send(config, events)


async def test_an_orderly_end_with_bytes_still_under_way_is_no_acknowledgement(
    events: list[OutgoingEvent], certificates: Certificates
) -> None:
    context, over = certificates.server_context(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        address = f"tls://127.0.0.1:{listener.getsockname()[1]}"
        config = SyslogSink(name="soc", url=address, tls=Tls(ca=str(certificates.ca)))

        def say_goodbye_and_read_nothing() -> None:
            connection, _ = listener.accept()
            with context.wrap_socket(connection, server_side=True) as stream:
                stream.shutdown(socket.SHUT_WR)
                over.wait(20)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, say_goodbye_and_read_nothing)
            try:
                with pytest.raises(SinkUnavailable, match="closed before it had everything"):
                    await send(config, events * 50)
            finally:
                over.set()


async def test_a_syslog_server_that_nobody_vouches_for_gets_nothing(
    events: list[OutgoingEvent], certificates: Certificates
) -> None:  # fmt: skip
    async with TlsSyslog().serving(certificates.server_context()) as server:
        with pytest.raises(SinkUnavailable, match=r"TLS|connection"):
            await send(syslog(server, certificates, tls=Tls()), events)
        assert server.messages == []


async def test_a_syslog_server_that_closes_during_the_handshake_is_down(
    events: list[OutgoingEvent], certificates: Certificates
) -> None:
    async def hang_up(stream: SocketStream) -> None:
        await stream.receive()  # the first words of the handshake, or closing would be a reset
        await stream.aclose()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    config = SyslogSink(name="soc", url=f"tls://127.0.0.1:{port}", tls=Tls(ca=str(certificates.ca)))
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, hang_up)
        with pytest.raises(SinkUnavailable, match="connection to the receiver failed"):
            await send(config, events)
        tasks.cancel_scope.cancel()


async def test_a_syslog_server_that_is_not_there(events: list[OutgoingEvent], certificates: Certificates) -> None:
    async with TlsSyslog().serving(certificates.server_context()) as server:
        pass
    with pytest.raises(SinkUnavailable, match="connection to the receiver failed"):
        await send(syslog(server, certificates), events)


# --- configuration -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["http://siem.bank.example/", "ftp://x/", "https://", "https://u:p@x/", "https://x:99999/", "https://x:0/", "", "[::1"],
)
def test_an_address_that_would_carry_events_in_the_open_is_refused(url: str) -> None:
    for make in (lambda: WebhookSink(name="soc", url=url, secret=SECRET), lambda: SplunkSink(name="soc", url=url, token="t")):
        with pytest.raises(ConfigError, match=r"sinks\.soc\.url"):
            make()
    with pytest.raises(ConfigError, match=r"sinks\.soc\.url"):
        SyslogSink(name="soc", url=url)


def test_syslog_has_a_port_of_its_own() -> None:
    assert SyslogSink(name="soc", url="tls://logs.bank.example").address == ("logs.bank.example", 6514)


def test_a_key_that_can_be_guessed_or_read_in_a_log_is_refused() -> None:
    with pytest.raises(ConfigError, match="shorter than 16"):
        WebhookSink(name="soc", url="https://x/", secret="short")
    assert SECRET not in repr(WebhookSink(name="soc", url="https://x/", secret=SECRET))


async def test_files_that_cannot_be_used_are_told_before_anything_is_sent(tmp_path: Path, certificates: Certificates) -> None:
    await to_thread.run_sync((tmp_path / "no.pem").write_text, "no")
    for tls in (Tls(ca="/no/such"), Tls(certificate=str(tmp_path / "no.pem")), Tls(certificate=str(certificates.server))):
        with pytest.raises(ConfigError, match=r"sinks\.soc"):
            await send(SyslogSink(name="soc", url="tls://x", tls=tls), [])
    encrypted = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"a password")
    )
    await to_thread.run_sync((tmp_path / "key.pem").write_bytes, encrypted)
    with pytest.raises(ConfigError, match="ValueError") as caught:
        ours = Tls(certificate=str(certificates.server), key=str(tmp_path / "key.pem"))
        await send(SyslogSink(name="soc", url="tls://x", tls=ours), [])
    assert "must not be encrypted" in caught.value.hint
    with pytest.raises(ConfigError, match="no base64"):
        await send(WebhookSink(name="soc", url="https://x/", secret="whsec_ not base64 at all"), [])
