"""`mcpgw siem` as an admin meets it, and config.toml as an admin writes it."""

import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from ledger_parts import CONTEXT, ORIGIN, refusal
from sink_parts import FAST, SECRET, Collector
from typer.testing import CliRunner, Result

from mcpgw.app import outlets
from mcpgw.cli.siem import siem
from mcpgw.core.errors import ConfigError
from mcpgw.ledger import Ledger
from mcpgw.settings import load
from mcpgw.sinks.config import FileSink, SplunkSink, SyslogSink, Tls, WebhookSink
from mcpgw.sinks.cursor import CursorFile
from mcpgw.sinks.exporter import open_exporter

WEBHOOK = '[[sinks]]\nname = "soc"\nkind = "webhook"\nurl = "{url}"\nsecret = "${{env:SOC_KEY}}"\n'


@pytest.fixture
async def working(folder: Path, collector: Collector) -> AsyncIterator[Path]:
    """A working folder with a file sink, a webhook sink and ten calls in its log."""
    sinks = WEBHOOK.format(url=collector.url) + '[[sinks]]\nname = "lines"\nkind = "file"\npath = "events.jsonl"\n'
    text = f'[ledger]\norigin = "{ORIGIN}"\n{sinks}'
    await to_thread.run_sync((folder / "config.toml").write_text, text)
    (folder / "catalog").mkdir()
    async with Ledger.open(folder / "data", folder / "keys", origin=ORIGIN, context=lambda: CONTEXT) as ledger:
        for _ in range(10):
            await ledger.append(refusal())
    yield folder


Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    def invoke(*arguments: str) -> Result:
        return CliRunner(env={"SOC_KEY": SECRET, "COLUMNS": "200"}).invoke(siem, arguments)

    return invoke


async def ran(run: Run, *arguments: str) -> Result:
    with anyio.fail_after(20):
        return await to_thread.run_sync(lambda: run(*arguments))


async def test_a_test_event_reaches_the_receiver_and_says_what_it_is(working: Path, collector: Collector, run: Run) -> None:
    result = await ran(run, "test", "soc", "-C", str(working))
    assert result.exit_code == 0, result.output
    (event,) = collector.events
    assert event["metadata"]["labels"] == ["test"]
    assert event["metadata"]["uid"] in result.output
    assert not (working / "data" / "sinks").exists()


async def test_a_test_that_fails_says_why(working: Path, run: Run) -> None:
    text = await to_thread.run_sync((working / "config.toml").read_text)
    await to_thread.run_sync((working / "config.toml").write_text, text.replace("/in", "/elsewhere"))
    result = await ran(run, "test", "soc", "-C", str(working))
    assert "the receiver answered 404" in str(result.exception)
    result = await ran(run, "test", "sock", "-C", str(working))
    assert "there is no sink 'sock'; there is: soc, lines" in str(result.exception)


async def test_status_tells_how_far_each_sink_is_behind(working: Path, run: Run) -> None:
    result = await ran(run, "status", "--json", "-C", str(working))
    found = [json.loads(line) for line in result.output.splitlines()]
    assert [(sink["name"], sink["kind"], sink["seq"], sink["delivering"]) for sink in found] == [
        ("soc", "webhook", -1, False),
        ("lines", "file", -1, False),
    ]
    assert found[0]["lag"] == found[1]["lag"] >= 11
    assert result.exit_code == 0
    assert "idle: no gateway runs" in (await ran(run, "status", "-C", str(working))).output


