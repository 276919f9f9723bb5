"""The vault as people meet it: what is sealed, who can open it, and where raw values are not."""

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pyrage
import pytest

from mcpgw.catalog.registry import Registry
from mcpgw.cli.check import vaulted
from mcpgw.cli.common import open_folder
from mcpgw.core.canonical import commitment
from mcpgw.ledger.evidence.archive import unpack as unpacked
from mcpgw.ledger.record import unpack
from mcpgw.ledger.sqlite import FILE, SqliteStore
from mcpgw.ledger.unseal import Identities
from mcpgw.ledger.vault import Sheet
from mcpgw.settings import Settings, VaultSettings
from tests.faults.process import descendants
from tests.flows.gateway import BOUND_S, Gateway, make_folder, serving, until_listed, words
from tests.real_servers import OUR_SERVERS, ROOT

AGE = ROOT / ".age" / "usr" / "bin" / "age"
SSN, ACCOUNT, PASSWORD, CODE = "219-09-9999", "4929 1234 5678 9014", "correct-horse-battery-7", "918"
FLEETING = tuple(f"536-22-87{number}" for number in range(10, 30))
"""Each sent once, and no part of any answer."""
MORE_CALLS = 200
"""Of different lengths, ten at a time. Mostly ten were enough; once in a while a piece of memory lies idle for all of them."""
MAY_LIE_IDLE = len(FLEETING) // 4
RESULT = (
    '{"content":[{"type":"text","text":"The SSN is 219-09-9999, caf\\u00e9."}],'
    '"isError":false,"structuredContent":{"b":1,"a":2.50}}'
)
"""As the upstream writes it. The gateway reads it as JSON: 2.50 is 2.5 from then on."""


@pytest.fixture(scope="module")
def key() -> pyrage.x25519.Identity:
    return pyrage.x25519.Identity.generate()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, key: pyrage.x25519.Identity) -> Iterator[Gateway]:
    path = tmp_path_factory.mktemp("vault")
    (path / "result.json").write_text(RESULT)
    folder = make_folder(path / "gateway", f'[vault]\nmode = "sealed"\nrecipients = ["{key.to_public()}"]\nmax_bytes = 2000\n')
    folder.key("alice", "all")
    more = '[defaults]\nvault = true\nvault_except = ["memo"]\n[tools.other]\nvault = false\n'
    folder.spawned("bank", [sys.executable, str(OUR_SERVERS / "verbatim_server.py"), str(path / "result.json")], more)
    folder.accept()
    with serving(folder) as gateway:
        yield gateway


