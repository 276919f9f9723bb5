"""Servers that other people wrote, with all that they offer: a client gets the same through the gateway as without it.

Everything is done twice, by the same client: directly, and through one gateway in front of all of them. What the gateway says
that it changes is changed back, and what differs each time (times, sessions) is left out; the rest has to be equal.
"""

import base64
import binascii
import json
import re
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, fields, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    METHOD_NOT_FOUND,
    URL_ELICITATION_REQUIRED,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitRequestURLParams,
    ElicitResult,
    ListRootsResult,
    LoggingMessageNotificationParams,
    PromptReference,
    ResourceTemplateReference,
    ResourceUpdatedNotification,
    Root,
    TextContent,
)
from pydantic import BaseModel

from tests.flows.gateway import BOUND_S, CONFIG, LEGACY, Gateway, make_folder, serving, until, wait, words
from tests.ledger.postgres_server import cannot_run, running
from tests.real_servers import (
    NODE_MODULES,
    PYTHON_SERVERS,
    alchemy_server,
    everything_server,
    fetch_server,
    filesystem_server,
    free_port,
    git_server,
    memory_server,
    postgres_server,
    time_server,
)

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")  # of what older clients do

Action = Literal["accept", "decline", "cancel"]
Calls = Sequence[tuple[str, Mapping[str, Any]]]
ASKING = ("everything", "everything-http", "everything-sse", "filesystem")
"""These ask their callers, which each era does in a way of its own; the others are met as in test_every_pair.py."""
OTHERS = ("memory", "git", "fetch", "time", "postgres", "alchemy")
MORE = """
resources = ["*"]
prompts = ["*"]

[redaction.profiles.default]
operators = { PERSON = "keep" } # in a manual, "Server polls" looks like somebody
"""
AS_TASK = "simulate-research-query"
"""A tool that works only as a task of 2025-11-25, for which a client by hand has to be written. It has tests of its own."""
QUESTIONS = '[defaults]\nquestions = ["form", "url", "sampling", "roots"]\n'


@dataclass(frozen=True, kw_only=True)
class Real:
    """A server, and what is asked of it so that it shows all that it can do."""

    calls: Calls
    """Each tool at least once, in an order in which each finds what it needs."""
    command: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    transport: str = "stdio"
    more: str = ""
    """Of its catalog file."""
    begin: Callable[[], object] = lambda: None
    """Leaves everything that the server works on as it is at the start."""
    reads: Sequence[str] = ()
    """URIs that templates cover; listed resources are read as well."""
    prompts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    completions: Sequence[tuple[str, dict[str, str], dict[str, str]]] = ()
    """Prompt or template, argument, and the arguments before it."""
    ready: str = ""
    """What the first call says once the server has heard all that it asked for when it was started."""
    fleeting: str = r"(?!)"
    """A pattern of what differs each time."""


# --- what they work on ---------------------------------------------------------------------------------------------------


def laid_out(folder: Path) -> None:
    """Make the files that the filesystem server works on."""
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("one\ntwo\nthree\n")
    (folder / "deep" / "b.md").write_text("# b\n")
    (folder / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16))


def repository(folder: Path) -> None:
    """Make a repository with one commit, one branch beside it, and a change that was not added."""
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    folder.mkdir(parents=True)
    environ = {**TIMES, "PATH": "/usr/bin:/bin", "HOME": str(folder)}

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=folder, env=environ, check=True)

    git("init", "-q", "-b", "main")
    git("config", "user.name", "tests")
    git("config", "user.email", "tests@localhost")
    (folder / "a.txt").write_text("one\n")
    git("add", "a.txt")
    git("commit", "-q", "-m", "begin")
    git("branch", "side")
    (folder / "a.txt").write_text("two\n")


TIMES = {"GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z"}
"""So that a commit has the same hash each time."""


