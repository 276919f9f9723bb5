"""Take the pictures of docs/examiners.md: `.venv/bin/python tests/ledger/evidence_shots.py docs/images`."""

import sys
import tempfile
from pathlib import Path

import anyio

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent.parent)]

from evidence_agreement import PAGE, Story
from playwright.async_api import expect

from mcpgw.ledger.evidence import README, RECORDS
from mcpgw.ledger.evidence.archive import pack
from tests.console.browser import chromium, window


async def shoot(folder: Path, images: Path) -> None:
    story = await anyio.to_thread.run_sync(Story.made, folder, 1)
    altered = {**story.anchored, RECORDS: story.anchored[RECORDS].replace(b'"alice"', b'"mable"', 1)}
    (folder / "alice.zip").write_bytes(pack(story.anchored))
    (folder / "altered.zip").write_bytes(pack(altered))
    (folder / "kept.checkpoint").write_text(story.notes[-1])
    (folder / "ledger.pub").write_bytes(story.anchored["keys/ledger.pub"])
    (folder / README).write_bytes(story.anchored[README])
    async with chromium() as browser, window(browser, color_scheme="light") as page:
        await page.goto((folder / README).as_uri())
        await page.set_viewport_size({"width": 1180, "height": 1500})
        await page.screenshot(path=images / "evidence-readme.png")
        await page.set_viewport_size({"width": 900, "height": 700})
        await page.goto(PAGE.as_uri())
        await page.get_by_label("Public keys").set_input_files(folder / "ledger.pub")
        await page.get_by_label("Checkpoints").set_input_files(folder / "kept.checkpoint")
        for name, verdict in (("alice.zip", "sound"), ("altered.zip", "unsound")):
            await page.get_by_label("Package the .zip").set_input_files(folder / name)
            await expect(page.locator("#verdict")).to_have_class(verdict)
            await page.screenshot(path=images / f"evidence-{verdict}.png", full_page=True)


def main(images: Path) -> None:
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(shoot, Path(folder), images)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
