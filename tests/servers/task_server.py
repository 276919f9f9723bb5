"""An MCP server of 2026-07-28 that does what the conformance suite asks of tasks, without any library.

It makes tasks of its own, asks its client for input before and in the middle of them, and has tools that work only as tasks.
`task_server.py` listens on a free port and prints `PORT <number>`; `task_server.py stdio` speaks on its pipes. It stands
behind the gateway where that matters.
"""

import asyncio
import itertools
import json
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

VERSION = "2026-07-28"
TASKS = "io.modelcontextprotocol/tasks"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
HEADER_MISMATCH, MISSING_CAPABILITY, INVALID_PARAMS, NO_SUCH_METHOD = -32020, -32021, -32602, -32601
QUESTIONS: dict[str, tuple[str, ...]] = {"confirm_delete": ("confirm",), "multi_input": ("first", "second")}
"""What a tool asks for in the middle of its task."""
TOOLS = ("failing_job", "broken_job", "endless_job", "test_tool_with_task", *QUESTIONS)
"""Each works only as a task."""
COUNT = "count_cancelled"
"""Not a task: says how many were cancelled."""

Message = dict[str, Any]


class Refused(Exception):
    """Answered with a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Message | None = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **({"data": data} if data else {})}


@dataclass
class Task:
    id: str
    text: str
    asks: dict[str, Message] = field(default_factory=dict)
    """What the client has still to answer."""
    ending: str = "completed"
    cancelled: bool = False
    looks: int = 0
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat())

    @property
    def status(self) -> str:
        if self.cancelled:
            return "cancelled"
        if self.asks:
            return "input_required"
        return self.ending if self.looks > 1 else "working"

    def made(self) -> Message:
        """Return what a call is answered with that became this task."""
        times = {"createdAt": self.created, "lastUpdatedAt": self.created}
        return {"taskId": self.id, "status": "working", **times, "ttlMs": 60_000, "pollIntervalMs": 100}

    def detailed(self) -> Message:
        self.looks += 1
        match self.status:
            case "working":
                more: Message = {"statusMessage": f"look {self.looks}"}
            case "failed":
                more = {"error": {"code": -32050, "message": f"{self.id} broke"}}
            case "completed":
                more = {"result": {"content": [{"type": "text", "text": self.text}], "resultType": "complete"}}
            case "input_required":
                more = {"inputRequests": self.asks}
            case _:
                more = {}
        return {**self.made(), "status": self.status, "resultType": "complete", **more}


class Server:
    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._numbers = itertools.count(1)

    def answer(self, method: str, params: Message) -> Message:
        """Raises: Refused: with a JSON-RPC error."""
        lasting = {"ttlMs": 0, "cacheScope": "private", "resultType": "complete"}
        match method:
            case "server/discover":
                can = {"tools": {}, "extensions": {TASKS: {}}}
                return {"supportedVersions": [VERSION], "capabilities": can, **lasting}
            case "tools/list":
                return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in (*TOOLS, COUNT)], **lasting}
            case "tools/call":
                return self._call(params)
            case "tasks/get":
                return self._task(params).detailed()
            case "tasks/update":
                task = self._task(params)
                task.asks = {key: ask for key, ask in task.asks.items() if key not in params["inputResponses"]}
                return {"resultType": "complete"}
            case "tasks/cancel":
                task = self._task(params)
                task.cancelled = task.status != "completed"
                return {"resultType": "complete"}
        raise Refused(NO_SUCH_METHOD, f"no {method} here")

    def _call(self, params: Message) -> Message:
        name, declared = params["name"], params["_meta"][CAPABILITIES_KEY]
        if name == COUNT:
            count = sum(task.cancelled for task in self._tasks.values())
            return {"content": [{"type": "text", "text": str(count)}], "resultType": "complete"}
        if TASKS not in declared.get("extensions", {}):
            needed = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
            raise Refused(MISSING_CAPABILITY, "This works only as a task.", needed)
        given = params.get("inputResponses", {})
        if name == "test_tool_with_task" and "who" not in given:
            return {"resultType": "input_required", "inputRequests": {"who": _question("name")}, "requestState": "round-1"}
        text = f"Hello, {given['who']['content']['name']}!" if given else "done"
        asks = {key: _question(key) for key in QUESTIONS.get(name, ())}
        ending = {"broken_job": "failed", "endless_job": "working"}.get(name, "completed")
        task = Task(f"task-{next(self._numbers)}", text, asks, ending)
        self._tasks[task.id] = task
        return {**task.made(), "resultType": "task"}

    def _task(self, params: Message) -> Task:
        if params["taskId"] not in self._tasks:
            raise Refused(INVALID_PARAMS, "no such task")
        return self._tasks[params["taskId"]]


def _question(what: str) -> Message:
    schema = {"type": "object", "properties": {what: {"type": "string"}}}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": what, "requestedSchema": schema}}


def answered(server: Server, message: Message) -> Message:
    try:
        body: Message = {"result": server.answer(message["method"], message.get("params", {}))}
    except Refused as refused:
        body = {"error": refused.error}
    return {"jsonrpc": "2.0", "id": message["id"], **body}


def serve_stdio() -> None:
    server = Server()
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            print(json.dumps(answered(server, message)), flush=True)


async def serve() -> None:
    server = Server()

    async def post(request: web.Request) -> web.Response:
        message = json.loads(await request.read())
        return web.json_response(answered(server, message)) if "id" in message else web.Response(status=202)

    app = web.Application()
    app.router.add_post("/mcp", post)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"PORT {runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    serve_stdio() if sys.argv[1:] == ["stdio"] else asyncio.run(serve())