class Pages(BaseHTTPRequestHandler):
    """A web site with a page for everybody, one that its robots.txt keeps from robots, and none besides."""

    SITE: Mapping[str, tuple[str, str]] = {
        "/robots.txt": ("text/plain", "User-agent: *\nDisallow: /private\n"),
        "/page": (
            "text/html",
            "<html><body><article><h1>Title</h1><p>A first paragraph, and more.</p></article></body></html>",
        ),
        "/data.json": ("application/json", '{"rows": [1, 2, 3]}'),
        "/private": ("text/html", "<p>not for robots</p>"),
    }

    def do_GET(self) -> None:
        kind, text = self.SITE.get(self.path, ("text/plain", ""))
        self.send_response(200 if text else 404)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    serves = threading.Thread(target=server.serve_forever, daemon=True)
    serves.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        serves.join(BOUND_S)


# --- the servers ---------------------------------------------------------------------------------------------------------

EVERYTHING: dict[str, Any] = {
    "calls": (
        ("echo", {"message": "hello"}),
        ("echo", {"message": 7}),
        ("get-sum", {"a": 20, "b": 22}),
        ("get-annotated-message", {"messageType": "error", "includeImage": True}),
        ("get-resource-links", {"count": 3}),
        ("get-resource-reference", {"resourceType": "Blob", "resourceId": 2}),
        ("get-structured-content", {"location": "New York"}),
        ("get-tiny-image", {}),
        ("gzip-file-as-resource", {"name": "a.gz", "data": "data:text/plain,hello", "outputType": "resource"}),
        ("gzip-file-as-resource", {"name": "b.gz", "data": "data:text/plain,hello"}),
        ("toggle-simulated-logging", {}),
        ("toggle-simulated-logging", {}),
        ("toggle-subscriber-updates", {}),
        ("toggle-subscriber-updates", {}),
        ("trigger-long-running-operation", {"duration": 0.2, "steps": 4}),
        ("get-roots-list", {}),
        ("trigger-elicitation-request", {}),
        ("trigger-url-elicitation", {"url": "https://example.org/page", "elicitationId": "e1"}),
        ("trigger-sampling-request", {"prompt": "Say something", "maxTokens": 10}),
        ("get-env", {}),
    ),
    "reads": ("demo://resource/dynamic/text/7", "demo://resource/dynamic/blob/7", "demo://resource/dynamic/text/none"),
    "prompts": {
        "simple-prompt": {},
        "args-prompt": {"city": "Rome", "state": "Lazio"},
        "completable-prompt": {"department": "Sales", "name": "Eve"},
        "resource-prompt": {"resourceType": "Text", "resourceId": "3"},
    },
    "completions": (
        ("completable-prompt", {"name": "department", "value": "S"}, {}),
        ("completable-prompt", {"name": "name", "value": "E"}, {"department": "Sales"}),
        ("resource-prompt", {"name": "resourceId", "value": "5"}, {}),
        ("demo://resource/dynamic/text/{resourceId}", {"name": "resourceId", "value": "5"}, {}),
    ),
    "more": QUESTIONS,
    # Its clock, its sessions, and (in `get-env`) the environment, of which a test of its own tells.
    "fleeting": r"created at [\d:]+ [AP]M|session [0-9a-f-]{36}|session undefined|(?s:^\{\n  \"\w+\": .*\}$)",
}


