"""A stdio MCP server without any library whose one tool answers with the bytes of a file: `verbatim_server.py FILE`."""

import json
import sys
from pathlib import Path

TOOL = {"name": "answer", "inputSchema": {"type": "object"}}
KNOWN = {"tools/list": {"tools": [TOOL, {**TOOL, "name": "other"}]}, "ping": {}}


def answer(request: dict) -> str:
    """Return the members of the answer behind `id`, as JSON text."""
    match request["method"]:
        case "initialize":
            told = {
                "protocolVersion": request["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "verbatim", "version": "1"},
            }
            return f'"result":{json.dumps(told)}'
        case "tools/call":
            return f'"result":{Path(sys.argv[1]).read_text(encoding="ascii")}'
        case method if method in KNOWN:
            return f'"result":{json.dumps(KNOWN[method])}'
    return '"error":{"code":-32601,"message":"Method not found"}'


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and "method" in message:
        print(f'{{"jsonrpc":"2.0","id":{json.dumps(message["id"])},{answer(message)}}}', flush=True)
