"""People hear of held calls in time, once, masked, and in words that nobody can turn into a link or a mention."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP
from anyio import to_thread
from ledger_parts import ORIGIN, opened, settled, spend, vote
from sink_parts import FAST, SECRET, Collector
from typer.testing import CliRunner

from mcpgw.app import outlets
from mcpgw.cli.notify import notify
from mcpgw.core.allowance import Allowance
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import CleanJson
from mcpgw.core.terms import Terms
from mcpgw.ledger import Ledger, Query
from mcpgw.ports import Approval, ApprovalState
from mcpgw.settings import load
from mcpgw.sinks.config import NoticeApprise, NoticeConfig, NoticeWebhook, WebhookSink
from mcpgw.sinks.cursor import CursorFile
from mcpgw.sinks.exporter import open_exporter
from mcpgw.sinks.notice import OCCASIONS, notice
from mcpgw.sinks.webhook import signature

CONSOLE = "https://mcp.bank.example"


def webhook(collector: Collector, *occasions: str, rules: tuple[str, ...] = ()) -> NoticeWebhook:
    return NoticeWebhook(
        name="notify.desk",
        from_now=True,
        occasions=frozenset(occasions or OCCASIONS),
        rules=rules,
        console_url=CONSOLE,
        to=WebhookSink(name="notify.desk", url=collector.url, secret=SECRET),
    )


@asynccontextmanager
async def notifying(notifier: NoticeConfig, ledger: Ledger, folder: Path) -> AsyncIterator[None]:
    cursor = folder / "data" / "sinks" / f"{notifier.name}.json"
    async with (
        open_exporter(
            [notifier], log=ledger, cursors=partial(CursorFile, cursor.parent), pace=replace(FAST, outage_s=0.05)
        ) as exporter,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(exporter.run)
        await until(cursor.exists)  # it speaks of what comes after this moment
        yield
        tasks.cancel_scope.cancel()


def told(collector: Collector) -> list[tuple[str, str]]:
    return [(said["occasion"], said["approval"]) for said in collector.events]


async def test_a_held_call_is_told_with_everything_that_an_approver_needs(
    ledger: Ledger, folder: Path, collector: Collector
) -> None:
    async with notifying(webhook(collector), ledger, folder):
        await ledger.append(opened("apr_1"))
        await collector.until(lambda: len(collector.events) == 1)
    (said,) = collector.events
    assert said["occasion"] == "held" and said["state"] == "pending"
    assert said["who"] == "https:\\u002f/idp.example#alice"
    assert said["tool"] == "bank__transfer"
    assert said["rules"] == ["r1"]
    assert json.loads(said["arguments"]) == {"ssn": "[SSN]"}
    assert said["link"] == f"{CONSOLE}/approvals/apr_1"
    assert (
        said["link"] in said["text"] and said["deadline"] in said["text"] and said["title"] == "Approval needed: bank__transfer"
    )
    assert "078-05-1120" not in json.dumps(said)
    headers, body = collector.requests[0]
    expected = signature(SECRET.encode(), headers["webhook-id"], headers["webhook-timestamp"], body)
    assert headers["webhook-signature"] == expected


async def test_what_became_of_it_is_told_to_who_asked_for_that(ledger: Ledger, folder: Path, collector: Collector) -> None:
    async with notifying(webhook(collector, "settled"), ledger, folder):
        await ledger.append(opened("apr_1"))
        await ledger.append(vote("apr_1"))
        await ledger.append(settled("apr_1", ballots=1))
        await ledger.append(spend("apr_1"))
        await collector.until(lambda: len(collector.events) == 1)
    assert told(collector) == [("settled", "apr_1")]


async def test_what_is_no_longer_news_is_not_told(ledger: Ledger, folder: Path, collector: Collector) -> None:
    async with notifying(webhook(collector, "held"), ledger, folder):
        pass
    await ledger.append(opened("apr_decided"))
    await ledger.append(vote("apr_decided"))
    await ledger.append(settled("apr_decided", ballots=1))
    await ledger.append(opened("apr_late", key="k2", deadline_ns=time.time_ns() + 1_000_000))
    await ledger.append(opened("apr_waits", key="k3"))
    async with notifying(webhook(collector, "held"), ledger, folder):
        await collector.until(lambda: len(collector.events) == 1)
    assert told(collector) == [("held", "apr_waits")]


async def test_a_notifier_hears_of_its_rules_alone(ledger: Ledger, folder: Path, collector: Collector) -> None:
    async with notifying(webhook(collector, "held", rules=("payments-*",)), ledger, folder):
        await ledger.append(opened("apr_other"))
        held = opened("apr_mine", key="k2")
        ruling = replace(held.hold.ruling, rule_ids=("payments-large",))
        await ledger.append(replace(held, hold=replace(held.hold, ruling=ruling)))
        await collector.until(lambda: len(collector.events) == 1)
    assert told(collector) == [("held", "apr_mine")]


async def test_an_outage_is_recorded_once_and_the_notice_still_comes(
    ledger: Ledger, folder: Path, collector: Collector
) -> None:
    collector.behave = lambda events: web.Response(status=503)
    async with notifying(webhook(collector), ledger, folder):
        await ledger.append(opened("apr_1"))
        with anyio.fail_after(20):
            while True:
                if failures := await ledger.search(Query(kind="sink.failed")):
                    break
                await anyio.sleep(0.02)
        collector.behave = lambda events: None
        await collector.until(lambda: len(collector.events) == 1)
    (failure,) = failures
    facts = json.loads(failure.leaf)["facts"]
    assert facts["sink"] == "notify.desk" and facts["problem"] == "the receiver answered 503"
    assert len(await ledger.search(Query(kind="sink.failed"))) == 1


def approval(**changes: Any) -> Approval:
    found = Approval(
        id="apr_1",
        state=ApprovalState.PENDING,
        digest="d1" * 32,
        request_key="k",
        call_id="c1",
        requester="https://idp.example#alice",
        actors=("https://idp.example#assistant",),
        target="bank__transfer",
        facts=CleanJson({"arguments": {"note": "x"}}),
        exact=b"",
        terms=Terms.simple(("group:managers",)),
        level=0,
        rule_ids=("r1",),
        reason="large transfer",
        policy_hash="p",
        opened_ns=0,
        deadline_ns=10**18,
        usable_until_ns=10**18,
        votes=(),
    )
    return replace(found, **changes)


@pytest.mark.parametrize(
    "planted",
    [
        "<!channel> pay now",
        "<https://evil.example|the console>",
        "[console](https://evil.example)",
        "@here",
        "`code`",
        "\u202egnp.exe",
    ],
)
def test_what_a_caller_sends_is_no_markup_and_means_the_same(planted: str) -> None:
    said = notice("held", approval(facts=CleanJson({"arguments": {"note": planted}})), CONSOLE)
    assert json.loads(said["arguments"]) == {"note": planted}
    addressed = said["text"].replace(said["link"], "")
    assert not any(sign in addressed for sign in ("<", "@", "`", "](", "://", "\u202e"))
    assert "through https:\\u002f/idp.example#assistant" in addressed


def test_a_grant_is_told_as_one() -> None:
    access = {"vary": {"memo": {"any": True}, "a@b": {"one_of": 3}}}
    granted = approval(
        facts=CleanJson({"arguments": {"memo": "rent"}, "access": access}),
        allowances=(Allowance(max_calls=5, until_ns=1_800_000_000_000_000_000, total_of="amount", max_total="50000"),),
    )
    said = notice("held", granted, CONSOLE)
    assert said["title"] == "Approval of a grant needed: bank__transfer"
    assert said["grant"] == (
        "not one call, but 5 calls, 50000 in all of amount, until 2027-01-15T08:00:00Z: "
        '"memo": ANY VALUE AT ALL; "a\\u0040b": one of 3 values, which are on the approval\'s own page; '
        "Every other argument exactly as in the example, and no other. \\u0028used 0 of 5, 0 of 50000 amount)"
    )
    assert said["grant"] in said["text"] and "For example, masked" in said["text"]
    assert "grant" not in notice("held", approval(), CONSOLE)


def test_arguments_without_end_are_cut_and_say_so() -> None:
    said = notice("held", approval(facts=CleanJson({"arguments": {"note": "x" * 10_000}})), "")
    assert len(said["text"]) < 3000 and "the page shows all of it" in said["text"]
    assert "mcpgw approvals show apr_1" in said["text"]


# --- Apprise -------------------------------------------------------------------------------------------------------------


class Mailbox:
    """Keeps every mail; refuses all while `closed`."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.closed = False
        self.refused = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.closed:
            self.refused += 1
            return "451 try again later"
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 kept"