def servers(path: Path, stack: ExitStack) -> dict[str, Real]:
    """Return all of them, and start what they need."""
    files, git, graph = path / "files", path / "repository", path / "graph.jsonl"
    web = stack.enter_context(site())
    urls = {transport: stack.enter_context(everything(transport)) for transport in ("streamableHttp", "sse")}
    laid_out(files)
    repository(git)
    a, deep = str(files / "a.txt"), str(files / "deep")
    entities = [
        {"name": "tide", "entityType": "thing", "observations": ["rises"]},
        {"name": "moon", "entityType": "thing", "observations": []},
    ]
    pulls = [{"from": "moon", "to": "tide", "relationType": "pulls"}]
    of_git = {"repo_path": str(git)}
    found = {
        "everything": Real(command=everything_server(), **EVERYTHING),
        "everything-http": Real(url=f"{urls['streamableHttp']}/mcp", transport="http", **EVERYTHING),
        "everything-sse": Real(url=f"{urls['sse']}/sse", transport="sse", **EVERYTHING),
        "filesystem": Real(
            command=filesystem_server(path / "elsewhere"),
            more=QUESTIONS,
            begin=lambda: laid_out(files),
            ready=str(files),
            calls=(
                ("list_allowed_directories", {}),
                ("read_file", {"path": a}),
                ("read_text_file", {"path": a, "head": 2}),
                ("read_media_file", {"path": str(files / "dot.png")}),
                ("read_multiple_files", {"paths": [a, str(files / "none")]}),
                ("write_file", {"path": str(files / "new.txt"), "content": "new\n"}),
                ("edit_file", {"path": a, "edits": [{"oldText": "two", "newText": "2"}], "dryRun": True}),
                ("edit_file", {"path": a, "edits": [{"oldText": "two", "newText": "2"}]}),
                ("create_directory", {"path": str(files / "made")}),
                ("list_directory", {"path": str(files)}),
                ("list_directory_with_sizes", {"path": str(files), "sortBy": "size"}),
                ("directory_tree", {"path": str(files)}),
                ("move_file", {"source": a, "destination": f"{deep}/moved.txt"}),
                ("search_files", {"path": str(files), "pattern": "**/*.txt"}),
                ("get_file_info", {"path": f"{deep}/moved.txt"}),
                ("read_text_file", {"path": "/etc/hostname"}),
                ("read_text_file", {"path": str(path / "elsewhere" / "x")}),
            ),
            fleeting=r"(created|modified|accessed): .*",
        ),
        "memory": Real(
            command=memory_server(),
            env={"MEMORY_FILE_PATH": str(graph)},
            begin=lambda: graph.unlink(missing_ok=True),
            calls=(
                ("create_entities", {"entities": entities}),
                ("create_relations", {"relations": pulls}),
                ("add_observations", {"observations": [{"entityName": "moon", "contents": ["is far"]}]}),
                ("add_observations", {"observations": [{"entityName": "nobody", "contents": ["is here"]}]}),
                ("read_graph", {}),
                ("search_nodes", {"query": "far"}),
                ("open_nodes", {"names": ["tide"]}),
                ("delete_observations", {"deletions": [{"entityName": "moon", "observations": ["is far"]}]}),
                ("delete_relations", {"relations": pulls}),
                ("delete_entities", {"entityNames": ["tide"]}),
                ("read_graph", {}),
            ),
        ),
        "git": Real(
            command=git_server(git),
            env=TIMES,
            begin=lambda: repository(git),
            calls=(
                ("git_status", of_git),
                ("git_diff_unstaged", of_git),
                ("git_add", {**of_git, "files": ["a.txt"]}),
                ("git_diff_staged", of_git),
                ("git_reset", of_git),
                ("git_add", {**of_git, "files": ["a.txt"]}),
                ("git_commit", {**of_git, "message": "Say two"}),
                ("git_diff", {**of_git, "target": "side"}),
                ("git_log", {**of_git, "max_count": 2}),
                ("git_show", {**of_git, "revision": "HEAD"}),
                ("git_create_branch", {**of_git, "branch_name": "more"}),
                ("git_checkout", {**of_git, "branch_name": "more"}),
                ("git_branch", {**of_git, "branch_type": "local"}),
                ("git_checkout", {**of_git, "branch_name": "no-such"}),
                ("git_status", {"repo_path": "/"}),
            ),
        ),
        "fetch": Real(
            command=fetch_server("--allow-private-ips"),
            calls=(
                ("fetch", {"url": f"{web}/page"}),
                ("fetch", {"url": f"{web}/page", "raw": True, "max_length": 20}),
                ("fetch", {"url": f"{web}/data.json", "start_index": 2}),
                ("fetch", {"url": f"{web}/private"}),
                ("fetch", {"url": f"{web}/none"}),
            ),
            prompts={"fetch": {"url": f"{web}/private"}},
        ),
        "time": Real(
            command=time_server(),
            calls=(
                ("get_current_time", {"timezone": "Asia/Tokyo"}),
                ("convert_time", {"source_timezone": "UTC", "time": "10:00", "target_timezone": "Asia/Tokyo"}),
                ("convert_time", {"source_timezone": "UTC", "time": "26:00", "target_timezone": "Asia/Tokyo"}),
                ("get_current_time", {"timezone": "Nowhere/None"}),
            ),
            fleeting=r"\d{4}-\d\d-\d\dT[\d:]+|\w+day",
        ),
    }
    return found | (databases(path, stack) if not cannot_run() else {})


