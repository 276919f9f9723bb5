"""Real receivers on loopback, and small things that several tests and processes need."""

import asyncio
import datetime
import json
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import anyio
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mcpgw.core.entries import Event
from mcpgw.core.model import Sealed
from mcpgw.sinks.outbox import leaf_hash
from mcpgw.sinks.pace import Pace

FAST = Pace(poll_s=0.01, standby_s=0.02, first_retry_s=0.01, longest_retry_s=0.05)
SECRET = "a key for tests, long enough"


@dataclass(frozen=True)
class Row:
    """A record as the outbox gives it."""

    seq: int
    leaf: bytes
    hash: bytes


@dataclass
class MemoryLog:
    """A log in memory: outbox and journal in one, as the ledger is."""

    rows: list[Row] = field(default_factory=list)
    grown: anyio.Event = field(default_factory=anyio.Event)

    def add(self, kind: str = "gateway.started", **members: Any) -> Row:
        seq = len(self.rows)
        place = {"v": 1, "log": "bank.example/mcpgw", "seq": seq, "id": f"e{seq}", "kind": kind, "time_ns": str(10**18 + seq)}
        about = {"gateway": {"version": "0.1.0", "config": "c0", "catalog": "ca"}, "node": "n1", "actor": "gateway"}
        leaf = json.dumps({**about, **place, **members}).encode()
        self.rows.append(Row(seq, leaf, leaf_hash(leaf)))
        return self.rows[-1]

    def fill(self, count: int) -> None:
        for _ in range(count):
            self.add()

    async def records_after(self, seq: int, limit: int) -> Sequence[Row]:
        await anyio.lowlevel.checkpoint()
        return self.rows[seq + 1 : seq + 1 + limit]

    async def size(self) -> int:
        await anyio.lowlevel.checkpoint()
        return len(self.rows)

    async def append(self, entry: Event) -> Sealed[Event]:
        await anyio.lowlevel.checkpoint()
        row = self.add(entry.kind, actor=entry.actor, facts=dict(entry.facts))
        self.grown.set()
        return Sealed(entry=entry, seq=row.seq, leaf_hash=row.hash.hex(), event_id=f"e{row.seq}", time_ns=0)

    def kinds(self) -> list[str]:
        return [json.loads(row.leaf)["kind"] for row in self.rows]


def seq_of(event: dict[str, Any]) -> int:
    return int(event["metadata"]["sequence"])


Behaviour = Callable[[list[dict[str, Any]]], web.Response | None]
"""What a collector does with a batch: nothing (it takes it), or another answer. Answered otherwise, a batch is not kept."""


class Collector:
    """An HTTP collector that keeps what it takes, and can be told to misbehave."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.behave: Behaviour = lambda events: None
        self.changed = asyncio.Event()
        self.url = ""

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for batch in self.batches for event in batch]

    @property
    def seqs(self) -> list[int]:
        return [seq_of(event) for event in self.events]

    async def until(self, done: Callable[[], bool]) -> None:
        with anyio.fail_after(60):  # a busy machine is slow, and no test waits that long when all is well
            while not done():
                self.changed.clear()
                await self.changed.wait()

    async def until_seqs(self, wanted: set[int]) -> None:
        await self.until(lambda: wanted <= set(self.seqs))

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append(({name.lower(): value for name, value in request.headers.items()}, body))
        events = json.loads(body)
        self.changed.set()
        if answer := self.behave(events):
            return answer
        self.batches.append(events)
        return web.Response(status=204)

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator["Collector"]:
        async with http_server({"/in": self.handle}, port) as base:
            self.url = f"{base}/in"
            yield self


@asynccontextmanager
async def http_server(
    handlers: dict[str, Callable[[web.Request], Any]], port: int = 0, context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    app = web.Application(client_max_size=10**8)
    for path, handler in handlers.items():
        app.router.add_post(path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=context, reuse_address=True)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr] - aiohttp has no other way to tell
        yield f"{'https' if context else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class Certificates:
    """A throw-away authority and what it signed, as PEM files."""

    ca: Path
    server: Path
    server_key: Path

    def server_context(self, *, ask_client: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.ca))
        context.load_cert_chain(self.server, self.server_key)
        context.verify_mode = ssl.CERT_REQUIRED if ask_client else ssl.CERT_NONE
        return context


def make_certificates(folder: Path) -> Certificates:
    ca_key, ca = _certified("throw-away authority", None)
    key, certificate = _certified("127.0.0.1", (ca_key, ca))
    paths = [folder / name for name in ("ca.pem", "server.pem", "server.key")]
    paths[0].write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[2].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    return Certificates(*paths)


Signed = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]


def _certified(name: str, by: Signed | None) -> Signed:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by[1].subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    if by:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")])
        builder = builder.add_extension(names, critical=False)
    return key, builder.sign(by[0] if by else key, hashes.SHA256())


class TlsSyslog:
    """A syslog server over TLS: octet counting, and messages kept when their connection ends."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.connections = 0
        self.port = 0
        self.break_after: int = 10**9
        """Bytes of a connection after which it is reset, with the rest unread."""

    @asynccontextmanager
    async def serving(self, context: ssl.SSLContext) -> AsyncIterator["TlsSyslog"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        data = b""
        with suppress(OSError):
            while chunk := await reader.read(65_536):
                data += chunk
                if len(data) >= self.break_after:
                    writer.transport.abort()
                    return
        self.messages += unframed(data)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(message[message.index(b"{") :]) for message in self.messages]


def unframed(data: bytes) -> list[bytes]:
    """RFC 6587 section 3.4.1: `MSG-LEN SP SYSLOG-MSG`."""
    messages: list[bytes] = []
    while data:
        length, _, rest = data.partition(b" ")
        messages.append(rest[: int(length)])
        assert len(messages[-1]) == int(length)
        data = rest[int(length) :]
    return messages
