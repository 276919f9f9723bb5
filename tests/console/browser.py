"""A real browser, as Debian brings it: `scripts/browser` installs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

CHROMIUM = Path("/usr/bin/chromium")
_QUIET = (
    "--no-sandbox",  # tests may run as root in a container; the pages are ours
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(_QUIET))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def window(browser: Browser, **options: object) -> AsyncIterator[Page]:
    """Open a page of its own profile; whatever it complains of in its console is an error of ours."""
    complaints: list[str] = []
    context: BrowserContext = await browser.new_context(viewport={"width": 1180, "height": 760}, **options)  # type: ignore[arg-type]  # passed on
    page = await context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page
    finally:
        await context.close()
    assert complaints == []


async def sign_in(page: Page, url: str, key: str) -> None:
    """Sign in on whatever page leads to the form."""
    await page.goto(url)
    await page.get_by_label("Your API key").fill(key)
    await page.get_by_role("button", name="Sign in").click()