@contextmanager
def everything(transport: str) -> Iterator[str]:
    """Run the everything server on a port of its own, and yield where it is."""
    port = free_port()
    environ, quiet = {"PORT": str(port), "PATH": "/usr/bin:/bin"}, subprocess.DEVNULL
    process = subprocess.Popen(everything_server(transport), env=environ, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        wait(lambda: answers(port), "the everything server listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def databases(path: Path, stack: ExitStack) -> dict[str, Real]:
    """Return the two in front of PostgreSQL."""
    database = stack.enter_context(running())
    database.run("CREATE TABLE accounts (id int PRIMARY KEY, owner text NOT NULL, balance numeric)")
    database.run("CREATE TABLE moves (id int PRIMARY KEY, account int REFERENCES accounts)")

    def begin() -> None:
        database.run("TRUNCATE accounts CASCADE")
        database.run("INSERT INTO accounts VALUES (1, 'first', 10.50), (2, 'second', NULL)")

    begin()
    address = database.address("admin", "postgres")
    return {
        "postgres": Real(
            command=postgres_server(address.replace("@/", "@localhost/")),
            begin=begin,
            calls=(
                ("query", {"sql": "SELECT id, owner FROM accounts ORDER BY id"}),
                ("query", {"sql": "SELECT nothing FROM nowhere"}),
                ("query", {"sql": "DELETE FROM accounts"}),
            ),
        ),
        "alchemy": Real(
            command=alchemy_server(),
            env={"DB_URL": address.replace("postgresql:", "postgresql+psycopg:")},
            begin=begin,
            calls=(
                ("all_table_names", {}),
                ("filter_table_names", {"q": "mov"}),
                ("schema_definitions", {"table_names": ["accounts", "moves"]}),
                ("execute_query", {"query": "SELECT * FROM accounts WHERE id = :id", "params": {"id": 1}}),
                ("execute_query", {"query": "UPDATE accounts SET balance = 1"}),
                ("execute_query", {"query": "SELECT nothing FROM nowhere"}),
            ),
        ),
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Real]]:
    programs = [PYTHON_SERVERS / "mcp-alchemy", NODE_MODULES / "@modelcontextprotocol/server-memory"]
    if missing := [str(program) for program in programs if not program.exists()]:
        pytest.skip(f"{', '.join(missing)}: not installed: scripts/upstreams")
    path = tmp_path_factory.mktemp("work")
    (path / "elsewhere").mkdir()
    with ExitStack() as stack:
        yield servers(path, stack)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, world: dict[str, Real]) -> Iterator[Gateway]:
    config = CONFIG.replace("[redaction]\n", '[redaction]\nblobs = "pass"\n')
    folder = make_folder(tmp_path_factory.mktemp("real") / "gateway", MORE, config)
    folder.key("alice", "all")
    for name, real in world.items():
        if real.command:
            env = f"env = {{ {', '.join(f'{key} = {json.dumps(value)}' for key, value in real.env.items())} }}\n"
            folder.spawned(name, real.command, env + real.more)
        else:
            folder.called(name, real.transport, real.url, real.more)
    folder.accept()
    with serving(folder) as gateway:
        yield gateway


# --- a client that can do everything -------------------------------------------------------------------------------------


def abilities(path: Path, action: Action = "accept") -> dict[str, Any]:
    """Return a client's callbacks: it fills in forms and visits pages, or does not, has a model, and works in a folder."""

    async def elicit(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        if isinstance(params, ElicitRequestURLParams) or action != "accept":
            return ElicitResult(action=action)
        return ElicitResult(action="accept", content={"name": "tests", "check": True, "integer": 42})

    async def sample(context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
        said = "\n".join(str(message.content) for message in params.messages)
        return CreateMessageResult(role="assistant", model="m", content=TextContent(text=f"{params.system_prompt}: {said}"))

    async def roots(context: ClientRequestContext) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=f"file://{path}", name="files")])

    return {"elicitation_callback": elicit, "sampling_callback": sample, "list_roots_callback": roots}