@asynccontextmanager
async def serving(box: Mailbox) -> AsyncIterator[str]:
    """Yield Apprise's address of a real SMTP server."""
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(box), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"mailto://127.0.0.1:{port}?mode=insecure&from=gateway@bank.example&to=desk@bank.example"


def apprise(*addresses: str) -> NoticeApprise:
    return NoticeApprise(
        name="notify.desk", from_now=True, occasions=frozenset({"held"}), console_url=CONSOLE, addresses=addresses
    )  # fmt: skip


async def test_a_mail_says_who_asks_for_what_and_where_to_decide(ledger: Ledger, folder: Path) -> None:
    box = Mailbox()
    async with serving(box) as address, notifying(apprise(address), ledger, folder):
        await ledger.append(opened("apr_1"))
        await until(lambda: bool(box.mails))
    (mail,) = box.mails
    assert mail["Subject"] == "Approval needed: bank__transfer" and mail["To"] == "desk@bank.example"
    text = mail.get_body(("html", "plain")).get_content()
    assert f"{CONSOLE}/approvals/apr_1" in text and "alice" in text and "[SSN]" in text


async def test_an_address_that_is_down_makes_no_other_hear_twice(ledger: Ledger, folder: Path) -> None:
    up, down = Mailbox(), Mailbox()
    down.closed = True
    async with serving(up) as first, serving(down) as second, notifying(apprise(first, second), ledger, folder):
        await ledger.append(opened("apr_1"))
        await until(lambda: down.refused > 2)
        down.closed = False
        await until(lambda: bool(down.mails))
    assert (len(up.mails), len(down.mails)) == (1, 1)


