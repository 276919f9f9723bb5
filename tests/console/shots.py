"""Take the pictures of docs/console.md: `.venv/bin/python -m tests.console.shots docs/images`."""

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


def main(images: Path) -> None:
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, open_bank(Path(folder), CONFIG.replace(ONE, TWO)) as bank:
        anyio.run(shoot, bank, images)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
