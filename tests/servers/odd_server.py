"""A stdio MCP server without any library, which can misbehave: `odd_server.py [--era …] [--lists FILE] [--pages …]`.

`--lists FILE` is a JSON object `{"tools": [...], "resources": [...], "resourceTemplates": [...], "prompts": [...]}` that it
offers verbatim. Without one it offers the tools below; calling a tool by one of these names does what the name says, whatever
the lists hold.
"""

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

TOOLS = (
    "echo", "params", "crash", "hang", "huge_line", "invalid_json", "invalid_utf8", "not_a_number", "lone_surrogate", "twice",
    "wrong_id", "log", "stderr_flood", "junk_first", "big_integer", "ask_client", "error", "null_result", "input_required",
    "flood_progress", "flood_logs", "flood_pings", "flood_answers", "drip", "half",
    "asks", "asks_late", "pid",
)  # fmt: skip


def send(message: object) -> None:
    write(json.dumps(message, ensure_ascii=False).encode() + b"\n")


def write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def result(request: dict, value: dict) -> None:
    send({"jsonrpc": "2.0", "id": request["id"], "result": value})


def error(request: dict, code: int, message: str) -> None:
    send({"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message}})


def text(value: str) -> dict:
    return {"content": [{"type": "text", "text": value}]}


class OddServer:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.asked: list[dict] = []
        self.lists = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
        if options.lists:
            self.read_lists()

    def read_lists(self) -> None:
        self.lists = json.loads(Path(self.options.lists).read_text(encoding="utf-8"))

    def run(self) -> None:
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if self.options.journal:
                with Path(self.options.journal).open("a") as file:
                    file.write(json.dumps(message) + "\n")
            if "method" not in message:
                self.asked.append(message)
            elif "id" in message:
                self.handle(message)

    def handle(self, request: dict) -> None:
        method = request["method"]
        if method == "server/discover":
            self.discover(request)
        elif method == "initialize":
            self.initialize(request)
        elif method.endswith("/list"):
            kind = method.removesuffix("/list")
            self.list(request, "resourceTemplates" if kind == "resources/templates" else kind)
        elif method == "tools/call":
            self.call(request, request["params"]["name"])
        elif method == "subscriptions/listen":
            pass
        else:
            error(request, -32601, "Method not found")

    def discover(self, request: dict) -> None:
        match self.options.era:
            case "modern":
                capabilities = {kind: {} for kind in self.lists}
                versions = {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, "resultType": "complete"}
                result(request, {**versions, "ttlMs": 0, "cacheScope": "private"})
            case "dies-of-probe":
                os._exit(9)
            case "silent":
                pass
            case "late":  # starts slowly, so that the question times out, and is modern by the time of the next one
                time.sleep(0.6)
                result(request, {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})
                self.options.era = "modern"
            case "newer":
                failure = {"code": -32022, "message": "", "data": {"supported": ["2031-01-01"], "requested": ""}}
                send({"jsonrpc": "2.0", "id": request["id"], "error": failure})
            case "old-python":
                error(request, -32602, "Invalid request parameters")
            case _:
                error(request, -32601, "Method not found")

    def initialize(self, request: dict) -> None:
        if self.options.era in ("modern", "newer"):
            supported = ["2026-07-28"] if self.options.era == "modern" else ["2031-01-01"]
            failure = {"code": -32022, "message": "", "data": {"supported": supported, "requested": ""}}
            send({"jsonrpc": "2.0", "id": request["id"], "error": failure})
            return
        version = {"2024": "2024-11-05", "future": "2031-01-01"}.get(self.options.era, "2025-11-25")
        capabilities = {kind: {"listChanged": True} for kind in self.lists}
        info = {"name": "odd", "version": "0", "unknownField": None}
        result(request, {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info})

    def list(self, request: dict, kind: str) -> None:
        items = self.lists.get(kind, [])
        cursor = int(request["params"].get("cursor", "0")) if request.get("params") else 0
        match self.options.pages:
            case "circle":
                result(request, {kind: items[:1], "nextCursor": "1"})
            case "endless":
                result(request, {kind: items[:1], "nextCursor": str(cursor + 1)})
            case "none":
                result(request, {kind: items})
            case size:
                page = {kind: items[cursor : cursor + int(size)]}
                following = cursor + int(size)
                result(request, {**page, "nextCursor": str(following)} if following < len(items) else page)

    def call(self, request: dict, name: str) -> None:
        arguments = request["params"].get("arguments", {})
        match name:
            case "echo":
                result(request, text(arguments.get("text", "")))
            case "params":
                result(request, {"content": [], "structuredContent": request["params"]})
            case "relist":
                self.read_lists()
                send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
                result(request, text("the lists are read again"))
            case "crash":
                print("the disk caught fire, customer 4711", file=sys.stderr, flush=True)
                os._exit(7)
            case "hang":
                time.sleep(arguments.get("seconds", 0))
            case "huge_line":
                write(b'{"jsonrpc":"2.0","id":%d,"result":{"x":"' % request["id"])
                for _ in range(arguments.get("megabytes", 2)):
                    write(b"x" * 1_000_000)
                write(b'"}}\n')
            case "invalid_json":
                write(b'{"jsonrpc":"2.0","id":%d,"result":{]}\n' % request["id"])
            case "invalid_utf8":
                write(b'{"jsonrpc":"2.0","id":%d,"result":{"x":"\xff\xfe"}}\n' % request["id"])
            case "not_a_number":
                write(b'{"result":{"x":NaN},"jsonrpc":"2.0","id":%d}\n' % request["id"])
            case "lone_surrogate":
                write(b'{"jsonrpc":"2.0","id":%d,"result":{"x":"\\ud800"}}\n' % request["id"])
            case "twice":
                result(request, text("first"))
                result(request, text("second"))
            case "wrong_id":
                for wrong in (None, "x", str(request["id"]), request["id"] + 1_000_000, True, 1.5):
                    send({"jsonrpc": "2.0", "id": wrong, "result": text("wrong")})
                result(request, text("right"))
            case "log":
                message = {"level": "info", "logger": "odd", "data": "a word"}
                send({"jsonrpc": "2.0", "method": "notifications/message", "params": message})
                result(request, text("logged"))
            case "stderr_flood":
                for _ in range(200):
                    sys.stderr.write("x" * 10_000 + "\n")
                sys.stderr.write("y" * 3_000_000)
                sys.stderr.flush()
                result(request, text("flooded"))
            case "flood_progress" | "flood_logs" | "flood_pings" | "flood_answers":
                for message in flood(name, request["params"]["_meta"]["progressToken"]):
                    send(message)
                result(request, text("flooded"))
            case "drip":
                for byte in itertools.cycle(b"x"):
                    write(bytes([byte]))
                    time.sleep(0.05)
            case "half":
                write(b'{"jsonrpc":"2.0","id":%d,"resu' % request["id"])
                os._exit(0)
            case "junk_first":
                write(b"Listening on stdio...\n\n[1, 2]\n{}\n")
                result(request, text("after junk"))
            case "big_integer":
                value = {"n": 2**70, "negative": -(2**64), "exact": 9007199254740993, "nothing": None}
                result(request, {"content": [], "structuredContent": {**value, "echo": arguments.get("n")}})
            case "ask_client":
                send({"jsonrpc": "2.0", "id": "q1", "method": "ping"})
                send({"jsonrpc": "2.0", "id": 2, "method": "sampling/createMessage", "params": {}})
                self.asked.clear()
                while len(self.asked) < 2:
                    self.asked.append(json.loads(sys.stdin.buffer.readline()))
                result(request, {"content": [], "structuredContent": {"answers": self.asked}})
            case "asks":  # these requests of its own, and then as many answers as it is told to wait for
                self.asked.clear()
                for question in arguments["questions"]:
                    send({"jsonrpc": "2.0", **question})
                while len(self.asked) < arguments["answers"]:
                    message = json.loads(sys.stdin.buffer.readline())
                    if "method" not in message:
                        self.asked.append(message)
                result(request, {"content": [], "structuredContent": {"answers": self.asked}})
            case "asks_late":
                result(request, text("done"))
                send({"jsonrpc": "2.0", **arguments["question"]})
            case "pid":
                time.sleep(arguments.get("seconds", 0))
                result(request, {"content": [], "structuredContent": {"pid": os.getpid()}})
            case "error":
                failure = {"code": -32050, "message": "no", "data": {"why": None, "deep": [1]}}
                send({"jsonrpc": "2.0", "id": request["id"], "error": failure})
            case "null_result":
                send({"jsonrpc": "2.0", "id": request["id"], "result": None})
            case "input_required":
                result(request, {"resultType": "input_required", "requestState": "s"})
            case _:
                result(request, text(name))


def flood(kind: str, token: int) -> Iterator[dict]:
    """Yield many messages that nobody asked for; `flood_logs` are 100 MB."""
    for number in range(200 if kind == "flood_logs" else 5_000):
        match kind:
            case "flood_progress":
                params = {"progressToken": token, "progress": number}
                yield {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
            case "flood_logs":
                yield {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x" * 500_000}}
            case "flood_pings":
                yield {"jsonrpc": "2.0", "id": number, "method": "ping"}
            case _:
                yield {"jsonrpc": "2.0", "id": 10**9 + number, "result": {}}


def main() -> None:
    parser = argparse.ArgumentParser()
    eras = ["legacy", "2024", "modern", "future", "silent", "late", "newer", "dies-of-probe", "old-python"]
    parser.add_argument("--era", choices=eras, default="legacy")
    parser.add_argument("--lists", default="")
    parser.add_argument("--pages", default="none", help="none, circle, endless, or how many items a page has")
    parser.add_argument("--journal", default="", help="append every message that comes in to this file")
    OddServer(parser.parse_args()).run()


if __name__ == "__main__":
    main()
