"""The page in a real Chromium, over a real daemon: it shows what the API says, live, and to everybody."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from monitor.daemon.api.page_files import FOLDER, POLICY
from tests.harness.browser import PHONE, Tab
from tests.harness.page_runs import HOSTILE
from tests.harness.real_daemon import DaemonProcess, until
from tests.harness.trainer import FakeTrainer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SIZE_BYTES = 60_000  # gzip, all of it
FIRST_SCREEN_BYTES = 50_000  # what every look at the page loads
LIVE_CARD, NIGHT_CARD = "[data-run=live]", "[data-run=night]"
NIGHT_CHARTS, NIGHT_REPORT = "#/run/night/1", "#/run/night/1/incident/1"
VIEWS = {"#/": "overview", NIGHT_CHARTS: "training", NIGHT_REPORT: "incident"}
DRAWN, REPORT = "[data-panel=time] canvas", ".report table"


@pytest.fixture(scope="module")
def tab(browser: Browser, daemon: DaemonProcess, trainer: FakeTrainer) -> Iterator[Tab]:
    with Tab(browser, daemon) as opened:
        opened.page.wait_for_selector(NIGHT_CARD)
        yield opened


@pytest.fixture(scope="module")
def dark(browser: Browser, daemon: DaemonProcess, trainer: FakeTrainer) -> Iterator[Tab]:
    with Tab(browser, daemon, theme="dark") as opened:
        opened.page.wait_for_selector(NIGHT_CARD)
        yield opened


def test_the_page_is_small() -> None:
    packed = sum(len(gzip.compress(path.read_bytes(), 9)) for path in FOLDER.rglob("*") if path.is_file())
    assert 20_000 < packed < SIZE_BYTES
    first = sum(len(gzip.compress(path.read_bytes(), 9)) for path in FOLDER.rglob("*index*") if path.is_file())
    assert 20_000 < first < FIRST_SCREEN_BYTES


def test_the_first_screen_loads_nothing_that_only_a_report_needs(browser: Browser, daemon: DaemonProcess) -> None:
    """Most looks at the page, from a phone above all, are at the first screen."""
    with Tab(browser, daemon) as fresh:
        asked: list[str] = []
        fresh.page.on("request", lambda request: asked.append(request.url))
        fresh.page.reload()
        fresh.page.wait_for_selector(NIGHT_CARD)
        assert [url for url in asked if "/assets/" in url]
        assert not [url for url in asked if "Markdown" in url]
        fresh.go(NIGHT_REPORT, REPORT)
        assert [url for url in asked if "Markdown" in url]


def test_the_first_screen_shows_what_the_api_says(tab: Tab, daemon: DaemonProcess) -> None:
    tab.go("#/", LIVE_CARD)
    runs = {run["summary"]["run"]: run for run in daemon.json("/api/v1/overview")}
    assert set(runs) == {"live", "night"}
    live, night = runs["live"], runs["night"]
    assert tab.text(f"{LIVE_CARD} [data-field=loss]") == f"{live['loss']:.4g}"
    assert tab.text(f"{LIVE_CARD} [data-field=nonfinite]") == str(live["summary"]["nonfinite"])
    assert tab.text(f"{LIVE_CARD} [data-field=memory]") == f"{live['reserved'] / 2**30:.2f} GiB"
    at = live["summary"]
    assert (
        tab.text(f"{LIVE_CARD} [data-field=progress]")
        == f"Epoch {at['epoch']} / {at['epochs']}, batch {at['batch']} / {at['batches_per_epoch']}"
    )
    assert tab.text(f"{NIGHT_CARD} [data-field=state]").split()[-1] == "Finished"
    assert tab.text(f"{NIGHT_CARD} [data-field=nonfinite]") == str(night["summary"]["nonfinite"]) == "5"
    tab.page.wait_for_selector(f"{NIGHT_CARD} .trouble dd")
    said = dict(daemon.json("/api/v1/runs/night")["in_short"])
    shown = tab.text(f"{NIGHT_CARD} .trouble")
    for label in ("What happened", "Done", "Now"):
        assert said[label] in shown


def test_a_hostile_title_is_text(tab: Tab) -> None:
    tab.go("#/", LIVE_CARD)
    assert tab.text(f"{LIVE_CARD} h3") == HOSTILE
    assert tab.page.locator(f"{LIVE_CARD} img, {LIVE_CARD} b").count() == 0
    tab.go("#/run/live/1", DRAWN)
    assert tab.text("h1") == HOSTILE
    assert tab.page.title() == "live · trainwarden"


def test_charts_checkpoints_settings_and_timeline_are_those_of_the_api(tab: Tab, daemon: DaemonProcess) -> None:
    tab.go(NIGHT_CHARTS, DRAWN)
    panels = tab.page.eval_on_selector_all("[data-panel]", "all => all.map(one => one.dataset.panel)")
    assert panels == ["loss", "nonfinite", "parts", "grad_norm", "memory", "rate", "time"]
    bad = sum(daemon.json("/api/v1/runs/night/chart?points=600&signals=loss")["bad"])
    assert bad == 5
    tab.until_text("[data-panel=nonfinite] .legend b", f"{bad} of 12,921 batches in view")
    rows = daemon.json("/api/v1/runs/night/checkpoints")
    shown = tab.page.locator("[aria-label=Checkpoints] tbody tr").all_inner_texts()
    assert len(shown) == len(rows)
    for row, text in zip(reversed(rows), shown, strict=True):
        assert row["verdict"].capitalize() in text
        assert row["dropped"] or row["path"] in text
    training = daemon.json("/api/v1/runs/night/trainings/1")
    changes = tab.page.locator("[aria-label='Changes of settings'] tbody tr").all_inner_texts()
    assert [change["name"] in text for change, text in zip(reversed(training["changes"]), changes, strict=True)]
    assert {"onset", "opened", "order", "rollback"} <= {mark["kind"] for mark in training["marks"]}
    lines = daemon.json("/api/v1/runs/night/timeline")
    first = tab.page.locator(".timeline li").last.inner_text()
    assert lines[0]["text"] in first


def test_the_report_is_that_of_the_api(tab: Tab, daemon: DaemonProcess) -> None:
    tab.go(NIGHT_REPORT, REPORT)
    report = daemon.get("/api/v1/runs/night/report?incident=1").text
    heads = [line.lstrip("# ") for line in report.splitlines() if line.startswith("#")]
    assert tab.page.locator(".report :is(h1, h2, h3)").all_inner_texts() == heads
    rules = [line for line in report.splitlines() if line.startswith("|") and set(line) <= set("|- :")]
    assert tab.page.locator(".report table").count() == len(rules) > 3


def test_zoom_reaches_single_batches_and_is_shared_by_every_chart(tab: Tab) -> None:
    tab.go(NIGHT_CHARTS, DRAWN)
    tab.page.locator(".charts").focus()
    for _ in range(7):
        tab.page.keyboard.press("+")
    tab.page.wait_for_function("() => document.querySelector('[data-field=span]').innerText.endsWith('each one')")
    before = tab.text("[data-field=span]")
    tab.page.keyboard.press("ArrowRight")
    tab.page.wait_for_function("before => document.querySelector('[data-field=span]').innerText !== before", arg=before)
    tab.page.keyboard.press("0")
    tab.page.wait_for_function("() => document.querySelector('[data-field=span]').innerText.startsWith('batches 1 to')")
    box = tab.page.locator("[data-panel=memory] .u-over").bounding_box()
    assert box is not None
    tab.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 40)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 40, steps=4)
    tab.page.mouse.up()
    tab.page.wait_for_function(
        "() => !document.querySelector('[data-field=span]').innerText.startsWith('batches 1 to')"
    )
    assert "of 12,921" not in tab.text("[data-panel=nonfinite] .legend b")
    tab.page.keyboard.press("Home")


def test_a_nan_that_arrives_is_shown_within_a_second(tab: Tab, daemon: DaemonProcess, trainer: FakeTrainer) -> None:
    tab.go("#/", LIVE_CARD)
    tab.until_text("header [role=status]", "live")
    field = f"{LIVE_CARD} [data-field=nonfinite]"
    seen = int(tab.text(field))
    began_s = time.monotonic()
    trainer.batches(4, nonfinite=4, epoch=4)
    tab.until_text(field, str(seen + 4), within_s=1.0)
    took_s = time.monotonic() - began_s
    assert took_s < 1.0
    assert daemon.json("/api/v1/runs/live")["summary"]["nonfinite"] == seen + 4
    tab.page.wait_for_selector(f"{LIVE_CARD}.bad .trouble dd")
    assert tab.text(".headline") == "The live run needs attention"


def test_many_tabs_hold_one_stream_and_all_hear_the_news(
    tab: Tab, browser: Browser, daemon: DaemonProcess, trainer: FakeTrainer
) -> None:
    """A browser opens six connections to a host; the seventh tab would hang."""
    tabs = [Tab(browser, daemon, beside=tab) for _ in range(7)]
    for one in tabs:
        one.page.wait_for_selector(LIVE_CARD)
        one.until_text("header [role=status]", "live")
    trainer.batches(1, epoch=4)
    at = trainer.counts.batches
    for one in (tab, *tabs):
        one.until_text(f"{LIVE_CARD} [data-field=progress]", f"Epoch 4 / 50, batch {(at - 1) % 100} / 100")
    assert [one.asked.count(f"{one.address}/api/v1/events") for one in tabs] == [0] * len(tabs)
    for one in tabs:
        one.page.close()


def test_buttons_ask_first_and_then_act(tab: Tab, daemon: DaemonProcess, trainer: FakeTrainer) -> None:
    if not daemon.json("/api/v1/runs/live/incidents"):  # the test of the NaN did not run
        trainer.batches(4, nonfinite=4, epoch=4)
    tab.go("#/run/live/1", ".actions button")
    tab.page.get_by_role("button", name="Acknowledge").click()
    tab.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert tab.text(".actions [role=status]") == ""
    for button, answer in {"Acknowledge": "Acknowledged.", "Silence for 8 h": "Silenced."}.items():
        tab.page.get_by_role("button", name=button).click()
        tab.page.get_by_role("dialog").get_by_role("button", name=button).click()
        tab.until_text(".actions [role=status]", answer)
    assert [(one["match"], one["by"]) for one in daemon.json("/api/v1/silences")] == [(["run=live"], "the page")]
    assert "the page acknowledged incident 1" in daemon.get("/api/v1/runs/live/report").text
    assert tab.page.get_by_role("button", name="Adjust").count() == 0, "the incident has an action of its own"
    tab.page.get_by_role("button", name="Stop").click()
    assert "not started again" in tab.text("dialog")
    tab.page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    tab.page.wait_for_function(
        "() => document.querySelector('.actions [role=status]').innerText.includes('took the order')"
    )
    until("the order to stop", lambda: trainer.receive(0.2) and "stop" in {str(one.kind) for one in trainer.orders})


def test_without_a_session_nothing_is_shown_but_how_to_get_one(browser: Browser, daemon: DaemonProcess) -> None:
    with Tab(browser, daemon) as stranger:
        stranger.context.clear_cookies()
        stranger.page.reload()
        stranger.page.wait_for_selector("input#token")
        assert stranger.page.locator(".card").count() == 0
        stranger.page.fill("input#token", (daemon.home / "run" / "api.token").read_text().strip())
        stranger.page.get_by_role("button", name="Open").click()
        stranger.page.wait_for_selector(LIVE_CARD)


@pytest.mark.parametrize("theme", ["tab", "dark"])
def test_axe_finds_nothing_serious_and_pictures_are_kept(
    request: pytest.FixtureRequest, theme: str, tmp_path: Path
) -> None:
    """The pictures lie in TRAINWARDEN_PICTURES, where it is set; two of them are in the README."""
    one: Tab = request.getfixturevalue(theme)
    folder = Path(os.environ.get("TRAINWARDEN_PICTURES", tmp_path))
    for place, there in {"#/": f"{NIGHT_CARD} .trouble dd", NIGHT_CHARTS: DRAWN, NIGHT_REPORT: REPORT}.items():
        one.go(place, there)
        assert one.faults_of_access() == [], place
        file = folder / f"{VIEWS[place]}-{'dark' if theme == 'dark' else 'light'}.png"
        one.page.screenshot(path=file, full_page=place != "#/")
        assert file.stat().st_size > 10_000


def test_the_labels_of_dark_charts_are_light(dark: Tab) -> None:
    """A checker of the document can't see a canvas: its pixels must be looked at."""
    dark.go(NIGHT_CHARTS, DRAWN)
    assert _label_contrast(dark) > 4.5


