"""Take the pictures of docs/console.md, docs/approvals.md and docs/auditors.md.

.venv/bin/python -m tests.console.shots docs/images
"""

import json
import sys
import tempfile
from pathlib import Path

import anyio

from tests.console.bank import CONFIG, Bank, open_bank
from tests.console.browser import chromium, sign_in, window

ONE, TWO = (
    """reason = "Transfers above 5,000 need a second person."
approvers = ["group:payments-leads"]
""",
    """reason = "Transfers above 5,000 need two leads."
quorum = "2 of group:payments-leads"
on_silence = [{ approvers = ["group:auditors"], deadline = "1h" }]
grants = { max_calls = 40, max_for = "8h", max_total = { amount = 200000 } }
""",
)
"""The rule of the tests' bank, and one that has more to show."""


async def shoot(bank: Bank, images: Path) -> None:
    reason = "Invoice 2214, office chairs"
    done = await bank.hold(1_250_00, memo="Rent November")
    await bank.hold(7_400_00, memo=reason)
    odd = await bank.hold(9_800_00, memo="Payment to p\u0430ypal \u202ekcehc", who="paula")
    async with bank.person("carol") as carol:
        await carol.decide(done, comment="Matches the lease.")
        await carol.decide(odd, comment="The amount is that of the invoice.")
    await bank.transfer(1_250_00, memo="Rent November")
    async with bank.client("alice") as client:
        await client.call_tool("bank__lookup_customer", {"who": "C-1001"})
    async with chromium() as browser, window(browser, color_scheme="light") as page:
        await sign_in(page, f"{bank.url}/approvals", bank.key("dora"))
        for name, path in (("approvals", "/approvals"), ("approval", f"/approvals/{odd}"), ("log", "/log?who=alice")):
            await page.goto(bank.url + path)
            await page.screenshot(path=images / f"console-{name}.png", full_page=name == "approval")


async def granting(bank: Bank, images: Path) -> None:
    """What an approver sees of a grant that one other has approved."""
    example = {"from_account": "CHK-100001", "to_account": "CHK-100002", "amount": 7400, "memo": "Rent, house 4"}
    vary = {"amount": {"at_least": 5000, "at_most": 9000}, "memo": {"any": True}}
    bounds = ("--vary", json.dumps(vary), "--calls", "20", "--total", "amount=150000", "--for", "4h")
    told = ("--arguments", json.dumps(example), *bounds, "--reason", "The rents of November, house by house", "--json")
    grant = json.loads(await bank.folder.acli("access", "request", "bank__transfer", *told, key=bank.key("alice")))["id"]
    async with bank.person("carol") as carol:
        await carol.decide(grant, comment="As every month.")
    async with chromium() as browser, window(browser, color_scheme="light") as page:
        await sign_in(page, f"{bank.url}/approvals/{grant}", bank.key("dora"))
        await page.get_by_text("A grant: not one call").wait_for()
        await page.screenshot(path=images / "console-grant.png", full_page=True)


async def replayed(bank: Bank, images: Path) -> None:
    """One session of Alice's: a look-up that is masked, a transfer that is held, approved and run, and one that is refused."""
    async with bank.client("alice") as client:
        await client.call_tool("bank__lookup_customer", {"who": "C-1001"})
    approval = await bank.hold(7_150_00, memo="Invoice 2214 \u202ekcehc")
    async with bank.person("carol") as carol:
        await carol.decide(approval, comment="Matches the invoice.")
    await bank.transfer(7_150_00, memo="Invoice 2214 \u202ekcehc")
    (session, *_) = [one["session"]["id"] for one in bank.folder.records("call.outcome", approval_id=approval)]
    async with chromium() as browser, window(browser, color_scheme="light") as page:
        await page.set_viewport_size({"width": 1180, "height": 1250})
        await sign_in(page, f"{bank.url}/sessions/{session}", bank.key("dora"))
        await page.get_by_role("heading", name="step by step").wait_for()
        await page.screenshot(path=images / "console-session.png")
    html = bank.folder.path / "session.html"
    await bank.folder.acli("replay", session, "--html", str(html))
    async with chromium() as browser, window(browser, color_scheme="light") as page:
        await page.set_viewport_size({"width": 1080, "height": 1250})
        await page.goto(html.as_uri())
        await page.screenshot(path=images / "replay.png")


def main(images: Path) -> None:
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, open_bank(Path(folder), CONFIG.replace(ONE, TWO)) as bank:
        anyio.run(shoot, bank, images)
        anyio.run(granting, bank, images)
    with tempfile.TemporaryDirectory() as folder, open_bank(Path(folder)) as bank:
        anyio.run(replayed, bank, images)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
