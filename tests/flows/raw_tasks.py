"""A client of 2026-07-28 with the tasks extension, by hand: what it sends is on this page, to the last header."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import anyio

from tests.flows.gateway import BOUND_S, MODERN, bearer

TASKS = "io.modelcontextprotocol/tasks"
WITH_TASKS: dict[str, Any] = {"extensions": {TASKS: {}}}
WITH_URL: dict[str, Any] = {"elicitation": {"url": {}}}


@dataclass
class RawClient:
    """Each request declares anew what the client can do."""

    http: aiohttp.ClientSession
    url: str
    key: str
    declares: dict[str, Any] = field(default_factory=lambda: dict(WITH_TASKS))
    name: str = "raw"
    """What it calls itself."""

    def message(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": self.declares,
            "io.modelcontextprotocol/clientInfo": {"name": self.name, "version": "0"},
        }
        return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}

    def headers(self, method: str, name: str) -> dict[str, str]:
        routing = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method, **({"Mcp-Name": name} if name else {})}
        return {"Accept": "application/json, text/event-stream", **bearer(self.key), **routing}

    async def send(self, method: str, params: dict[str, Any], *, name: str | None = None) -> dict[str, Any]:
        """Return the whole JSON-RPC answer; `name` instead of what the header should say."""
        told = params.get("taskId", params.get("name", "")) if name is None else name
        with anyio.fail_after(BOUND_S):
            async with self.http.post(
                f"{self.url}/mcp", json=self.message(method, params), headers=self.headers(method, str(told))
            ) as response:
                text = await response.text()
        events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
        answer: dict[str, Any] = json.loads(events[-1] if events else text)
        return answer

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        answer = await self.send(method, params)
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def refused(self, method: str, params: dict[str, Any], *, name: str | None = None) -> dict[str, Any]:
        answer = await self.send(method, params, name=name)
        assert "error" in answer, answer
        error: dict[str, Any] = answer["error"]
        return error

    async def call(self, tool: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
        return await self.ask("tools/call", {"name": tool, "arguments": arguments, **more})

    async def held(self, tool: str, arguments: dict[str, Any]) -> str:
        """Call, and return the id of the task that it became."""
        created = await self.call(tool, arguments)
        assert (created["resultType"], created["status"]) == ("task", "working"), created
        return str(created["taskId"])

    async def get(self, task_id: str) -> dict[str, Any]:
        return await self.ask("tasks/get", {"taskId": task_id})

    async def ended(self, task_id: str) -> dict[str, Any]:
        """Poll until the task has ended."""
        with anyio.fail_after(BOUND_S):
            while True:
                task = await self.get(task_id)
                if task["status"] != "working":
                    return task
                await anyio.sleep(0.05)

    @asynccontextmanager
    async def listening(self, *task_ids: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Open `subscriptions/listen` for these tasks, and yield its messages."""
        message = self.message("subscriptions/listen", {"notifications": {"taskIds": list(task_ids)}})
        async with self.http.post(
            f"{self.url}/mcp", json=message, headers=self.headers("subscriptions/listen", "")
        ) as response:
            yield _messages(response)


async def _messages(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in response.content:
        if line.startswith(b"data: {"):
            yield json.loads(line.removeprefix(b"data: "))


@asynccontextmanager
async def raw_client(url: str, key: str, **more: Any) -> AsyncIterator[RawClient]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http:
        yield RawClient(http, url, key, **more)
