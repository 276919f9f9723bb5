"""A pool with one or more servers, and the permits that open it."""

import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import anyio

from mcpgw.core.errors import QuestionRefused
from mcpgw.core.model import (
    Allow,
    Call,
    CleanJson,
    Commitment,
    Identity,
    IdentityKind,
    Intent,
    Json,
    JsonObject,
    Manifest,
    Masking,
    Origin,
    Permit,
    RawNotice,
    RawReply,
    Ruling,
    Sealed,
    ShownCall,
    Target,
    TargetKind,
)
from mcpgw.ports import Definitions, Interview, OnNotice, ServerState, ServerStatus
from mcpgw.upstream import HttpServer, Limits, ServerConfig, SseServer, StdioServer, UpstreamPool

NOT_MASKED = Masking()
FINGERPRINT = "as configured"
QUICK = Limits(backoff_first_s=0.05, backoff_ceiling_s=0.2, stop_s=1.0, drain_s=0.5)


AGENT = Identity(subject="agent", issuer="test", kind=IdentityKind.AGENT, method="api_key")


class Mute:
    """`Interview` of a caller who cannot be asked."""

    declares: JsonObject = MappingProxyType({})
    in_rounds = False

    async def ask(self, questions: Mapping[str, RawNotice]) -> Mapping[str, JsonObject]:
        raise QuestionRefused("nobody is there")


class World:
    """What a pool told, and the calls that a test makes."""

    def __init__(self, pool: UpstreamPool, told: "Told") -> None:
        self.pool = pool
        self.told = told
        self.notices: list[RawNotice] = []
        self.way = ""
        """How the server is reached, in words of the test."""

    async def call(
        self,
        tool: str,
        arguments: JsonObject | None = None,
        *,
        server: str = "s",
        timeout_s: float = 10.0,
        kind: TargetKind = TargetKind.TOOL,
        meta: JsonObject | None = None,
        on_notice: OnNotice | None = None,
        interview: Interview | None = None,
        identity: Identity = AGENT,
        client: str = "2026-07-28",
        masking: Masking = NOT_MASKED,
    ) -> RawReply:
        """Send a permitted call of a client of that revision, by the definition that the server listed."""
        listed = self.pool.definitions(server).get(kind, ())
        definition = next((item for item in listed if tool in (item.get("name"), item.get("uri"))), {})
        target = Target(
            kind=kind,
            name=f"{server}__{tool}",
            server=server,
            server_fingerprint=FINGERPRINT,
            upstream_name=tool,
            definition=definition,
            definition_hash="",
            timeout_s=timeout_s,
            masking=masking,
        )
        opened = permit(target, arguments or {}, meta or {}, identity, client=client)
        return await self.pool.send(opened, on_notice or self.keep, interview or Mute())

    async def subscribe(self, uri: str, *, server: str = "s", timeout_s: float = 10.0) -> RawReply:
        target = Target(
            kind=TargetKind.RESOURCE,
            name=uri,
            server=server,
            server_fingerprint=FINGERPRINT,
            upstream_name=uri,
            definition={"uri": uri},
            definition_hash="",
            timeout_s=timeout_s,
        )
        return await self.pool.send(permit(target, {"uri": uri}, {}, AGENT, subscribes=True), self.keep, Mute())

    async def keep(self, notice: RawNotice) -> None:
        await anyio.lowlevel.checkpoint()
        self.notices.append(notice)

    async def until(self, state: ServerState, server: str = "s") -> ServerStatus:
        """Wait until the server is in that state."""
        with anyio.fail_after(30):
            while True:
                for status in self.pool.status():
                    if status.name == server and status.state is state:
                        return status
                await self.told.more.wait()

    def status(self, server: str = "s") -> ServerStatus:
        return next(status for status in self.pool.status() if status.name == server)


