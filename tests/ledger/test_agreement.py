"""The three verifiers say the same of good and bad packages; verify.html does it in a browser, without network."""

import re
import runpy
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from evidence_agreement import PAGE, Story, Tally, agree, in_page
from playwright.async_api import Browser, expect
from test_standalone import VECTORS

from mcpgw.ledger.evidence import RECORDS, verify
from mcpgw.ledger.evidence.archive import pack
from tests.console.browser import chromium, window

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story.made(tmp_path_factory.mktemp("story"), seed=3)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


def test_the_page_may_run_its_own_script_and_nothing_else() -> None:
    page = PAGE.read_text()
    assert runpy.run_path(str(ROOT / "scripts/verify_html.py"))["with_hashes"](page) == page, "run scripts/verify_html.py"
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "connect-src" not in policy
    assert not re.search(r"(src|href)=|fetch\(|XMLHttpRequest|WebSocket|innerHTML|eval\(", page)


async def test_all_three_say_the_same_of_packages_that_were_altered_in_every_way(story: Story, browser: Browser) -> None:
    async with window(browser) as page:
        await page.goto(PAGE.as_uri())
        tally: Tally = await agree(story, 48, in_page(page))
    assert (tally.disagreements, tally.missed) == ([], [])
    assert tally.asked == 48 and tally.ways["nothing sound"] == 4 and len(tally.kinds) > 8


async def test_a_person_chooses_a_package_and_reads_the_verdict(story: Story, browser: Browser, tmp_path: Path) -> None:
    good, bad, keys, kept = (tmp_path / name for name in ("good.zip", "bad.zip", "ledger.pub", "kept"))
    good.write_bytes(pack(story.day))
    bad.write_bytes(pack({**story.day, RECORDS: story.day[RECORDS].replace(b"alice", b"mable", 1)}))
    keys.write_bytes(story.day["keys/ledger.pub"])
    kept.write_bytes(story.day["checkpoint"])
    async with window(browser) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(PAGE.as_uri())
        await page.get_by_label("Package the .zip").set_input_files(good)
        await expect(page.get_by_role("status")).to_contain_text("✓ SOUND: 41 records of bank.example/mcpgw")
        await expect(page.get_by_role("status")).to_contain_text("they came with the package")
        await page.get_by_label("Public keys").set_input_files(keys)
        await page.get_by_label("Checkpoints").set_input_files(kept)
        await expect(page.get_by_role("status")).to_contain_text("records, given")
        await expect(page.get_by_role("status")).not_to_contain_text("they came with the package")
        await page.get_by_label("Package the .zip").set_input_files(bad)
        await expect(page.get_by_role("status")).to_contain_text("✗ UNSOUND")
        await expect(page.get_by_role("status")).to_contain_text(f"altered {RECORDS}: it is not what was signed")
        assert asked == [PAGE.as_uri()], "nothing is fetched"


BOTH = """async given => {
    const [key, message, made] = given.map(unhex);
    return [await signedByOwn(key, message, made), await signed(key, message, made)];
}"""


async def test_where_the_browser_has_no_ed25519_the_page_has_its_own(browser: Browser) -> None:
    async with window(browser) as page:
        await page.goto(PAGE.as_uri())
        for key, message, signature in VECTORS:
            malleable = (
                signature[:64]
                + (int.from_bytes(bytes.fromhex(signature[64:]), "little") + verify.ORDER).to_bytes(32, "little").hex()
            )
            wrong = ("00" if signature[:2] != "00" else "01") + signature[2:]
            for made, right in ((signature, True), (malleable, False), (wrong, False), (signature[:-2], False)):
                said = await page.evaluate(BOTH, [key, message, made])
                assert said == [right, right]