async def test_status_shows_what_a_running_gateway_meets(
    working: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("SOC_KEY", SECRET)
    lines, down = working / "events.jsonl", '"http://127.0.0.1:9/"'
    config = working / "config.toml"
    text = await to_thread.run_sync(config.read_text)
    await to_thread.run_sync(config.write_text, text.replace(text.split("url = ")[1].split("\n")[0], down))
    settings = load(working)
    async with Ledger.open(working / "data", working / "keys", origin=ORIGIN, context=lambda: CONTEXT) as ledger:
        sinks = outlets.sinks(settings, {"SOC_KEY": SECRET})
        cursors = settings.data_dir / outlets.CURSORS
        async with (
            open_exporter(sinks, log=ledger, cursors=partial(CursorFile, cursors), pace=FAST) as exporter,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(exporter.run)
            with anyio.fail_after(20):
                while True:
                    if [(bool(sink.problem), sink.lag > 0) for sink in await exporter.status()] == [
                        (True, True),
                        (False, False),
                    ]:
                        break
                    await anyio.sleep(0.01)
            result = await ran(run, "status", "-C", str(working))
            tasks.cancel_scope.cancel()
    assert result.exit_code == 1
    assert "failing" in result.output
    assert "delivering" in result.output
    assert "the receiver gave no answer" in result.output
    written = await to_thread.run_sync(lines.read_text)
    assert [json.loads(line)["metadata"]["sequence"] for line in written.splitlines()] == list(
        range(12 + 2)
    )  # with the session that they open


async def test_a_backfill_sends_a_range_again_and_leaves_the_cursor_alone(
    working: Path, collector: Collector, run: Run
) -> None:
    result = await ran(run, "backfill", "soc", "--from-seq", "2", "--to-seq", "5", "-C", str(working))
    assert result.exit_code == 0, (result.output, result.exception)
    assert collector.seqs == [2, 3, 4, 5]
    assert not CursorFile(working / "data" / "sinks", "soc").exists
    result = await ran(run, "backfill", "soc", "--since", "1h", "-C", str(working))
    assert collector.seqs[4:10] == [0, 1, 2, 3, 4, 5]
    exported = [event for event in collector.events if event["metadata"]["event_code"] == "evidence.exported"]
    facts = exported[0]["unmapped"]["mcpgw"]["facts"]
    assert facts == {"sink": "soc", "first": 2, "last": 5, "how": "siem backfill"}


@pytest.mark.parametrize("arguments", [[], ["--from-seq", "1", "--since", "1h"]])
async def test_a_backfill_has_to_be_told_where_to_begin(arguments: list[str], working: Path, run: Run) -> None:
    result = await ran(run, "backfill", "soc", *arguments, "-C", str(working))
    assert "either --from-seq or --since" in str(result.exception)


async def test_a_backfill_that_has_nothing_to_send_sends_nothing(working: Path, collector: Collector, run: Run) -> None:
    await ran(run, "backfill", "soc", "--since", "2099-01-01", "-C", str(working))
    assert collector.requests == []


# --- config.toml ---------------------------------------------------------------------------------------------------------


def configured(tmp_path: Path, text: str, **environ: str) -> tuple[object, ...]:
    (tmp_path / "config.toml").write_text(text)
    return outlets.sinks(load(tmp_path), environ)


def test_sinks_of_every_kind_are_made_from_the_settings(tmp_path: Path) -> None:
    text = (
        '[[sinks]]\nname = "a"\nkind = "file"\npath = "a.jsonl"\nbatch = 7\nbegin = "now"\n'
        + WEBHOOK.format(url="https://soc/in")
        + '[[sinks]]\nname = "c"\nkind = "splunk"\nurl = "https://s"\nsecret = "${file:token}"\nacknowledge = true\n'
        + '[[sinks]]\nname = "d"\nkind = "syslog"\nurl = "tls://d"\nca = "ca.pem"\n'
    )
    (tmp_path / "token").write_text("a-token\n")
    file, webhook, splunk, syslog = configured(tmp_path, text, SOC_KEY=SECRET)
    assert file == FileSink(name="a", path=tmp_path / "a.jsonl", max_events=7, from_now=True)
    assert webhook == WebhookSink(name="soc", url="https://soc/in", secret=SECRET)
    assert isinstance(splunk, SplunkSink)
    assert (splunk.token, splunk.acknowledge) == ("a-token", True)
    assert isinstance(syslog, SyslogSink)
    assert syslog.tls == Tls(ca=str(tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (WEBHOOK.format(url="http://soc.bank/in"), ":4: `sinks.soc.url`: is no https:// address"),
        (WEBHOOK.format(url="https://soc/in").replace("${env:SOC_KEY}", SECRET), "`sinks.soc.secret`: is written out"),
        (WEBHOOK.format(url="https://soc/in").replace("SOC_KEY", "NO_KEY"), "`sinks.soc.secret`: the environment variable NO"),
        (WEBHOOK.format(url="https://soc/in").replace("env:SOC_KEY", "vault:x"), ":5: `sinks.soc.secret`: only ${env:NAME}"),
        (WEBHOOK.format(url="https://soc/in") + 'path = "x"', ":6: `sinks.soc.path`: a sink of kind webhook has no `path`"),
        ('[[sinks]]\nname = "soc"\nkind = "syslog"\n', "`sinks.soc.url`: a sink of kind syslog needs `url`"),
        ('[[sinks]]\nname = "soc"\nkind = "file"\npath = "a"\n' * 2, ":6: `sinks.soc.name`: there is a sink of that name"),
        ('[[sinks]]\nname = "../x"\nkind = "file"\n', ":2: `sinks.0.name`: must match"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_sink_is_named_with_its_line(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, text, SOC_KEY=SECRET)
    assert f"config.toml{complaint}" in str(caught.value) or complaint in str(caught.value)
    assert SECRET not in str(caught.value)
