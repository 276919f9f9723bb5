"""The gateway itself delivers: a sink in config.toml is enough."""

import json
import secrets
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from ledger_parts import ORIGIN

from mcpgw.app import convert, redacting
from mcpgw.app.gateway import open_gateway
from mcpgw.core.errors import ConfigError
from mcpgw.settings import load

CONFIG = f'[ledger]\norigin = "{ORIGIN}"\n[redaction]\nmodel = "none"\n'
SINK = '[[sinks]]\nname = "lines"\nkind = "file"\npath = "events.jsonl"\n'


@pytest.fixture
def gateways(folder: Path) -> Path:
    (folder / "catalog").mkdir()
    (folder / "keys" / convert.DESK_KEY).write_bytes(secrets.token_bytes(32))
    (folder / "config.toml").write_text(CONFIG + SINK)
    return folder


async def test_what_the_gateway_records_is_delivered(gateways: Path) -> None:
    settings = load(gateways)
    async with redacting.redactor(settings) as redactor, open_gateway(settings, redactor, node="test"):
        with anyio.fail_after(20):
            while True:
                if (gateways / "events.jsonl").exists():
                    break
                await anyio.sleep(0.02)
    lines = (await to_thread.run_sync((gateways / "events.jsonl").read_text)).splitlines()
    assert json.loads(lines[0])["metadata"]["event_code"] == "gateway.started"


async def test_a_sink_that_cannot_work_is_told_before_the_gateway_starts(gateways: Path) -> None:
    broken = SINK.replace("file", "syslog").replace('path = "events.jsonl"', 'url = "tls://x"\nca = "no.pem"')
    await to_thread.run_sync((gateways / "config.toml").write_text, CONFIG + broken)
    settings = load(gateways)
    with pytest.raises(ConfigError, match=r"sinks\.lines: the TLS files cannot be used"):
        async with redacting.redactor(settings) as redactor, open_gateway(settings, redactor, node="test"):
            pytest.fail("it started")