def test_the_labels_follow_when_the_theme_turns(tab: Tab) -> None:
    tab.go(NIGHT_CHARTS, DRAWN)
    assert _label_contrast(tab) > 4.5
    tab.page.emulate_media(color_scheme="dark")
    until("the labels are drawn anew", lambda: _label_contrast(tab) > 4.5)
    tab.page.emulate_media(color_scheme="light")


# The strongest contrast of any pixel beside the loss chart, where its numbers stand, against the chart's ground.
LABEL_CONTRAST = """() => {
  const linear = c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const light = rgb => rgb.map(c => linear(c / 255)).reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const style = getComputedStyle(document.querySelector(".chart"));
  const ground = style.backgroundColor.match(/\\d+/g).slice(0, 3).map(Number);
  const canvas = document.querySelector("[data-panel=loss] canvas");
  const {data} = canvas.getContext("2d").getImageData(0, 0, 56 * devicePixelRatio, canvas.height);
  let best = 1;
  for (let i = 0; i < data.length; i += 4) {
    const share = data[i + 3] / 255;
    const shown = [0, 1, 2].map(c => share * data[i + c] + (1 - share) * ground[c]);
    const pair = [light(shown), light(ground)].sort((a, b) => b - a);
    best = Math.max(best, (pair[0] + .05) / (pair[1] + .05));
  }
  return best;
}"""