class Told:
    """What the pool reported, in order."""

    def __init__(self) -> None:
        self.statuses: list[ServerStatus] = []
        self.definitions: list[tuple[str, Definitions]] = []
        self.updated: list[str] = []
        """URIs of resources that changed."""
        self.more = anyio.Event()

    async def status(self, status: ServerStatus) -> None:
        self.statuses.append(status)
        self._wake()

    async def listed(self, name: str, definitions: Definitions) -> None:
        self.definitions.append((name, definitions))
        self._wake()

    def heard(self, name: str, uri: str) -> None:
        self.updated.append(uri)
        self._wake()

    async def until_updated(self, uri: str) -> None:
        """Wait until a server tells of that resource; forget it, and what was told before."""
        with anyio.fail_after(20):
            while uri not in self.updated:
                await self.more.wait()
        self.updated.clear()

    async def until_tool(self, tool: str) -> None:
        """Wait until some server lists a tool of that name."""
        with anyio.fail_after(20):
            while not any(tool == item.get("name") for _, lists in self.definitions for item in lists[TargetKind.TOOL]):
                await self.more.wait()

    async def until_down(self, server: str = "s") -> None:
        """Wait until the server was down once; it may be ready again by now."""
        with anyio.fail_after(20):
            while not any(status.name == server and status.state is ServerState.DOWN for status in self.statuses):
                await self.more.wait()

    def _wake(self) -> None:
        self.more.set()
        self.more = anyio.Event()


@asynccontextmanager
async def pool_of(
    config: ServerConfig | Mapping[str, ServerConfig], *, limits: Limits = QUICK, ready: bool = True
) -> AsyncIterator[World]:
    """Run a pool with these servers (one is called `s`); wait until all are ready, unless told not to."""
    servers = config if isinstance(config, Mapping) else {"s": config}
    told = Told()
    async with UpstreamPool(
        on_definitions=told.listed, on_status=told.status, on_updated=told.heard, version="0", limits=limits
    ) as pool:
        pool.configure(servers)
        world = World(pool, told)
        for name in servers if ready else ():
            await world.until(ServerState.READY, name)
        yield world


def stdio(command: Sequence[str], **more: Json) -> StdioServer:
    return StdioServer(fingerprint=FINGERPRINT, command=command[0], args=tuple(command[1:]), **more)


def python(code: str, *args: str) -> StdioServer:
    """A child that runs this code."""
    return stdio([sys.executable, "-c", code, *args])


def http(url: str, headers: Mapping[str, str] | None = None) -> HttpServer:
    return HttpServer(fingerprint=FINGERPRINT, url=url, headers=headers or {})


def sse(url: str, headers: Mapping[str, str] | None = None) -> SseServer:
    return SseServer(fingerprint=FINGERPRINT, url=url, headers=headers or {})


def permit(
    target: Target,
    arguments: JsonObject,
    meta: JsonObject,
    identity: Identity,
    *,
    subscribes: bool = False,
    client: str = "2026-07-28",
) -> Permit:
    origin = Origin(transport="http", protocol_version=client)
    call = Call(
        id="call", identity=identity, target=target, arguments=arguments, origin=origin, meta=meta, subscribes=subscribes
    )
    commitment = Commitment(digest="", salt=b"", size=0)
    manifest = Manifest(profile="default", profile_hash="")
    shown = ShownCall(call=call, arguments=CleanJson({}), raw=commitment, manifest=manifest)
    allow = Allow(ruling=Ruling(rule_ids=(), reason="", policy_hash=""))
    return Permit(Sealed(entry=Intent(shown=shown, allow=allow), seq=0, leaf_hash="", event_id="", time_ns=0))


def texts(reply: RawReply) -> list[str]:
    return [block["text"] for block in reply.payload["content"]]


async def line_in(marker: Path, line: str) -> None:
    """Wait until another process has written that line."""
    with anyio.fail_after(15):
        while line not in await lines(marker):  # noqa: ASYNC110  another process's file: there is no event to wait for
            await anyio.sleep(0.02)


async def lines(path: Path) -> list[str]:
    file = anyio.Path(path)
    return (await file.read_text()).splitlines() if await file.exists() else []


async def gone(pid: int) -> None:
    """Wait until a process that is not our child has ended (a zombie that nobody reaps counts)."""
    with anyio.fail_after(10):
        while _lives(pid):  # noqa: ASYNC110  nothing tells when a foreign process ends
            await anyio.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return sys.platform != "linux" or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