# --- config.toml and the command line ------------------------------------------------------------------------------------

CONFIG = '[[notify]]\nname = "desk"\nkind = "{kind}"\n{rest}\n'


@pytest.mark.parametrize(
    ("kind", "rest", "complaint"),
    [
        ("apprise", 'addresses = ["slack://T/B/token"]', "config.toml:4: `notify.desk.addresses`: is written out"),
        ("apprise", 'addresses = ["${env:NOBODY_SET_IT}"]', "config.toml:4: `notify.desk.addresses`: "),
        ("apprise", 'url = "https://x"', "config.toml:4: `notify.desk.url`: a notifier of kind apprise has no `url`"),
        ("apprise", "", "`notify.desk.addresses`: a notifier of kind apprise needs `addresses`"),
        ("webhook", 'url = "http://hook.example"\nsecret = "${env:KEY}"', "config.toml:4: `notify.desk.url`: is no https://"),
        (
            "webhook",
            'url = "https://hook.example"\nsecret = "${env:SHORT}"',
            "config.toml:5: `notify.desk.secret`: the secret is",
        ),
        ("webhook", 'url = "https://h.example"\nsecrets = "x"', "Did you mean `secret`?"),
        ("webhook", 'on = ["hold"]', 'config.toml:4: `notify.0.on.0`: must be "held"'),
    ],
)
def test_a_wrong_notifier_is_told_with_its_line(folder: Path, kind: str, rest: str, complaint: str) -> None:
    (folder / "catalog").mkdir()
    (folder / "config.toml").write_text(CONFIG.format(kind=kind, rest=rest))
    with pytest.raises(ConfigError) as caught:
        outlets.notifiers(load(folder), {"KEY": SECRET, "SHORT": "abc"})
    assert complaint in f"{caught.value} {caught.value.hint}"
    assert "token" not in str(caught.value)


async def test_an_address_that_apprise_does_not_know_is_told_without_the_address(ledger: Ledger, folder: Path) -> None:
    with pytest.raises(ConfigError, match="address 2 is none that Apprise understands") as caught:
        async with notifying(apprise("json://127.0.0.1", "slak://s3cret"), ledger, folder):
            pytest.fail("it started")
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"


async def test_a_trial_says_that_it_is_one(folder: Path) -> None:
    (folder / "catalog").mkdir()
    text = CONFIG.format(kind="apprise", rest='addresses = ["${env:MAIL}"]') + f'[ledger]\norigin = "{ORIGIN}"\n'
    await to_thread.run_sync((folder / "config.toml").write_text, text)
    box = Mailbox()
    async with serving(box) as address:
        run = CliRunner(env={"MAIL": address}).invoke
        with anyio.fail_after(20):
            done = await to_thread.run_sync(lambda: run(notify, ["test", "desk", "-C", str(folder)]))
            status = await to_thread.run_sync(lambda: run(notify, ["status", "--json", "-C", str(folder)]))
    assert done.output == "desk has taken the message.\n"
    (mail,) = box.mails
    assert mail["Subject"] == "Test of a notifier"
    assert json.loads(status.output)["name"] == "notify.desk"


async def until(done: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while True:
            if done():
                return
            await anyio.sleep(0.01)


def test_the_page_shows_notifiers_that_can_be_configured(folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/notifications.md").read_text()
    (folder / "catalog").mkdir()
    (folder / "secrets").mkdir(mode=0o700)
    (folder / "secrets/desk-mail").write_text("mailto://desk@bank.example")
    (folder / "config.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    found = outlets.notifiers(load(folder), {"DESK_SLACK": "slack://a/b/c", "PAGER_KEY": SECRET})
    assert [(notifier.name, notifier.kind) for notifier in found] == [
        ("notify.payments-desk", "apprise"),
        ("notify.pager", "webhook"),
    ]