@asynccontextmanager
async def directly(real: Real, **more: Any) -> AsyncIterator[Client]:
    """Connect without the gateway."""
    streams: Any
    match real.transport:
        case "stdio":
            environ = {"PATH": "/usr/bin:/bin", **real.env}
            streams = stdio_client(StdioServerParameters(command=real.command[0], args=[*real.command[1:]], env=environ))
        case "sse":
            streams = sse_client(real.url)
        case _:
            streams = streamable_http_client(real.url)
    async with Client(streams, mode=LEGACY, cache=None, read_timeout_seconds=BOUND_S, **more) as client:
        yield client


@dataclass(frozen=True)
class Told:
    """What one client was told of one server, as JSON."""

    tools: list[Any]
    resources: list[Any]
    templates: list[Any]
    prompts: list[Any]
    calls: list[Any]
    reads: list[Any]
    got: list[Any]
    completed: list[Any]
    progress: list[Any]


class Asker:
    """Asks everything of one server through a client. `server` is empty where there is no gateway in between."""

    def __init__(self, client: Client, real: Real, server: str = "") -> None:
        self.client = client
        self.real = real
        self.server = server
        self.progress: list[Any] = []

    async def ask(self) -> Told:
        async with anyio.create_task_group() as tasks:
            tasks.cancel_scope.deadline = anyio.current_time() + 2 * BOUND_S
            client, offers, offers_uri = self.client, self.offers, self.offers_uri
            tools = [
                definition(tool, self.own_name(tool.name)) for tool in (await client.list_tools()).tools if offers(tool.name)
            ]
            resources = await self.listed("resources", client.list_resources, "resources")
            resources = [one for one in resources if offers_uri(one.uri)]
            templates = await self.listed("resources", client.list_resource_templates, "resource_templates")
            templates = [one for one in templates if offers_uri(one.uri_template)]
            prompts = [one for one in await self.listed("prompts", client.list_prompts, "prompts") if offers(one.name)]
            await self.until_ready()
            calls = await self.called()
            uris = [*sorted(one.uri for one in resources), *map(self.uri, self.real.reads)]
            reads = [await self.said(client.read_resource(uri)) for uri in uris]
            got = [
                await self.said(client.get_prompt(self.name(prompt), dict(arguments)))
                for prompt, arguments in self.real.prompts.items()
            ]
            completed = [
                await self.said(client.complete(self.reference(to), argument, before or None))
                for to, argument, before in self.real.completions
            ]
            return Told(
                sorted(tools, key=lambda tool: tool["name"]),
                *(sorted(map(self.plain, listed), key=json.dumps) for listed in (resources, templates, prompts)),
                calls,
                reads,
                got,
                completed,
                self.progress,
            )

    async def called(self) -> list[Any]:
        """Make the server's calls, one after the other."""
        return [
            await self.said(self.client.call_tool(self.name(tool), dict(arguments), progress_callback=self.on_progress))
            for tool, arguments in self.real.calls
        ]

    async def until_ready(self) -> None:
        """A server answers calls while it still asks its client for roots."""
        tool, arguments = self.real.calls[0]
        said = ""
        while self.real.ready not in said:
            await anyio.sleep(0.05 if said else 0)
            said = str(await self.client.call_tool(self.name(tool), dict(arguments)))

    async def listed(self, capability: str, ask: Callable[[], Awaitable[Any]], key: str) -> list[Any]:
        """Return what is listed; nothing where the server has no such list."""
        if not self.server and getattr(self.client.server_capabilities, capability) is None:
            return []
        try:
            found: list[Any] = getattr(await ask(), key)
        except MCPError as error:
            if error.code != METHOD_NOT_FOUND:
                raise
            return []
        return found

    def offers(self, name: str) -> bool:
        return name.startswith(f"{self.server}__") or not self.server

    def offers_uri(self, uri: str) -> bool:
        return uri.startswith(f"mcpgw+{self.server}+") or not self.server

    def name(self, own: str) -> str:
        return f"{self.server}__{own}" if self.server else own

    def own_name(self, name: str) -> str:
        return name.removeprefix(f"{self.server}__")

    def uri(self, own: str) -> str:
        return f"mcpgw+{self.server}+{own}" if self.server else own

    def own_uri(self, text: str) -> str:
        return text.removeprefix(f"mcpgw+{self.server}+")

    def reference(self, to: str) -> PromptReference | ResourceTemplateReference:
        if "://" in to:
            return ResourceTemplateReference(type="ref/resource", uri=self.uri(to))
        return PromptReference(type="ref/prompt", name=self.name(to))

    async def on_progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress.append((progress, total, message))

    async def said(self, answer: Any) -> Any:
        try:
            return self.plain(await answer)
        except MCPError as error:
            return f"{error.code}"

    def plain(self, value: Any) -> Any:
        """Return what a server said, without what the gateway says that it adds, and without what differs each time."""
        match value:
            case BaseModel():
                return self.plain(value.model_dump(mode="json", by_alias=True, exclude_none=True))
            case dict():
                if isinstance(blob := value.get("blob"), str):
                    value = {**value, "blob": readable(blob)}
                kept = {key: self.plain(one) for key, one in value.items() if not is_added(key)}
                if isinstance(kept.get("name"), str):
                    kept["name"] = self.own_name(kept["name"])
                return {key: one for key, one in kept.items() if key != "_meta" or one}
            case list():
                return [self.plain(one) for one in value]
            case str():
                return re.sub(self.real.fleeting, "…", self.own_uri(value))
            case _:
                return value


