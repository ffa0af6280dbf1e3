"""The page: it needs nothing but itself, reads well, and no text in it can be more than text."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from monitor.report import compare
from monitor.report.page import page
from monitor.report.whole import blocks, markdown
from tests.harness.pages import Page, assert_inert
from tests.harness.report_inputs import HOSTILE, hostile, report_input_of, rolled_back

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not here")


@pytest.fixture(scope="module")
def text() -> str:
    return page("the night", blocks(report_input_of(rolled_back(), title="the night")))


def test_the_page_is_sound_and_holds_the_whole_report(text: str) -> None:
    found = assert_inert(text)
    assert "Run the night" in found.text
    for heading in (
        "The run in numbers",
        "Epochs",
        "Findings",
        "Incidents",
        "Orders and rollbacks",
        "Checkpoints",
        "Time lost",
    ):
        assert heading in found.text
    assert found.tags.count("svg") == 6 + 5, "six panels of the whole run, five around its onset"


def test_every_chart_has_a_title_and_a_description_of_its_own(text: str) -> None:
    found = Page(text)
    named = [name for value in found.values("aria-labelledby") for name in value.split()]
    ids = found.values("id")
    assert len(named) == 2 * found.tags.count("svg")
    assert len(set(ids)) == len(ids)
    assert set(named) <= set(ids)


def test_every_table_has_heads_for_its_columns_and_can_be_scrolled_with_the_keyboard(text: str) -> None:
    found = Page(text)
    assert set(found.values("scope")) == {"col"}
    assert found.tags.count("th") == len(found.values("scope"))
    assert len(found.values("tabindex")) == found.tags.count("table") + found.tags.count("svg")


def test_a_browser_is_forbidden_to_load_anything_and_knows_light_and_dark(text: str) -> None:
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'\"" in text
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text
    assert not re.search(r"https?://|//[a-z]", re.sub(r"<!DOCTYPE html>", "", text))


@pytest.mark.parametrize("theme", [":root", "prefers-color-scheme: dark"])
def test_every_colour_can_be_told_from_its_ground(text: str, theme: str) -> None:
    """WCAG 2.2: 4.5:1 for text (1.4.3), 3:1 for lines and marks (1.4.11)."""
    colours = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6});", text.split(theme, 1)[1].split("}", 1)[0]))
    ground = colours.pop("ground")
    for name, colour in colours.items():
        least = {"rule": 1.0, "head": 1.0, "text": 4.5, "soft": 4.5, "epoch": 3.0}.get(name, 4.5)
        assert _contrast(colour, ground) >= least, name


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (s / 12.92 if s <= 0.03928 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_hostile_names_are_text_on_the_page_and_cut_to_size() -> None:
    text = page(HOSTILE, blocks(hostile()))
    found = assert_inert(text)
    assert "Owned" in found.text
    assert "<script>alert(2)</script>" in found.text
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "A" * 400 not in text


def test_hostile_names_are_text_in_the_markdown_of_the_run() -> None:
    """Read by a Markdown reader that knows HTML, links and code: none of them comes from a name."""
    rendered = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(markdown(blocks(hostile())))
    assert not re.search(r"<(img|a|code|em|del|script|svg)\b", rendered)
    assert rendered.count("<h1>") == 1
    assert "\nOwned" not in rendered


def test_hostile_names_of_two_runs_are_text_too() -> None:
    told = compare.blocks(hostile(), hostile("<b>second</b>"))
    found = assert_inert(page("two", told))
    assert "<b>second</b>" in found.text
    assert not re.search(
        r"<(img|a|code|em|script)\b", MarkdownIt("gfm-like", {"linkify": False}).render(markdown(told))
    )


def test_a_page_of_a_long_run_stays_small() -> None:
    report_input = report_input_of(rolled_back())
    assert len(page("x", blocks(report_input)).encode()) < 600_000


@needs_chromium
@pytest.mark.parametrize("kind", ["night", "hostile"])
def test_a_browser_without_a_network_opens_it_and_complains_of_nothing(kind: str, text: str, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    file = tmp_path / "report.html"
    file.write_text(text if kind == "night" else page(HOSTILE, blocks(hostile())), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0", "--dump-dom", file.as_uri()],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "</svg>" in done.stdout
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert_inert(done.stdout)
