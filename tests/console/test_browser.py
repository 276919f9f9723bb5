"""Stories in a real browser. Whatever its console complains of (a blocked script, a wrong style) is a failure."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from tests.console.bank import Bank
from tests.console.browser import chromium, sign_in, window
from tests.flows.gateway import words


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


async def test_a_link_leads_through_the_sign_in_to_the_call_and_the_approved_call_runs_once(
    bank: Bank, browser: Browser
) -> None:
    approval_id = await bank.hold(7_100_00, memo="Invoice 2214")
    async with window(browser) as page:
        await sign_in(page, f"{bank.url}/approvals/{approval_id}", bank.key("carol"))
        assert page.url == f"{bank.url}/approvals/{approval_id}"
        await expect(page.locator("pre.exact", has_text='"memo": "Invoice 2214"')).to_be_visible()
        await page.locator("#comment").fill("called the customer")
        await page.get_by_role("button", name="Approve").click()
        await expect(page.get_by_role("status")).to_contain_text(f"Your approval of {approval_id} is recorded.")
        assert await cookies_that_scripts_see(page) == ""
    results = [await bank.transfer(7_100_00, memo="Invoice 2214") for _ in range(2)]
    assert not any(result.is_error for result in results), words(results[0])
    assert bank.transfers(7_100_00) == 1


async def cookies_that_scripts_see(page: Page) -> str:
    return str(await page.evaluate("document.cookie"))


async def test_without_scripts_everything_works_and_hostile_text_stays_text(bank: Bank, browser: Browser) -> None:
    hostile = "</pre><script>document.title='owned'</script><img src=/sign-out onerror=alert(1)>"
    approval_id = await bank.hold(17_02, memo=hostile)
    for javascript in (True, False):
        async with window(browser, java_script_enabled=javascript) as page:
            await sign_in(page, f"{bank.url}/approvals/{approval_id}", bank.key("carol"))
            await expect(page.locator("pre.exact", has_text="document.title='owned'")).to_be_visible()
            assert "bank__transfer" in await page.title()
            assert await page.locator("main img").count() == 0
            if not javascript:
                await page.locator("#comment").fill("no <b>")
                await page.get_by_role("button", name="Deny").click()
                await expect(page.get_by_role("status")).to_contain_text("It is denied.")
    assert bank.state(approval_id) == "denied"


async def test_the_list_fills_by_itself_and_a_link_from_another_site_finds_one_signed_in(bank: Bank, browser: Browser) -> None:
    async with window(browser) as page:
        await sign_in(page, f"{bank.url}/approvals", bank.key("carol"))
        await expect(page.get_by_role("heading", name="Waiting")).to_be_visible()
        approval_id = await bank.hold(17_03)
        link = page.locator(f'a.strong[href="/approvals/{approval_id}"]')
        await expect(link).to_be_visible()
        # localhost is another site than 127.0.0.1, and a page of its own may link here like any chat or mail.
        await page.route("http://chat.example/", lambda route: route.fulfill(
            content_type="text/html", body=f'<a href="{bank.url}/approvals/{approval_id}">a call waits</a>'))  # fmt: skip
        await page.goto("http://chat.example/")
        await page.get_by_text("a call waits").click()
        await page.wait_for_url(f"{bank.url}/approvals/{approval_id}")
        await expect(page.get_by_role("heading", name="Your verdict")).to_be_visible()


async def test_on_a_phone_nothing_is_beside_the_screen(bank: Bank, browser: Browser) -> None:
    approval_id = await bank.hold(17_05)
    async with window(browser) as page:
        await page.set_viewport_size({"width": 390, "height": 844})
        await sign_in(page, f"{bank.url}/approvals", bank.key("dora"))
        for path in ("/approvals", f"/approvals/{approval_id}", "/log", "/upstreams"):
            await page.goto(bank.url + path)
            beside = await page.evaluate(BESIDE)
            assert beside == [], path


BESIDE = """() => [document.documentElement, ...document.querySelectorAll(".scroll")]
    .filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.tagName + " " + box.scrollWidth)"""
"""What of a page is wider than where it is shown."""


async def test_a_keyboard_is_enough(bank: Bank, browser: Browser) -> None:
    approval_id = await bank.hold(17_04)
    async with window(browser) as page:
        await page.goto(f"{bank.url}/approvals/{approval_id}")
        await page.keyboard.type(bank.key("dora"))  # the field has the focus
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{bank.url}/approvals/{approval_id}")
        await page.keyboard.press("Tab")
        await expect(page.get_by_text("Skip to content")).to_be_focused()
        await page.locator("#comment").focus()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Approve")).to_be_focused()
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("It is denied.")


async def test_an_auditor_finds_words_and_replays_the_session_with_a_keyboard_on_a_narrow_screen(
    bank: Bank, browser: Browser
) -> None:
    hostile = "Larkspur </pre><script>document.title='owned'</script>\u202ekcehc"
    approval_id = await bank.hold(17_06, memo=hostile)
    async with window(browser, color_scheme="dark") as page:
        await page.set_viewport_size({"width": 390, "height": 760})
        await sign_in(page, f"{bank.url}/log", bank.key("audrey"))
        await page.get_by_label("Words in payloads").focus()
        await page.keyboard.type("larkspur")
        await page.keyboard.press("Tab")
        await expect(page.get_by_text("More to ask for")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.get_by_label("Approval", exact=True).fill(approval_id)
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("Approval", exact=True)).to_have_value(approval_id)
        assert page.url == f"{bank.url}/log", "words are in no address"
        await fits(page)
        await page.get_by_role("row", name=approval_id).get_by_role("link").first.press("Enter")
        await expect(page.get_by_role("heading", name="Clean payloads")).to_be_visible()
        await fits(page)
        await page.get_by_role("link", name="Replay it from here").press("Enter")
        await page.wait_for_url(f"{bank.url}/sessions/*")
        await expect(page.locator(".step pre").first).to_contain_text("document.title='owned'</script>\\u202ekcehc")
        assert "owned" not in await page.title()
        await fits(page)
        await page.get_by_role("link", name="Back to its beginning").press("Enter")
        await expect(page.locator(".step").first).to_contain_text("opens a session")


async def fits(page: Page) -> None:
    assert await page.evaluate(BESIDE) == []