async def called(gateway: Gateway, tool: str, arguments: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Return the answer and the records of one call."""
    before = len(gateway.folder.records("call.*"))
    async with gateway.client("http 2026", gateway.folder.keys["alice"]) as client:
        with anyio.fail_after(BOUND_S):
            await until_listed(client, tool)
            answer = words(await client.call_tool(tool, arguments))
    return answer, gateway.folder.records("call.*")[before:]


def stored(gateway: Gateway, seq: int, slot: str) -> list[bytes]:
    with closing(SqliteStore.connect_read_only(gateway.folder.data / FILE)) as store:
        return [unpack(one.packed) for one in store.payload(seq, slot)]


def opened(gateway: Gateway, key: pyrage.x25519.Identity, record: dict[str, Any], slot: str) -> Sheet:
    (file,) = stored(gateway, record["seq"], slot)
    return Identities(str(key)).open(file)


async def test_raw_arguments_and_results_are_for_the_key_alone(gateway: Gateway, key: pyrage.x25519.Identity) -> None:
    arguments = {"ssn": SSN, "amount": 5}
    answer, (intent, outcome) = await called(gateway, "bank__answer", arguments)
    assert answer == "The SSN is <US_SSN>, café."
    went, came = opened(gateway, key, intent, "arguments.sealed"), opened(gateway, key, outcome, "result.sealed")
    assert (went.slot, went.call_id, json.loads(went.body)) == ("arguments", intent["call"], arguments)
    assert came.body == RESULT.replace("2.50", "2.5").encode()
    assert went.proves(intent["payloads"]["arguments.raw"]["sha256"])
    assert came.proves(outcome["payloads"]["result.raw"]["sha256"]) and came.size == outcome["payloads"]["result.raw"]["size"]


@pytest.mark.skipif(not AGE.exists(), reason="run scripts/age first")
async def test_a_stock_age_shows_what_the_upstream_sent(gateway: Gateway, key: pyrage.x25519.Identity, tmp_path: Path) -> None:
    _, (_, outcome) = await called(gateway, "bank__answer", {})
    (tmp_path / "key.txt").write_text(f"{key}\n")
    (file,) = stored(gateway, outcome["seq"], "result.sealed")
    with anyio.fail_after(BOUND_S):
        done = await anyio.run_process([AGE, "--decrypt", "-i", tmp_path / "key.txt"], input=file)
    head, _, body = done.stdout.partition(b"\n")
    assert body == RESULT.replace("2.50", "2.5").encode()
    assert commitment(bytes.fromhex(json.loads(head)["salt"]), body) == outcome["payloads"]["result.raw"]["sha256"]


@pytest.mark.skipif(not AGE.exists(), reason="run scripts/age first")
async def test_a_package_takes_sealed_payloads_along_for_a_stock_age(
    gateway: Gateway, key: pyrage.x25519.Identity, tmp_path: Path
) -> None:
    """Whoever has the key needs the package alone; whoever has the package alone reads nothing raw."""
    _, (intent, outcome) = await called(gateway, "bank__answer", {"ssn": SSN})
    (tmp_path / "key.txt").write_text(f"{key}\n")
    await gateway.folder.acli("export", "--raw", "--reason", "dispute 7", "--out", str(tmp_path / "raw.zip"))
    files = unpacked((tmp_path / "raw.zip").read_bytes())
    assert SSN.encode() not in b"\0".join(files.values())
    for record, slot, raw in ((intent, "arguments", "arguments.raw"), (outcome, "result", "result.raw")):
        with anyio.fail_after(BOUND_S):
            sealed = files[f"payloads/{record['seq']}.{slot}.age"]
            done = await anyio.run_process([AGE, "--decrypt", "-i", tmp_path / "key.txt"], input=sealed)
        head, _, body = done.stdout.partition(b"\n")
        assert SSN.encode() in body
        assert commitment(bytes.fromhex(json.loads(head)["salt"]), body) == record["payloads"][raw]["sha256"]


async def test_credentials_and_excepted_fields_do_not_even_go_to_the_vault(
    gateway: Gateway, key: pyrage.x25519.Identity
) -> None:
    arguments = {"password": PASSWORD, "memo": {"to": "Eve"}, "cvv": CODE, "ssn": SSN, "note": f"card {ACCOUNT}"}
    _, (intent, _) = await called(gateway, "bank__answer", arguments)
    sheet = opened(gateway, key, intent, "arguments.sealed")
    kept = json.loads(sheet.body)
    assert (kept["ssn"], kept["note"]) == (SSN, f"card {ACCOUNT}")
    assert PASSWORD.encode() not in sheet.body and b"Eve" not in sheet.body and CODE.encode() not in sheet.body
    assert {one.path for one in sheet.left_out} == {"password", "memo.to", "cvv"}
    assert sheet.salt == b"", "or whoever opens it could try out what was left out"


async def test_a_long_payload_is_cut_and_the_commitment_is_to_all_of_it(gateway: Gateway, key: pyrage.x25519.Identity) -> None:
    arguments = {"text": "x" * 5000}
    _, (intent, _) = await called(gateway, "bank__answer", arguments)
    sheet = opened(gateway, key, intent, "arguments.sealed")
    whole = json.dumps(arguments, separators=(",", ":")).encode()
    assert sheet.body == whole[:2000] and sheet.cut == len(whole) - 2000
    assert commitment(sheet.salt, whole) == intent["payloads"]["arguments.raw"]["sha256"], "whoever has all of it can prove it"


async def test_a_tool_that_the_catalog_leaves_out_has_nothing_in_the_vault(gateway: Gateway) -> None:
    _, records = await called(gateway, "bank__other", {"ssn": SSN})
    assert len(records) == 2 and not any("sealed" in slot for one in records for slot in one["payloads"])


def test_check_says_what_is_sealed_and_what_never_would_be(gateway: Gateway, tmp_path: Path) -> None:
    settings = open_folder(gateway.folder.path)
    catalog = Path(shutil.copytree(settings.catalog_dir, tmp_path / "catalog"))

    def told(settings: Settings) -> list[tuple[str, str]]:
        return [(one.verdict.value, one.detail) for one in vaulted(settings, Registry(catalog))]

    assert told(settings) == [("ok", "1 recipients can open what is sealed of 1 targets.")]
    off = settings.model_copy(update={"vault": VaultSettings()})
    assert told(off) == [("warn", "Nothing is sealed, though the catalog says so of 1 targets.")]
    file = catalog / "bank.toml"
    file.write_text(file.read_text().replace('"memo"', '"memo["'))
    (_, (verdict, why)) = told(settings)
    assert verdict == "fail" and why.startswith("bank__answer: vault_except: ")
    file.write_text(file.read_text().replace("vault = true", "vault = false").replace('"memo["', '"memo"'))
    assert [verdict for verdict, _ in told(settings)] == ["warn"]


async def test_no_file_and_no_log_of_the_gateway_holds_a_raw_value_or_a_key(
    gateway: Gateway, key: pyrage.x25519.Identity
) -> None:
    """While it runs, its write-ahead log included, in clear, in base64 and unpacked."""
    await called(gateway, "bank__answer", {"ssn": SSN, "note": f"card {ACCOUNT}", "password": PASSWORD})
    found = b"\0".join(path.read_bytes() for path in gateway.folder.path.rglob("*") if path.is_file())
    with closing(SqliteStore.connect_read_only(gateway.folder.data / FILE)) as store:
        found += b"\0".join(unpack(one.packed) for one in store.payloads(0, 2**62))
    assert b"<US_SSN>" in found and b"age-encryption.org/v1" in found, "this searches where things are kept"
    for raw in (SSN, ACCOUNT, PASSWORD, str(key), str(key)[16:]):
        assert raw.encode() not in found
        assert raw not in "".join(gateway.log)


async def test_no_process_of_the_gateway_holds_the_key(gateway: Gateway, key: pyrage.x25519.Identity) -> None:
    """Raw values do stand in its memory while a call is under way, and for a while after it: Python does not wipe."""
    await called(gateway, "bank__answer", {"ssn": SSN})
    searched = 0
    for pid in (gateway.process.pid, *(child.pid for child in descendants(gateway.process.pid))):
        memory = memory_of(pid)
        searched += len(memory)
        assert str(key).encode() not in memory and str(key)[16:].encode() not in memory
        if pid == gateway.process.pid:
            assert str(key.to_public()).encode() in memory, "this searches its memory"
    assert searched > 10_000_000


async def test_raw_values_do_not_gather_in_the_memory_of_the_gateway(gateway: Gateway) -> None:
    """Nothing is wiped, but nothing keeps them either: what goes on there writes over them. An upstream keeps what it likes."""
    left: frozenset[str] = frozenset()
    async with gateway.client("http 2026", gateway.folder.keys["alice"]) as client:
        with anyio.fail_after(BOUND_S):
            await until_listed(client, "bank__answer")
            for value in FLEETING:
                await client.call_tool("bank__answer", {"ssn": value})
            assert still_there(gateway, FLEETING[-1:]), "this searches where they were"
            for _ in range(MORE_CALLS // 10):
                async with anyio.create_task_group() as calls:
                    for number in range(10):
                        calls.start_soon(client.call_tool, "bank__answer", {"ssn": SSN, "text": "x" * 7 * number})
                if len(left := still_there(gateway, FLEETING)) <= MAY_LIE_IDLE:
                    break
    assert len(left) <= MAY_LIE_IDLE, f"still in memory: {sorted(left)}"


def still_there(gateway: Gateway, values: Sequence[str]) -> frozenset[str]:
    """Return those of the values that stand in the memory of the gateway's own processes."""
    ours = [gateway.process.pid]
    ours += [child.pid for child in descendants(gateway.process.pid) if "verbatim_server" not in child.command]
    memory = b"\0".join(memory_of(pid) for pid in ours)
    return frozenset(value for value in values if value.encode() in memory)


def memory_of(pid: int) -> bytes:
    """Return what a process has in its private and writable memory, as far as it can be read (proc_pid_mem(5))."""
    parts = []
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            place, rights, *_ = line.split()
            if rights.startswith("rw"):
                start, end = (int(part, 16) for part in place.split("-"))
                memory.seek(start)
                try:
                    parts.append(memory.read(end - start))
                except (OSError, OverflowError):
                    continue  # [vvar] and pages that went away
    return b"".join(parts)
