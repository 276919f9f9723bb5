"""No credential of an upstream and no API key stands in an answer, a record, a log or an error, whatever goes wrong."""

from collections.abc import Iterator
from contextlib import closing

import anyio
import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from mcpgw.ledger.record import unpack
from mcpgw.ledger.sqlite import FILE, SqliteStore
from tests.flows.gateway import BOUND_S, Folder, Gateway, bearer, listening, make_folder, serving, until_listed, words
from tests.real_servers import OUR_SERVERS, odd_server, story_server

ENV, ARGUMENT, BEARER, HEADER, ADDRESS = (f"{name}-of-an-upstream-4f1d0c" for name in ("env", "arg", "bearer", "header", "url"))
SECRETS = {"ENV_TOKEN": ENV, "ARG_TOKEN": ARGUMENT, "BEARER_TOKEN": BEARER, "HEADER_TOKEN": HEADER, "URL_TOKEN": ADDRESS}
NOBODYS = "mcpgw_0123456789ab_thisKeyWasNeverMadeByAnybodyAtAll0123456789"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Upstreams with a credential each: some work, one crashes, one shouts its secrets, and one is not there."""
    path = tmp_path_factory.mktemp("secret")
    folder = make_folder(path / "gateway", environ=SECRETS)
    folder.key("alice", "all")
    with listening(story_server("http")) as port:
        folder.spawned("child", story_server(), 'env = { BANK_TOKEN = "${env:ENV_TOKEN}" }\n')
        credentials = 'bearer = "${env:BEARER_TOKEN}"\nheaders = { X-Api-Key = "${env:HEADER_TOKEN}" }\n'
        folder.called("web", "http", f"http://127.0.0.1:{port}/mcp?key=${{env:URL_TOKEN}}", credentials)
        folder.spawned("odd", odd_server("--journal", "${env:ARG_TOKEN}"), 'env = { BANK_TOKEN = "${env:ENV_TOKEN}" }\n')
        shouting = ["python3", str(OUR_SERVERS / "shouting_server.py"), "--token", "${env:ARG_TOKEN}"]
        folder.spawned("shouting", shouting, 'env = { BANK_TOKEN = "${env:ENV_TOKEN}" }\n')
        folder.called("gone", "http", "http://127.0.0.1:1/mcp?key=${env:URL_TOKEN}", credentials)
        folder.cli("catalog", "accept", "--all", "--yes", expect=1)
        with serving(folder) as gateway:
            yield gateway


async def test_whatever_goes_wrong_no_secret_is_told_recorded_or_logged(gateway: Gateway) -> None:
    told: list[str] = []
    folder = gateway.folder
    async with gateway.client("http 2026", folder.keys["alice"]) as client:
        with anyio.fail_after(BOUND_S):
            told.append(repr(await until_listed(client, "child__echo", "web__echo", "odd__echo")))
            for tool in (
                "child__echo",
                "web__echo",
                "child__fail",
                "web__fail",
                "odd__error",
                "odd__crash",
                "odd__params",
                "odd__nosuch",
            ):
                try:
                    told.append(repr(await client.call_tool(tool, {"text": "hello"})))
                except MCPError as error:
                    told.append(repr(error.error))
            environment = await client.call_tool("child__environment", {})
            assert "BANK_TOKEN" in words(environment), "the tool does tell its environment"
            told.append(repr(environment))
    for credential in (NOBODYS, folder.keys["alice"] + "x", ENV):
        for answer in (
            httpx2.post(f"{gateway.url}/mcp", headers=bearer(credential), json={}),
            httpx2.get(f"{gateway.url}/sse", headers=bearer(credential)),
        ):
            assert answer.status_code == 401
            told.append(f"{answer.headers} {answer.text}")
    told += [httpx2.get(f"{gateway.url}/{path}").text for path in ("readyz", "healthz", "metrics", "")]
    told += [folder.cli("catalog", "diff", expect=1), folder.cli("log", "--json")]
    told += [folder.cli("check", expect=1), folder.cli("keys", "list"), folder.cli("explain", "--help")]

    everything = {"an answer": "\n".join(told), "the log": "".join(gateway.log), **stored(folder)}
    assert "hello" in everything["an answer"] and "gateway.started" in everything["records"]
    keys = (key.split("_", 2)[2] for key in (NOBODYS, *folder.keys.values()))  # a key's secret may hold a further `_`
    for secret in (*SECRETS.values(), *keys):
        assert len(secret) > 20
        for place, text in everything.items():
            assert secret not in text, f"{secret[:12]}… stands in {place}"


def stored(folder: Folder) -> dict[str, str]:
    """Return every text that is kept: files as they are, and payloads unpacked."""
    files = [path for root in (folder.data, folder.path / "catalog", folder.path / "keys") for path in root.rglob("*")]
    kept = {str(path.relative_to(folder.path)): path.read_bytes().decode("latin-1") for path in files if path.is_file()}
    with closing(SqliteStore.connect_read_only(folder.data / FILE)) as store:
        size = store.size()
        kept["records"] = "\n".join(record.leaf.decode() for record in store.records(0, size))
        kept["payloads"] = "\n".join(unpack(payload.packed).decode("latin-1") for payload in store.payloads(0, size))
    return kept
