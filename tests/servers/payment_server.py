"""An MCP server over stdio whose payments can be tried first: `payment_server.py MARKER`, a file that says what was done."""

import sys
from pathlib import Path

import anyio
from mcp.server.mcpserver import MCPServer

server = MCPServer("payments", version="1.0.0", log_level="ERROR")
MARKER = Path(sys.argv[1])


def note(line: str) -> None:
    with MARKER.open("a", encoding="utf-8") as marker:
        marker.write(f"{line}\n")


@server.tool()
async def pay(to: str, amount: int, dry_run: bool = False) -> str:
    """Pay, or say what would be paid."""
    if to == "nobody":
        raise ValueError("there is no such account")
    if dry_run:
        if to == "slow":
            await anyio.sleep(60)
        note("tried")
        return f"would pay {amount} to {to}, of {to}@example.com\u202e" + "!" * (5_000 if to == "loud" else 0)
    note("paid")
    return f"paid {amount}"


@server.tool()
def cancel(reference: str) -> str:
    """Cancel a payment."""
    note("cancelled")
    return f"cancelled {reference}"


@server.tool(name="look_at")
def look(reference: str) -> dict[str, str]:
    """Say what would be cancelled."""
    note("looked")
    return {"reference": reference, "state": "booked"}


if __name__ == "__main__":
    server.run("stdio")