def readable(blob: str) -> str:
    """Return the text of a blob that is one."""
    try:
        return base64.b64decode(blob).decode()
    except (binascii.Error, UnicodeDecodeError):
        return blob


def is_added(key: str) -> bool:
    """Of the gateway, or of the later protocol."""
    return key.startswith(("mcpgw/", "io.modelcontextprotocol/")) or key in ("resultType", "ttlMs", "cacheScope")


def definition(tool: BaseModel, name: str) -> dict[str, Any]:
    """Return a tool's definition under its own name, without what the gateway says that it adds to two fields."""
    whole = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    if name == AS_TASK:
        whole.pop("execution", None)  # the gateway calls it as a task, and its clients need not
    hints = whole.pop("annotations", {})
    changed = {"annotations": {"readOnlyHint": False, **hints}, "outputSchema": "outputSchema" in whole}
    return {**whole, "name": name, **changed}


@pytest.fixture(scope="module")
def heard() -> dict[str, Told]:
    """What each server said without a gateway."""
    return {}


@pytest.mark.parametrize(
    ("name", "downstream"), [*((name, "http 2026") for name in (*ASKING, *OTHERS)), *((name, "http 2025") for name in ASKING)]
)
async def test_all_that_a_server_offers_is_the_same_through_the_gateway(
    gateway: Gateway, world: dict[str, Real], heard: dict[str, Told], name: str, downstream: str
) -> None:
    if name not in world:
        pytest.skip(cannot_run())
    real = world[name]
    able = abilities(Path(world["filesystem"].calls[1][1]["path"]).parent)
    if name not in heard:
        real.begin()
        async with directly(real, **able) as client:
            heard[name] = await Asker(client, real).ask()
    real.begin()
    async with gateway.client(downstream, gateway.folder.keys["alice"], **able) as client:
        told = await Asker(client, real, name).ask()
    for part in fields(Told):
        for here, there in zip_longest(getattr(told, part.name), getattr(heard[name], part.name)):
            assert here == there, part.name
    assert told == heard[name]
    assert {tool for tool, _ in real.calls} >= {tool["name"] for tool in told.tools} - {AS_TASK}


@pytest.mark.parametrize("downstream", ["http 2026", "http 2025"])
@pytest.mark.parametrize("server", ASKING[:3])
async def test_what_works_only_as_a_task_is_called_like_every_other_tool(
    gateway: Gateway, server: str, downstream: str
) -> None:
    """Its research takes four steps of a second, and it asks before the third what is meant."""
    steps: list[str] = []
    asked: list[str] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append(message or "")

    async def elicit(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"interpretation": "historical"})

    arguments = {"topic": "tides", "ambiguous": True}
    async with gateway.client(downstream, gateway.folder.keys["alice"], elicitation_callback=elicit) as client:
        with anyio.fail_after(BOUND_S):
            result = await client.call_tool(f"{server}__{AS_TASK}", arguments, progress_callback=on_progress)
    assert words(result).startswith("# Research Report: tides (historical)") and not result.is_error
    assert len(asked) == 1 and "tides" in asked[0]
    assert steps and {"Gathering sources...", "Analyzing content..."} & {*steps}
    assert not [key for key in result.meta or {} if "task" in key]


