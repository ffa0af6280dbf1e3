"""Draws the two pictures of the README: `python -m tests.page.pictures docs/images`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.harness.browser import Tab
from tests.harness.night_run import fresh_home
from tests.harness.page_runs import healthy_batches, lay_down_night, live_training
from tests.harness.real_daemon import DaemonProcess
from tests.page.conftest import CHROMIUM

COLOURS = 256  # enough for the page, and a third of the bytes


def main(folder: Path) -> None:
    """The first screen in light, and the night's incident in dark."""
    with fresh_home() as home, sync_playwright() as playwright:
        lay_down_night(home)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        with DaemonProcess(home) as daemon, live_training(daemon, "resnet50 on plants") as trainer:
            healthy_batches(trainer, 2300)
            with Tab(browser, daemon, size=(1100, 610)) as light:
                light.until_text("[data-run=live] [data-field=progress]", "Epoch 23 / 50, batch 99 / 100")
                light.page.wait_for_selector("[data-run=night] .trouble dd")
                light.page.wait_for_selector("[data-run=live] .spark")
                keep(light, folder / "page-overview.png")
            with Tab(browser, daemon, theme="dark", size=(1100, 1480)) as dark:
                dark.go("#/run/night/1", "[data-panel=time] canvas")
                dark.page.wait_for_selector("[aria-label=Incidents] td")
                keep(dark, folder / "page-night.png")
        browser.close()


def keep(tab: Tab, file: Path) -> None:
    """What is in the window, in few colours."""
    tab.page.wait_for_timeout(1000)  # the last request is drawn
    picture = Image.open(io.BytesIO(tab.page.screenshot())).convert("RGB")
    picture.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
