"""A small bank as an MCP server, made to be guarded: it offers personal data, money, and SQL that can do anything.

    BANK_TOKEN=… python examples/bank/server.py --db bank.db                             # stdio
    BANK_TOKEN=… python examples/bank/server.py --db bank.db --transport http --port 0   # Streamable HTTP at /mcp
    BANK_TOKEN=… python examples/bank/server.py --db bank.db --transport sse  --port 0   # HTTP+SSE at /sse

The token is the gateway's credential, never a client's: over stdio it must be in the environment, over HTTP every request bears
it. Missing books are made (`seed.py`). All protocol versions of the SDK are served, 2026-07-28 and the older ones.
"""

import argparse
import hmac
import os
import socket
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.to_thread
import seed
import uvicorn
from books import BankError, Books
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

READ = ToolAnnotations(read_only_hint=True, open_world_hint=False)
WRITE = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
DESTROY = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False)

AccountId = Annotated[str, Field(description="An account such as CHK-100001 or SAV-100002.", pattern=r"^(CHK|SAV)-\d{6}$")]


class Account(TypedDict):
    id: str
    customer_id: str
    kind: str
    routing_number: str
    iban: str
    balance: float
    status: str


class Customer(TypedDict):
    id: str
    name: str
    ssn: str
    date_of_birth: str
    email: str
    phone: str
    address: str
    card_number: str
    risk_rating: str
    notes: str
    accounts: list[Account]


class Customers(TypedDict):
    customers: list[Customer]


class Transaction(TypedDict):
    id: str
    account_id: str
    posted: str
    amount: float
    counterparty: str
    memo: str


class Transactions(TypedDict):
    transactions: list[Transaction]


class Rows(TypedDict):
    rows: list[dict[str, Any]]
    changed: int


class Transferred(TypedDict):
    audit_id: str
    from_balance: float


class Closed(TypedDict):
    audit_id: str
    paid_out: float


def bank(books: Books, month_s: float) -> MCPServer[Any]:
    """Return the server. `month_s` is how long a month of `statement_report` takes, in seconds."""
    server: MCPServer[Any] = MCPServer(
        "bank", title="Example Bank", version="1.0.0", instructions="Amounts are US dollars.", log_level="WARNING"
    )

    async def do(work: Any, *arguments: Any) -> Any:
        """Run in a thread, because SQLite blocks; a started change is finished even if its caller leaves."""
        try:
            return await anyio.to_thread.run_sync(work, *arguments)
        except BankError as error:
            raise ToolError(str(error)) from error

    @server.tool(title="Look up a customer", annotations=READ)
    async def lookup_customer(
        who: Annotated[str, Field(description="A customer id such as C-1001, or a part of the name.", min_length=2)],
    ) -> Customers:
        """Find customers by id or name, with their contact data and accounts."""
        return {"customers": await do(books.customers, who)}

    @server.tool(title="List transactions", annotations=READ)
    async def list_transactions(account: AccountId, limit: Annotated[int, Field(ge=1, le=200)] = 20) -> Transactions:
        """List the newest transactions of an account."""
        return {"transactions": await do(books.transactions, account, limit)}

    @server.tool(title="Run SQL", annotations=DESTROY)
    async def query(sql: Annotated[str, Field(description="One SQLite statement.", max_length=10_000)]) -> Rows:
        """Run one SQL statement on the tables customers, accounts and transactions. It may read and write."""
        rows, changed = await do(books.query, sql)
        return {"rows": rows, "changed": changed}

    @server.tool(title="Transfer money", annotations=WRITE)
    async def transfer(
        from_account: AccountId,
        to_account: AccountId,
        amount: Annotated[float, Field(description="US dollars.", gt=0, le=10_000_000)],
        memo: Annotated[str, Field(max_length=140)] = "",
    ) -> Transferred:
        """Move money from one account to another, at once and for good."""
        result: Transferred = await do(books.transfer, from_account, to_account, Decimal(str(amount)), memo)
        return result

    @server.tool(title="Close an account", annotations=DESTROY)
    async def close_account(account: AccountId) -> Closed:
        """Close an account for good and pay out what it holds."""
        result: Closed = await do(books.close, account)
        return result

    @server.tool(title="Write a statement", annotations=READ, structured_output=False)
    async def statement_report(
        account: AccountId, ctx: Context[Any, Any], months: Annotated[int, Field(ge=1, le=12)] = 6
    ) -> str:
        """Write an account statement over the last months as text. It takes a while and reports its progress."""
        lines = [f"Statement of account {account}"]
        for done, month in enumerate(_months(months), start=1):
            lines += ["", month]
            for row in await do(books.month, account, month):
                lines.append(f"{row['posted']}  {row['amount']:>12,.2f}  {row['counterparty']} ({row['memo']})")
            await anyio.sleep(month_s)
            await ctx.report_progress(done, months, f"{month} is written")
        return "\n".join(lines)

    return server


def _months(count: int) -> list[str]:
    """Return the last months of the seeded books, the oldest first."""
    last = date(2026, 6, 1)
    numbers = [last.year * 12 + last.month - 1 - back for back in range(count)]
    return [f"{number // 12}-{number % 12 + 1:02d}" for number in reversed(numbers)]


class BearerOnly:
    """ASGI middleware: every HTTP request must bear the bank's token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                refusal = PlainTextResponse("The bank's token is needed.\n", 401, {"WWW-Authenticate": "Bearer"})
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def serve_http(app: ASGIApp, token: str, port: int, path: str) -> None:
    """Serve on loopback until a signal; say on standard error where, since port 0 lets the system choose."""
    listener = socket.create_server(("127.0.0.1", port))
    print(f"bank: http://127.0.0.1:{listener.getsockname()[1]}{path}", file=sys.stderr, flush=True)
    config = uvicorn.Config(BearerOnly(app, token), log_level="warning", timeout_graceful_shutdown=2)
    await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--db", type=Path, required=True, help="the books; made if they are missing")
    parser.add_argument("--transport", choices=("stdio", "http", "sse"), default="stdio")
    parser.add_argument("--port", type=int, default=0, help="for http and sse; 0 takes a free one")
    parser.add_argument("--month-s", type=float, default=0.25, help="seconds that statement_report takes for a month")
    options = parser.parse_args()
    token = os.environ.get("BANK_TOKEN", "")
    if not token:
        sys.exit("bank: BANK_TOKEN is not set: the bank serves nobody without its credential")
    if not options.db.exists():
        seed.create(options.db)
    server = bank(Books(options.db), options.month_s)
    match options.transport:
        case "http":
            anyio.run(serve_http, server.streamable_http_app(), token, options.port, "/mcp")
        case "sse":
            anyio.run(serve_http, server.sse_app(), token, options.port, "/sse")
        case _:
            server.run("stdio")


if __name__ == "__main__":
    main()
