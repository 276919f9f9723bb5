"""Clients that cost little: MCP 2026-07-28 by hand, so that a few dozen of them fit beside a gateway on two cores."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import anyio

from tests.faults.history import Answer, Said

VERSION = "2026-07-28"
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "storm", "version": "0"},
}
BOUND_S = 30.0
"""Longest that a call may take; none does unless something is wrong."""
_ERRORS = {
    "The gateway is shutting down, so it was given up.": Said.GIVEN_UP,
    "The gateway cannot write its record, so nothing was done.": Said.NOTHING_DONE,
    "The call ran, but the gateway cannot write its record": Said.WITHHELD,
}
_PAUSE_S = 0.05
"""Before a client that was told to come back, or lost its connection, asks again."""


async def ask(http: aiohttp.ClientSession, url: str, key: str, tool: str, deed: str, **arguments: Any) -> Answer:
    """Make one call and return what was heard, also where the connection broke in the middle of the answer."""
    params = {"name": tool, "arguments": {"deed": deed, **arguments}, "_meta": ENVELOPE}
    body = json.dumps({"jsonrpc": "2.0", "id": deed, "method": "tools/call", "params": params})
    headers = {
        "Authorization": f"Bearer {key}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": VERSION,
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    heard, status = bytearray(), 0
    try:
        async with http.post(f"{url}/mcp", data=body, headers=headers) as response:
            status = response.status
            async for chunk in response.content.iter_any():
                heard += chunk
    except (aiohttp.ClientError, OSError):
        pass  # an answer that has arrived whole counts, whatever happened to the connection after it
    return understood(deed, status, bytes(heard))


def understood(deed: str, status: int, heard: bytes) -> Answer:
    """Return what the bytes of a response say; an incomplete message says nothing."""
    if status == 503:
        return Answer(deed=deed, said=Said.TURNED_AWAY)
    text = heard.decode(errors="replace")
    lines = [line.removeprefix("data: ") for line in text.split("\r\n") if line.startswith("data: {")]
    messages = list(_whole(lines or [text]))
    answers = [message for message in messages if "result" in message or "error" in message]
    if not answers:
        said = Said.ODD if messages or status >= 400 else Said.NOTHING
        return Answer(deed=deed, said=said, text=f"HTTP {status}: {text[:200]}")
    if "error" in answers[-1]:
        message = answers[-1]["error"].get("message", "")
        said = next((said for words, said in _ERRORS.items() if message.startswith(words)), Said.ODD)
        return Answer(deed=deed, said=said, text=message)
    return understood_result(deed, answers[-1]["result"])


def _whole(texts: list[str]) -> Iterator[dict[str, Any]]:
    for text in texts:
        try:
            message = json.loads(text)
        except json.JSONDecodeError:
            continue  # the connection ended in the middle of it
        if isinstance(message, dict):
            yield message


def understood_result(deed: str, result: dict[str, Any]) -> Answer:
    """Return what a tool's result says."""
    meta, text = result.get("_meta", {}), " ".join(block.get("text", "") for block in result.get("content", ()))
    match meta:
        case {"mcpgw/call": {"id": call, **rest}}:
            echo = result.get("structuredContent", {}).get("deed", "")
            return Answer(deed=deed, said=Said.COMPLETED, call=call, echo=echo, replayed="replayed_from" in rest)
        case {"mcpgw/approval": {"id": approval}}:
            return Answer(deed=deed, said=Said.HELD, approval=approval)
        case {"mcpgw/refused": _}:
            return Answer(deed=deed, said=Said.REFUSED, text=text)
    if text.endswith(("It may have had an effect.", "It had no effect.")):
        return Answer(deed=deed, said=Said.FAILED, harmless=text.endswith("It had no effect."), text=text)
    return Answer(deed=deed, said=Said.ODD, text=text)


@dataclass
class Crowd:
    """Clients that call without pause, each with deeds of its own, wherever the gateway is at the moment."""

    keys: list[str]
    """API keys, shared out among the clients."""
    where: Callable[[], str]
    """The gateway's URL now; empty while there is none."""
    random: random.Random
    most_forbidden: int = 40
    """Deeds that policy denies, in all: beyond 50 refusals per caller and 10 s the record counts them, not one by one."""
    answers: list[Answer] = field(default_factory=list)
    asking: int = 0
    """Calls under way."""
    _deeds: int = 0
    _forbidden: int = 0

    async def run(self, clients: int) -> None:
        """Call until cancelled. A call that is under way then goes unanswered."""
        timeout = aiohttp.ClientTimeout(total=BOUND_S)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http,
            anyio.create_task_group() as tasks,
        ):
            for number in range(clients):
                tasks.start_soon(self._client, http, self.keys[number % len(self.keys)])

    async def _client(self, http: aiohttp.ClientSession, key: str) -> None:
        while True:
            tool, deed, ms = self._wish()
            said = Said.HELD
            while said in (Said.HELD, Said.NOTHING):
                said = await self._once(http, key, tool, deed, ms)
                if said is Said.NOTHING and not tool.endswith("risky"):
                    break  # nobody can know whether it happened, so it is not wanted again; an approval knows
                if said is not Said.COMPLETED:
                    await anyio.sleep(_PAUSE_S)

    def _wish(self) -> tuple[str, str, int]:
        """Choose the next deed. Names are made of letters: a redactor takes long numbers for somebody's."""
        self._deeds += 1
        kind = self.random.random()
        if self._deeds % 40 == 1 and self._forbidden < self.most_forbidden:
            self._forbidden += 1
            return "web__do", f"never_{spelled(self._deeds)}", 0
        prefix = "reject" if kind > 0.98 else "deed"
        tool = "risky" if kind > 0.8 else "do"
        server = "pipe" if self.random.random() < 0.25 else "web"
        return f"{server}__{tool}", f"{prefix}_{spelled(self._deeds)}", self.random.choice((0, 0, 5, 40))

    async def _once(self, http: aiohttp.ClientSession, key: str, tool: str, deed: str, ms: int) -> Said:
        while not (url := self.where()):  # noqa: ASYNC110  a client that finds nobody at home tries again
            await anyio.sleep(_PAUSE_S)
        self.asking += 1
        try:
            answer = await ask(http, url, key, tool, deed, ms=ms)
        finally:
            self.asking -= 1
        self.answers.append(answer)
        return answer.said


def spelled(number: int) -> str:
    """Return the number in letters: 0 is `a`, 26 is `ba`."""
    letters = ""
    while number or not letters:
        number, digit = divmod(number, 26)
        letters = chr(ord("a") + digit) + letters
    return letters
