"""A token's whole way: out of a real upstream as a pseudonym, back into it as the value, and nowhere in between."""

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import anyio
import apsw
import pytest

from mcpgw.ledger.record import unpack
from mcpgw.ledger.sqlite import FILE
from tests.flows.gateway import Folder, Gateway, make_folder, serving, until_listed
from tests.real_servers import ROOT

BANK = ROOT / "examples" / "bank"
CONFIG = """
[redaction.profiles.default]
default = "token"

[roles.analysts]
members = ["group:all"]
scopes = ["bank:sql"]

[scopes."bank:sql"]
by_name = true

[[rules]]
id = "numbers"
effect = "deny"
tools = ["bank__query"]
when = "args.sql.matches('blocked [0-9]{3}-[0-9]{2}-[0-9]{4}')"
reason = "Not with a number in it."
"""
OUT = "SELECT name, ssn FROM customers LIMIT 1"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = make_folder(tmp_path_factory.mktemp("tokens") / "gateway", CONFIG, environ={"BANK_TOKEN": "the-banks-own-token"})
    folder.key("alice", "all")
    folder.key("bob", "all")
    bank = (BANK / "catalog" / "bank.toml").read_text()
    bank = bank.replace('"python3"', json.dumps(sys.executable)).replace('"server.py"', json.dumps(str(BANK / "server.py")))
    folder.server("bank", bank.replace("[tools.query]", "[tools.query]\nrestore_tokens = true"))
    folder.accept()
    with serving(folder) as gateway:
        yield gateway


async def asked(gateway: Gateway, subject: str, tool: str, arguments: dict[str, Any]) -> Any:
    async with gateway.client("http 2026", gateway.folder.keys[subject]) as client:
        await until_listed(client, f"bank__{tool}")
        result = await client.call_tool(f"bank__{tool}", arguments)
        return result.structured_content


async def test_a_token_makes_its_round_trip_and_nobody_on_the_way_sees_the_value(gateway: Gateway) -> None:
    with anyio.fail_after(60):
        first = (await asked(gateway, "alice", "query", {"sql": OUT}))["rows"][0]
        with closing(sqlite3.connect(gateway.folder.path / "bank.db")) as books:
            name, ssn = books.execute(OUT).fetchone()
        token = first["ssn"]
        assert token.startswith("<US_SSN_") and name not in json.dumps(first)

        ask = {"sql": f"SELECT count(*) AS hits, '{token}' AS said FROM customers WHERE ssn = '{token}'"}
        answer = (await asked(gateway, "alice", "query", ask))["rows"]
        assert answer == [{"hits": 1, "said": token}], "the bank got the number, and its echo of it was turned back"
        answer = (await asked(gateway, "bob", "query", ask))["rows"]
        assert answer == [{"hits": 0, "said": token}], "another identity sends the token's own letters"

        denied = await asked(gateway, "alice", "query", {"sql": f"SELECT 'blocked {token}'"})
        assert denied is None, "policy judges what would run"

        kept = "".join(payloads(gateway.folder))
        assert token in kept, "the record holds what was shown"
        assert ssn not in kept and name not in kept
        files = b"".join(path.read_bytes() for path in gateway.folder.data.rglob("*") if path.is_file())
        assert ssn.encode() not in files and name.encode() not in files
        lines = [line for record in gateway.folder.records("call.intent") for line in masking(record)]
        assert any("token-restored@1" in line for line in lines) and any("token-unknown@1" in line for line in lines)


def masking(record: dict[str, Any]) -> list[str]:
    return [json.dumps(line) for manifest in record.get("masking", {}).values() for line in manifest["masked"]]


def payloads(folder: Folder) -> list[str]:
    """Return every clean view that the ledger holds, unpacked."""
    with closing(apsw.Connection(str(folder.data / FILE), flags=apsw.SQLITE_OPEN_READONLY)) as ledger:
        return [unpack(body).decode("utf-8") for (body,) in ledger.execute("SELECT body FROM payloads")]
