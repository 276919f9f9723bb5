"""FastMCP before many servers, as its documentation shows it: a proxy mounted for each. `fastmcp_mounts.py PORT FILE`."""

import json
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastmcp import FastMCP
from fastmcp.client.transports import StdioTransport
from fastmcp.server import create_proxy


def target(entry: dict[str, Any]) -> Any:
    if entry["transport"] == "http":
        return entry["url"]
    return StdioTransport(entry["command"], entry["args"], cwd=entry["cwd"])


def main() -> None:
    port, entries = int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    gateway: Any = FastMCP("gateway")
    for name, entry in entries.items():
        gateway.mount(create_proxy(target(entry)), namespace=name)
    uvicorn.run(gateway.http_app(), host="127.0.0.1", port=port, log_level="error", loop="uvloop", http="httptools")


if __name__ == "__main__":
    main()
