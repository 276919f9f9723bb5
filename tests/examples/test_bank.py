"""The example bank behaves as its README says, over every transport and in both eras of the protocol."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult
from presidio_analyzer.predefined_recognizers import (
    AbaRoutingRecognizer,
    CreditCardRecognizer,
    IbanRecognizer,
    PhoneRecognizer,
    UsItinRecognizer,
    UsSsnRecognizer,
)

from mcpgw.catalog.load import load_catalog
from mcpgw.core.model import Risk, TargetKind

BANK = Path(__file__).parents[2] / "examples" / "bank"
SERVER = str(BANK / "server.py")
TOKEN = "the-bank-and-the-gateway-know"
TOOLS = ["close_account", "list_transactions", "lookup_customer", "query", "statement_report", "transfer"]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "bank.db"
    subprocess.run([sys.executable, BANK / "seed.py", path], check=True, timeout=30)
    return path


def effects(db: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute("SELECT tool, account_id, amount_cents, audit_id FROM effects ORDER BY id").fetchall()


def environment() -> dict[str, str]:
    return {**os.environ, "BANK_TOKEN": TOKEN}


@asynccontextmanager
async def over_stdio(db: Path, mode: str = "auto") -> AsyncIterator[Client]:
    command = StdioServerParameters(
        command=sys.executable, args=[SERVER, "--db", str(db), "--month-s", "0.01"], env={"BANK_TOKEN": TOKEN}
    )
    async with Client(command, mode=mode) as client:
        yield client


@contextmanager
def listening(db: Path, transport: str) -> Iterator[str]:
    command = [sys.executable, SERVER, "--db", str(db), "--transport", transport, "--month-s", "0.01"]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=15)


def structured(result: CallToolResult) -> Any:
    assert not result.is_error, result.content
    return result.structured_content


async def whole_story(client: Client, db: Path) -> None:
    """List, look up, move money, read SQL, write SQL, close: and every change is counted once."""
    assert sorted(tool.name for tool in (await client.list_tools()).tools) == TOOLS
    customers = structured(await client.call_tool("lookup_customer", {"who": "C-1001"}))["customers"]
    assert [customer["id"] for customer in customers] == ["C-1001"]
    money = {"from_account": "CHK-100001", "to_account": "CHK-100002", "amount": 12.34, "memo": "lunch"}
    moved = structured(await client.call_tool("transfer", money))
    newest = structured(await client.call_tool("list_transactions", {"account": "CHK-100002", "limit": 1}))["transactions"]
    assert (newest[0]["amount"], newest[0]["memo"]) == (12.34, "lunch")
    rows = structured(await client.call_tool("query", {"sql": "SELECT ssn FROM customers ORDER BY id LIMIT 2"}))
    assert (len(rows["rows"]), rows["changed"]) == (2, 0)
    written = structured(await client.call_tool("query", {"sql": "UPDATE customers SET notes = ''"}))
    assert written["changed"] == 200
    closed = structured(await client.call_tool("close_account", {"account": "CHK-100002"}))
    assert closed["paid_out"] > 12.34
    seen = effects(db)
    assert [(tool, account) for tool, account, _, _ in seen] == [
        ("transfer", "CHK-100001"),
        ("query", ""),
        ("close_account", "CHK-100002"),
    ]
    assert (seen[0][2], seen[0][3], seen[2][3]) == (1234, moved["audit_id"], closed["audit_id"])


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_the_bank_serves_both_eras_over_stdio(db: Path, mode: str) -> None:
    with anyio.fail_after(30):
        async with over_stdio(db, mode) as client:
            await whole_story(client, db)


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_the_bank_serves_both_eras_over_http_to_the_bearer_of_its_token(db: Path, mode: str) -> None:
    with anyio.fail_after(30), listening(db, "http") as url:
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
            async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
                await whole_story(client, db)
            for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": ""}):
                refused = await http.post(url, json={}, headers=headers)
                assert refused.status_code == 401


async def test_the_bank_serves_sse_to_the_bearer_of_its_token(db: Path) -> None:
    with anyio.fail_after(30), listening(db, "sse") as url:
        async with Client(sse_client(url, headers={"Authorization": f"Bearer {TOKEN}"}), mode="legacy") as client:
            await whole_story(client, db)
        async with httpx2.AsyncClient() as http:
            assert (await http.get(url)).status_code == 401


async def test_without_its_token_the_bank_does_not_start(db: Path) -> None:
    command = [sys.executable, SERVER, "--db", str(db)]
    done = await anyio.run_process(command, env={**environment(), "BANK_TOKEN": ""}, check=False)
    assert done.returncode == 1
    assert b"BANK_TOKEN is not set" in done.stderr


async def test_a_statement_reports_its_progress(db: Path) -> None:
    seen: list[tuple[float, float | None]] = []

    async def progress(done: float, total: float | None, _message: str | None) -> None:
        seen.append((done, total))

    with anyio.fail_after(30):
        async with over_stdio(db) as client:
            arguments = {"account": "CHK-100001", "months": 3}
            report = await client.call_tool("statement_report", arguments, progress_callback=progress)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert report.structured_content is None
    assert "2026-06" in json.dumps([block.model_dump() for block in report.content])


REFUSALS = [
    ("transfer", {"from_account": "CHK-100001", "to_account": "CHK-100002", "amount": 9_999_999}, "does not hold"),
    ("transfer", {"from_account": "CHK-100001", "to_account": "CHK-100002", "amount": 0.001}, "fractions of a cent"),
    ("transfer", {"from_account": "CHK-100001", "to_account": "CHK-100002", "amount": -1}, "greater than 0"),
    ("transfer", {"from_account": "CHK-100001", "to_account": "CHK-100001", "amount": 1}, "same account"),
    ("transfer", {"from_account": "CHK-100001", "to_account": "CHK-999999", "amount": 1}, "no account CHK-999999"),
    ("close_account", {"account": "1; DROP TABLE accounts"}, "pattern"),
    ("query", {"sql": "SELEC 1"}, "syntax error"),
    ("query", {"sql": "DELETE FROM accounts; DELETE FROM customers"}, "one statement"),
    ("list_transactions", {"account": "CHK-999999"}, "no account"),
]


async def test_what_the_bank_refuses_has_no_effect(db: Path) -> None:
    with anyio.fail_after(30):
        async with over_stdio(db) as client:
            for name, arguments, words in REFUSALS:
                result = await client.call_tool(name, arguments)
                assert result.is_error
                assert words in json.dumps([block.model_dump() for block in result.content])
    assert effects(db) == []


async def test_the_bank_lets_sql_do_anything_because_guarding_it_is_the_gateways_part(db: Path) -> None:
    with anyio.fail_after(30):
        async with over_stdio(db) as client:
            structured(await client.call_tool("query", {"sql": "DROP TABLE transactions"}))
            assert (await client.call_tool("list_transactions", {"account": "CHK-100001"})).is_error
    assert [tool for tool, *_ in effects(db)] == ["query"]


async def test_annotations_and_schemas_tell_reading_from_destroying(db: Path) -> None:
    with anyio.fail_after(30):
        async with over_stdio(db) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    said = {
        name: (tool.annotations.read_only_hint, tool.annotations.destructive_hint)
        for name, tool in tools.items()
        if tool.annotations
    }
    reads, writes, destroys = (True, None), (False, False), (False, True)
    assert said == {
        "lookup_customer": reads,
        "list_transactions": reads,
        "statement_report": reads,
        "transfer": writes,
        "query": destroys,
        "close_account": destroys,
    }
    assert [name for name, tool in tools.items() if tool.output_schema is None] == ["statement_report"]


def test_the_books_are_the_same_at_every_seeding(db: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.db"
    subprocess.run([sys.executable, BANK / "seed.py", again], check=True, timeout=30)
    with closing(sqlite3.connect(db)) as first, closing(sqlite3.connect(again)) as second:
        assert list(first.iterdump()) == list(second.iterdump())
        counts = [
            first.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("customers", "accounts", "transactions")
        ]
    assert counts == [200, 300, 2000]


def test_personal_data_is_what_the_detectors_recognise_and_nobody_owns(db: Path) -> None:
    with closing(sqlite3.connect(db)) as books:
        customers = books.execute("SELECT ssn, phone, email, card_number FROM customers").fetchall()
        accounts = books.execute("SELECT DISTINCT iban, routing_number FROM accounts").fetchall()
    recognisers = {
        UsSsnRecognizer: [row[0] for row in customers],
        PhoneRecognizer: [row[1] for row in customers],
        CreditCardRecognizer: [row[3] for row in customers],
        IbanRecognizer: [row[0] for row in accounts],
        AbaRoutingRecognizer: [row[1] for row in accounts],
    }
    for kind, values in recognisers.items():
        recogniser = kind()
        missed = [value for value in values if not recogniser.analyze(value, recogniser.supported_entities, None)]
        assert not missed, kind
    itin = UsItinRecognizer()
    assert not [ssn for ssn, *_ in customers if itin.analyze(ssn, itin.supported_entities, None)]
    assert all(ssn.startswith("9") for ssn, *_ in customers)  # areas 900 to 999 are never issued
    assert all(email.endswith("@example.com") and " 555-01" in phone for _, phone, email, _ in customers)


def test_the_catalog_entry_is_one_that_the_gateway_accepts() -> None:
    entry = load_catalog(BANK / "catalog").entries["bank"]
    assert sorted(entry.single[TargetKind.TOOL]) == TOOLS
    risky = {name for name in TOOLS if entry.rules(TargetKind.TOOL, name).risk is Risk.HIGH}
    assert risky == {"transfer", "close_account"}
    assert "ssn" in entry.rules(TargetKind.TOOL, "query").masking.columns
    access = entry.resolve(BANK, {"BANK_TOKEN": TOKEN})
    assert access.env == {"BANK_TOKEN": TOKEN}