def _label_contrast(one: Tab) -> float:
    return float(one.page.evaluate(LABEL_CONTRAST))


def test_nothing_is_wider_than_a_phone_and_who_may_only_look_sees_no_button(
    browser: Browser, daemon: DaemonProcess, trainer: FakeTrainer
) -> None:
    with Tab(browser, daemon, size=PHONE, view_only=True) as phone:
        for place, there in {"#/": NIGHT_CARD, NIGHT_CHARTS: DRAWN, NIGHT_REPORT: REPORT}.items():
            phone.go(place, there)
            assert phone.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], place
        phone.go("#/run/live/1", DRAWN)
        assert phone.page.locator(".actions").count() == 0
        asked = """fetch("/api/v1/runs/live/orders", {method: "POST", body: '{"kind": "stop"}'})"""
        assert phone.page.evaluate(f"() => {asked}.then(answer => answer.status)") == 403


def test_it_can_be_used_by_keyboard(tab: Tab) -> None:
    tab.go("#/", NIGHT_CARD)
    tab.page.reload()
    tab.page.wait_for_selector(NIGHT_CARD)
    seen = []
    for _ in range(12):
        tab.page.keyboard.press("Tab")
        seen.append(tab.page.evaluate("document.activeElement.getAttribute('href') ?? ''"))
        if seen[-1] == NIGHT_CHARTS:
            break
    assert seen[0] == "#main", "the first stop skips the header"
    outline = tab.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector(DRAWN)


def test_the_policy_is_strict_and_the_page_asks_nobody_else(tab: Tab, dark: Tab, daemon: DaemonProcess) -> None:
    answer = daemon.get("/")
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    for one in (tab, dark):
        one.go("#/", NIGHT_CARD)
        assert one.asked
        assert [url for url in one.asked if not url.startswith((one.address, "data:"))] == []
        assert [line for line in one.complaints if "error" in line or "Refused" in line] == []
    insert = """document.body.insertAdjacentHTML("beforeend", "<b></b>"); return false"""
    blocked = tab.page.evaluate(f"() => {{ try {{ {insert} }} catch {{ return true }} }}")
    assert blocked, "Trusted Types are not in force"
