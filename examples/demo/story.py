"""The whole story on real upstream servers: `scripts/demo` and `mcpgw demo` run this file.

Everything here is what an admin, a client or an approver would do: files in a folder, `mcpgw` commands, and the MCP SDK's
client. Each step says what must happen and stops with exit code 1 if it does not.
"""

import argparse
import json
import os
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import venv
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent
from rich.console import Console
from rich.json import JSON
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

HERE = Path(__file__).parent
BANK = HERE.parent / "bank"
TOKEN = "the-banks-own-token"  # the gateway's credential for the bank; no client ever holds it
LARGE = 25_000

console = Console(highlight=False, width=100)


class Unexpected(Exception):
    """A step did not do what the demo promises."""


def must(true: bool, what: str) -> None:
    if not true:
        raise Unexpected(what)
    console.print(Text.assemble(("✓ ", "green"), what))


def chapter(number: int, title: str, about: str) -> None:
    console.print()
    console.rule(f"[bold cyan]{number}. {title}", align="left")
    console.print(Text(about, style="dim"))


# --- the folder ----------------------------------------------------------------------------------------------------------


def mcpgw(folder: Path, *arguments: str, key: str = "", check: bool = True) -> str:
    """Run a command as a person would, show it, and return what it printed."""
    environ = {**os.environ, "COLUMNS": str(console.width), "BANK_TOKEN": TOKEN}
    if key:
        environ["MCPGW_API_KEY"] = key
    command = [sys.executable, "-m", "mcpgw", *arguments]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise Unexpected(f"mcpgw {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done.stdout if check else f"{done.stdout}{done.stderr}exit code {done.returncode}"


def install_upstreams(folder: Path) -> Path:
    """Install two MCP servers from PyPI, by hash, into an environment of their own; return its programs' folder."""
    environment = folder / "upstreams"
    if not (environment / "bin/mcp-server-git").exists():
        locked = next(
            path for path in (HERE / "upstreams.txt", HERE.parents[1] / "requirements/upstreams.txt") if path.exists()
        )
        with console.status("Installing mcp-server-time and mcp-server-git from PyPI, by hash …"):
            venv.create(environment, with_pip=True)
            pip = [str(environment / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(locked)], check=True)
    return environment / "bin"


def make_folder(folder: Path, port: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text((HERE / "config.toml").read_text().replace("@@PORT@@", str(port)))
    mcpgw(folder, "init", ".")
    programs = install_upstreams(folder)
    catalog = folder / "catalog"
    bank = (BANK / "catalog/bank.toml").read_text()
    bank = bank.replace('"python3"', json.dumps(sys.executable)).replace('"server.py"', json.dumps(str(BANK / "server.py")))
    (catalog / "bank.toml").write_text(bank)
    (catalog / "time.toml").write_text(f'transport = "stdio"\ncommand = "{programs / "mcp-server-time"}"\n')
    repository = folder / "catalog"
    git = f'transport = "stdio"\ncommand = "{programs / "mcp-server-git"}"\nargs = ["--repository", "{repository}"]\n'
    (catalog / "git.toml").write_text(git)
    keep(repository, "Servers as entered")
    mcpgw(folder, "catalog", "accept", "--all", "--yes")
    keep(repository, "Tools as accepted")


def keep(repository: Path, why: str) -> None:
    """The catalog is under version control, as it would be at a bank."""
    quiet = ["git", "-C", str(repository), "-c", "user.name=Demo", "-c", "user.email=demo@example.com"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", why]):
        subprocess.run([*quiet, *arguments], check=True)


def make_key(folder: Path, subject: str, group: str) -> str:
    return mcpgw(folder, "keys", "create", "--subject", subject, "--kind", "human", "--group", group).strip()


@contextmanager
def running_gateway(folder: Path, port: int) -> Iterator[str]:
    """Run `mcpgw serve` until the block ends; yield its URL."""
    with (folder / "serve.log").open("w") as log:
        command = [sys.executable, "-m", "mcpgw", "serve"]
        gateway = subprocess.Popen(command, cwd=folder, env={**os.environ, "BANK_TOKEN": TOKEN}, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        anyio.run(ready, url, gateway)
        yield f"{url}/mcp"
    finally:
        gateway.terminate()
        gateway.wait(30)


async def ready(url: str, gateway: "subprocess.Popen[bytes]") -> None:
    async with httpx2.AsyncClient() as http:
        with anyio.fail_after(60):
            while gateway.poll() is None:
                try:
                    if (await http.get(f"{url}/readyz")).status_code == 200:
                        return
                except httpx2.TransportError:
                    pass  # not listening yet
                await anyio.sleep(0.1)
    raise Unexpected("mcpgw serve ended by itself; see serve.log")


# --- a client ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def client(url: str, key: str) -> AsyncIterator[Client]:
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60)
    async with http, Client(streamable_http_client(url, http_client=http)) as connected:
        yield connected


async def tools_of(connected: Client) -> list[str]:
    with anyio.fail_after(20):
        while True:
            names = [tool.name for tool in (await connected.list_tools()).tools]
            if {name.split("__")[0] for name in names} >= {"bank", "git", "time"}:
                return names
            await anyio.sleep(0.2)


async def call(connected: Client, tool: str, /, **arguments: Any) -> Any:
    console.print(Text.assemble(("→ ", "cyan"), (tool, "bold"), f" {json.dumps(arguments)}"))
    return await connected.call_tool(tool, arguments)


def words(result: Any) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def show(text: str, title: str, colour: str = "white") -> None:
    try:
        body: Any = JSON(text)
    except json.JSONDecodeError:
        body = Text(text)
    console.print(Panel(body, title=title, title_align="left", border_style=colour))


# --- the story -----------------------------------------------------------------------------------------------------------


async def two_lists(url: str, keys: dict[str, str]) -> None:
    chapter(
        1,
        "Two people, two lists",
        "Alice is a teller, Bob is in payments. Each sees what he or she may call, and nothing else.",
    )
    table = Table("tool", "alice (teller)", "bob (payments)")
    async with client(url, keys["alice"]) as alice, client(url, keys["bob"]) as bob:
        hers, his = await tools_of(alice), await tools_of(bob)
    for tool in sorted({*hers, *his}):
        table.add_row(tool, "yes" if tool in hers else "", "yes" if tool in his else "")
    console.print(table)
    must("bank__transfer" in his and "bank__transfer" not in hers, "Bob may transfer money; Alice does not even see it.")


async def allowed(url: str, keys: dict[str, str], books: sqlite3.Connection) -> None:
    chapter(
        2,
        "An allowed call, redacted",
        "Alice looks a customer up. The bank answers with everything; she and the record get less.",
    )
    name, ssn, email = books.execute("SELECT name, ssn, email FROM customers WHERE id = 'C-1007'").fetchone()
    async with client(url, keys["alice"]) as alice:
        result = await call(alice, "bank__lookup_customer", who="C-1007")
        show(words(result), "what Alice's model sees", "green")
        everything = words(result) + json.dumps(result.structured_content)
        must(not result.is_error and "C-1007" in everything, "The answer is there, its structure untouched.")
        must(
            not any(secret in everything for secret in (name, ssn, email)),
            "No name, no SSN, no e-mail address left the gateway.",
        )
        now = await call(alice, "time__get_current_time", timezone="America/New_York")
        must("datetime" in words(now), "The time server, from PyPI, answers through the same endpoint.")
        history = await call(alice, "git__git_log", repo_path=str(Path.cwd() / "catalog"), max_count=1)
        must("Tools as accepted" in words(history), "So does the git server, from PyPI.")


async def denied(url: str, keys: dict[str, str]) -> None:
    chapter(
        3,
        "Denied, and blocked",
        "A tool that is hidden looks like one that does not exist. SQL is parsed, not matched by words.",
    )
    async with client(url, keys["alice"]) as alice:
        refusals = [await refusal(alice, tool) for tool in ("bank__transfer", "bank__no_such_tool")]
        must(refusals[0].replace("transfer", "no_such_tool") == refusals[1], "Hidden and unknown tools get the same answer.")
    async with client(url, keys["bob"]) as bob:
        for sql, rule in (
            ("SELECT 1; /* harmless */ DROP TABLE accounts", "no-structure"),
            (
                "WITH rich AS (SELECT id FROM accounts) UPDATE accounts SET balance_cents = 0 WHERE id IN rich",
                "books-are-read-only",
            ),
        ):
            result = await call(bob, "bank__query", sql=sql)
            show(words(result), "what Bob's model sees", "red")
            must(result.is_error and rule in json.dumps(result.meta), f"Blocked by the rule {rule}; the bank was not asked.")
        result = await call(bob, "bank__query", sql="SELECT name, ssn, risk_rating FROM customers LIMIT 2")
        show(words(result), "what Bob's model sees", "green")
        must(not result.is_error and "SSN" in words(result), "A harmless question is answered, and redacted.")


async def refusal(connected: Client, tool: str) -> str:
    try:
        await call(connected, tool)
    except Exception as error:  # the SDK's client raises for a JSON-RPC error
        console.print(Text(f"  {error}", style="red"))
        return str(error)
    raise Unexpected(f"{tool} was not refused")


async def held(url: str, keys: dict[str, str], folder: Path, books: sqlite3.Connection) -> None:
    chapter(
        4,
        "Held for a second person",
        "A transfer is high risk: it waits at a durable desk until somebody else has seen exactly what will run.",
    )
    source, target = richest(books)
    transfer = {"from_account": source, "to_account": target, "amount": LARGE, "memo": "invoice 4711"}
    before = effects(books)
    async with client(url, keys["bob"]) as bob:
        result = await call(bob, "bank__transfer", **transfer)
        show(words(result), "what Bob's model sees", "yellow")
        approval = (result.meta or {})["mcpgw/approval"]["id"]
        must(result.is_error and effects(books) == before, "Held, and nothing was moved.")

        run(folder, keys["carol"], "approvals", "list")
        own = run(folder, keys["bob"], "approvals", "approve", approval, "--yes", check=False)
        must("somebody else must decide" in own and "exit code 1" in own, "Bob cannot approve his own call.")
        run(folder, keys["carol"], "approvals", "show", approval)
        run(folder, keys["carol"], "approvals", "approve", approval, "--yes", "--comment", "Invoice seen")

        result = await call(bob, "bank__transfer", **transfer)
        show(words(result), "the identical call, again", "green")
        must(not result.is_error and effects(books) == before + 1, "Carol approved: the identical call ran, once.")
        again = await call(bob, "bank__transfer", **transfer)
        must(
            words(again) == words(result) and effects(books) == before + 1,
            "A duplicate gets the same result; still one transfer.",
        )
        other = await call(bob, "bank__transfer", **{**transfer, "amount": LARGE + 1})
        must(other.is_error and effects(books) == before + 1, "One dollar more is another call, and is held again.")


def richest(books: sqlite3.Connection) -> tuple[str, str]:
    """Return two accounts that money can be moved between."""
    by_balance = "SELECT id FROM accounts WHERE status = 'open' ORDER BY balance_cents DESC LIMIT 2"
    (source,), (target,) = books.execute(by_balance).fetchall()
    return source, target


async def escalated(url: str, keys: dict[str, str], folder: Path, books: sqlite3.Connection) -> None:
    chapter(
        5,
        "Nobody answers",
        "Closing an account asks the payments leads first. Carol is away; after some seconds of silence the heads are asked.",
    )
    (account,) = books.execute("SELECT id FROM accounts WHERE status = 'open' ORDER BY balance_cents LIMIT 1").fetchone()
    before = effects(books)
    async with client(url, keys["bob"]) as bob:
        result = await call(bob, "bank__close_account", account=account)
        show(words(result), "what Bob's model sees", "yellow")
        approval = (result.meta or {})["mcpgw/approval"]["id"]
        must(result.is_error and effects(books) == before, "Held: the leads are asked, and none of them answers.")
        with console.status("Nobody decides …"):
            await listed(folder, keys["dave"], approval)
        shown = run(folder, keys["dave"], "approvals", "show", approval)
        must("1 of 1 escalations" in shown, "Silence is not consent: now the heads are asked, and Dave finds it on his list.")
        run(folder, keys["dave"], "approvals", "approve", approval, "--yes", "--comment", "The customer has signed")
        result = await call(bob, "bank__close_account", account=account)
        must(not result.is_error and effects(books) == before + 1, "Dave approved: the account is closed, once.")
        run(folder, "", "log", "--approval", approval)


async def listed(folder: Path, key: str, approval: str) -> None:
    """Wait until the approval is on somebody's list, which it is only from the moment on at which they are asked."""
    for _ in range(60):
        if approval in mcpgw(folder, "approvals", "list", "--json", key=key):
            return
        await anyio.sleep(0.5)
    raise Unexpected(f"{approval} was never escalated")


async def granted(url: str, keys: dict[str, str], folder: Path, books: sqlite3.Connection) -> None:
    chapter(
        6,
        "Asked ahead",
        "Bob has rents to pay. He asks once for all: between two accounts, 900 at most each, 1,500 in all, within an hour.",
    )
    source, target = richest(books)
    rent = {"from_account": source, "to_account": target, "amount": 500, "memo": "rent"}
    example = ("--arguments", json.dumps(rent), "--vary", '{"amount": {"at_most": 900}}')
    bounds = ("--calls", "5", "--total", "amount=1500", "--for", "1h")
    asked = run(folder, keys["bob"], "access", "request", "bank__transfer", *example, *bounds)
    grant, before = asked.partition(":")[0], effects(books)
    shown = run(folder, keys["carol"], "approvals", "show", grant)
    must('"amount": any number up to 900' in shown, "Carol sees in sentences what would be granted, not only an example.")
    run(folder, keys["carol"], "approvals", "approve", grant, "--yes", "--comment", "Until the rents are paid")
    async with client(url, keys["bob"]) as bob:
        paid = [await call(bob, "bank__transfer", **{**rent, "amount": amount}) for amount in (500, 850)]
        must(
            not any(result.is_error for result in paid) and effects(books) == before + 2,
            "Two rents are paid at once, each counted against the grant; nobody had to be asked again.",
        )
        dear = await call(bob, "bank__transfer", **{**rent, "amount": 901})
        must(dear.is_error, "901 is more than was granted for one transfer: held by itself.")
        sums = await call(bob, "bank__transfer", **{**rent, "amount": 200})
        must(sums.is_error, "200 would make it more than 1,500 in all: held by itself.")
        run(folder, keys["carol"], "approvals", "revoke", grant, "--comment", "That was the last one")
        late = await call(bob, "bank__transfer", **{**rent, "amount": 100})
        must(
            late.is_error and effects(books) == before + 2, "Carol took the grant back: 100, which would have fitted, is held."
        )
        run(folder, keys["bob"], "access", "list", "--all")


def effects(books: sqlite3.Connection) -> int:
    (count,) = books.execute("SELECT count(*) FROM effects").fetchone()
    return int(count)


def run(folder: Path, key: str, *arguments: str, check: bool = True) -> str:
    """Show a command and what it says."""
    console.print(Text(f"$ mcpgw {shlex.join(arguments)}", style="bold"))
    output = mcpgw(folder, *arguments, key=key, check=check)
    console.print(Text(output.rstrip()), overflow="fold")
    return output


def proof(folder: Path) -> None:
    chapter(7, "The record", "Every call, refusal, vote and effect is one leaf of a signed Merkle tree.")
    run(folder, "", "log", "--limit", "14")
    checkpoint = folder / "checkpoint.txt"
    checkpoint.write_text(mcpgw(folder, "checkpoint"))
    console.print(Text(f"$ mcpgw checkpoint > {checkpoint.name}", style="bold"))
    output = run(folder, "", "verify", "--against", checkpoint.name)
    must("✓" in output, "Verified against a checkpoint that an auditor would keep elsewhere.")

    chapter(
        8, "Somebody changes it", "One byte of one record, in a copy of the database, by somebody with full access to the disk."
    )
    copy = folder / "tampered"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("upstreams", "tampered", "nodes", "*.pid"))
    seq = flip_a_byte(copy / "data/ledger.db")
    output = run(copy, "", "verify", "--against", checkpoint.name, check=False)
    must("✗" in output and str(seq) in output, f"Found, and located: record {seq}.")


def flip_a_byte(database: Path) -> int:
    """Change one byte of a call's record behind the gateway's back, triggers and all; return the record's number."""
    with sqlite3.connect(database) as db:
        for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f'DROP TRIGGER "{trigger}"')
        seq, leaf = db.execute("SELECT seq, leaf FROM records WHERE kind = 'call.intent' ORDER BY seq LIMIT 1").fetchone()
        changed = bytearray(leaf)
        changed[changed.index(b'"sub":"alice"') + 7] ^= 3  # "alice" becomes "blice"
        db.execute("UPDATE records SET leaf = ? WHERE seq = ?", (bytes(changed), seq))
    db.close()
    return int(seq)


def ending(folder: Path, url: str, keys: dict[str, str]) -> None:
    chapter(9, "Connect your own client", f"The folder {folder} is yours to explore: config.toml, catalog/, data/.")
    desktop = {
        "mcpServers": {
            "bank": {
                "command": sys.executable,
                "args": ["-m", "mcpgw", "stdio", "-C", str(folder)],
                "env": {"MCPGW_API_KEY": keys["alice"], "BANK_TOKEN": TOKEN},
            }
        }
    }
    show(json.dumps(desktop), "Claude Desktop: claude_desktop_config.json", "cyan")
    page = url.removesuffix("/mcp")
    console.print(
        Text(f"The console, while the gateway runs: {page} (Carol's key: {keys['carol']})", style="dim"), soft_wrap=True
    )
    console.print(
        Text(f"Over HTTP: BANK_TOKEN={TOKEN} {sys.executable} -m mcpgw serve -C {folder}, then", style="dim"), soft_wrap=True
    )
    add = f"claude mcp add -s project -t http bank {url} -H 'Authorization: Bearer ${{MCPGW_API_KEY}}'"
    console.print(Text(f"{add}, with Alice's key, above, in MCPGW_API_KEY"), soft_wrap=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("mcpgw-demo"), help="made, or made anew")
    folder: Path = parser.parse_args().folder.absolute()
    marker = folder / ".mcpgw-demo"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        sys.exit(f"demo: {folder} is not empty and was not made by the demo; name another folder")
    for old in ("data", "keys", "catalog", "bank.db", "config.toml"):
        path = folder / old
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()
    os.chdir(folder)

    console.print(Panel("mcpgw: one MCP endpoint in front of a bank's servers, with proof of what happened behind it."))
    port = free_port()
    with console.status("Making a gateway's folder: settings, keys, catalog, a bank with made-up customers …"):
        make_folder(folder, port)
        keys = {name: make_key(folder, name, group) for name, group in PEOPLE.items()}
    try:
        play(folder, port, keys)
    except* Unexpected as group:
        for unexpected in leaves(group):
            console.print(Text(f"✗ this should not happen: {unexpected}", style="bold red"))
        sys.exit(1)


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


def play(folder: Path, port: int, keys: dict[str, str]) -> None:
    with running_gateway(folder, port) as url:
        console.print(Text(f"The gateway serves {url} in front of three servers: bank, time, git."))
        with sqlite3.connect(folder / "bank.db", isolation_level=None) as books:
            anyio.run(two_lists, url, keys)
            anyio.run(allowed, url, keys, books)
            anyio.run(denied, url, keys)
            anyio.run(held, url, keys, folder, books)
            anyio.run(escalated, url, keys, folder, books)
            anyio.run(granted, url, keys, folder, books)
        books.close()
        proof(folder)
    ending(folder, url, keys)


PEOPLE = {"alice": "tellers", "bob": "payments", "carol": "payments-leads", "dave": "payments-heads"}

if __name__ == "__main__":
    main()