QUESTIONS_PUT: Calls = (
    ("trigger-elicitation-request", {}),
    ("trigger-url-elicitation", {"url": "https://example.org/page", "elicitationId": "e1"}),
)


@pytest.mark.parametrize("downstream", ["http 2026", "http 2025"])
@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_server_hears_of_a_no_and_of_a_dialog_that_was_closed_as_without_the_gateway(
    gateway: Gateway, world: dict[str, Real], action: Action, downstream: str, tmp_path: Path
) -> None:
    for server in ASKING[:3]:
        real, able = replace(world[server], calls=QUESTIONS_PUT), abilities(tmp_path, action)
        async with directly(real, **able) as client:
            heard = await Asker(client, real).called()
        async with gateway.client(downstream, gateway.folder.keys["alice"], **able) as client:
            told = await Asker(client, real, server).called()
        assert told == heard, server
        word = {"decline": "declined", "cancel": "cancelled"}[action]
        assert all(f"User {word}" in answer["content"][0]["text"] for answer in told)


@pytest.mark.parametrize("downstream", ["http 2026", "http 2025"])
async def test_a_page_that_must_be_visited_before_a_call_is_told_and_the_call_then_made_again_goes_on(
    gateway: Gateway, world: dict[str, Real], downstream: str, tmp_path: Path
) -> None:
    """-32042 of 2025-11-25. The server knows the call again by its session."""
    able = abilities(tmp_path)

    async def told_by(client: Client, tool: str) -> tuple[Any, str]:
        """Return what the first call is told to visit, and what the second says."""
        arguments = {"url": "https://example.org/first", "elicitationId": downstream, "errorPath": True}
        with pytest.raises(MCPError) as first:
            await client.call_tool(tool, arguments)
        assert first.value.code == URL_ELICITATION_REQUIRED
        pages = [{**page, "elicitationId": "…"} for page in first.value.error.data["elicitations"]]
        return pages, words(await client.call_tool(tool, arguments))

    for server in ASKING[:3]:
        async with directly(world[server], **able) as client:
            heard = await told_by(client, "trigger-url-elicitation")
        async with gateway.client(downstream, gateway.folder.keys["alice"], **able) as client:
            told = await told_by(client, f"{server}__trigger-url-elicitation")
        assert told == heard and "User completed" in told[1], server


async def test_changes_of_its_resources_are_told_to_whom_subscribed(gateway: Gateway) -> None:
    changed: list[str] = []

    async def hear(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            changed.append(str(message.params.uri))

    async with gateway.client("http 2025", gateway.folder.keys["alice"], message_handler=hear) as client:
        for server in ASKING[:3]:
            uri = f"mcpgw+{server}+demo://resource/dynamic/text/1"
            with anyio.fail_after(BOUND_S):
                await client.subscribe_resource(uri)
                await client.call_tool(f"{server}__toggle-subscriber-updates")
                await until(lambda uri=uri: uri in changed, f"{uri} is told of")
                await client.call_tool(f"{server}__toggle-subscriber-updates")


async def test_its_log_is_told_to_the_caller_of_the_call_in_which_it_logs(gateway: Gateway) -> None:
    logged: list[str] = []

    async def hear(params: LoggingMessageNotificationParams) -> None:
        logged.append(str(params.data))

    async with gateway.client("http 2025", gateway.folder.keys["alice"], logging_callback=hear) as client:
        with anyio.fail_after(BOUND_S):
            for _ in range(2):
                await client.call_tool("everything__toggle-simulated-logging")
            await until(lambda: logged, "the log is told")
    assert re.search(r"-level message|level-message", logged[0])


async def test_its_environment_is_what_the_catalog_says_and_nothing_of_the_gateways(gateway: Gateway) -> None:
    async with gateway.client("http 2026", gateway.folder.keys["alice"]) as client:
        told = json.loads(words(await client.call_tool("everything__get-env")))
    assert "PATH" in told
    assert {*told} <= {"PATH", "HOME", "LANG", "LC_ALL", "LOGNAME", "SHELL", "TERM", "TMPDIR", "USER", "TZ"}, sorted(told)
