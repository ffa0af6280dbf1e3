"""The trade-off as a picture: lines of text for a terminal, or one SVG. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from monitor.recorded.tuning.search import Tuned

COLUMNS, LINES = 60, 16
WIDTH, HEIGHT, MARGIN = 640, 400, 56
TRIED, HELD_OUT, BASE, CHOSEN = "·", "o", "+", "●"
COLOURS = {TRIED: "#b8b8b8", HELD_OUT: "#c05621", BASE: "#4a5568", CHOSEN: "#2b6cb0"}
WORDS = {
    TRIED: "a point that was tried",
    HELD_OUT: "held out: chosen without the runs it is judged on",
    BASE: "the policy it began with",
    CHOSEN: "chosen",
}
Mark = tuple[float, float, str]  # share of healthy runs warned of, recall, which


def marks(tuned: Tuned) -> list[Mark]:
    """What is drawn, the most important last, so that it lies on top."""
    tried = [(counted.warned_share, counted.recall, TRIED) for _, counted in tuned.tried]
    held_out = [(one.held_out.warned_share, one.held_out.recall, HELD_OUT) for one in tuned.curve]
    base, chosen = tuned.base_counted, tuned.all_runs
    ends = [(base.warned_share, base.recall, BASE), (chosen.warned_share, chosen.recall, CHOSEN)]
    return [*tried, *held_out, *ends]


def text_picture(tuned: Tuned) -> list[str]:
    """Recall upwards, the share of healthy runs warned of to the right."""
    drawn = marks(tuned)
    right = _right(drawn)
    grid = [[" "] * COLUMNS for _ in range(LINES)]
    for share, recall, mark in drawn:
        grid[round((1.0 - recall) * (LINES - 1))][round(share / right * (COLUMNS - 1))] = mark
    heads = {0: "100 %", LINES // 2: "recall", LINES - 1: "  0 %"}
    lines = [f"{heads.get(n, ''):>7} |{''.join(cells)}" for n, cells in enumerate(grid)]
    foot = f"0 %{'healthy runs warned of':^{COLUMNS - 9}}{right:.1%}"
    return [*lines, " " * 8 + "+" + "-" * COLUMNS, " " * 9 + foot, *_legend(f"{mark} " for mark in WORDS)]


def _legend(signs: Iterable[str]) -> list[str]:
    return [" " * 9 + sign + word for sign, word in zip(signs, WORDS.values(), strict=True)]


def _right(drawn: Iterable[Mark]) -> float:
    return max(*(share for share, _, _ in drawn), 0.02) * 1.05


def svg_picture(tuned: Tuned) -> str:
    """The same as an SVG document of its own."""
    drawn = marks(tuned)
    right = _right(drawn)
    inner, upper = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def dot(share: float, recall: float, mark: str) -> str:
        at = f'cx="{MARGIN + share / right * inner:.1f}" cy="{MARGIN + (1.0 - recall) * upper:.1f}"'
        return f'<circle {at} r="{3 if mark == TRIED else 5}" fill="{COLOURS[mark]}"/>'

    ticks = [_text(MARGIN - 8, MARGIN + upper * (1.0 - n / 4), f"{n * 25} %", "end") for n in range(5)]
    ticks += [_text(MARGIN + inner * n / 4, HEIGHT - MARGIN + 18, f"{right * n / 4:.1%}", "middle") for n in range(5)]
    legend = [
        f'<circle cx="{MARGIN + 12}" cy="{HEIGHT - MARGIN - 64 + 16 * n}" r="4" fill="{COLOURS[mark]}"/>'
        + _text(MARGIN + 22, HEIGHT - MARGIN - 60 + 16 * n, word, "start")
        for n, (mark, word) in enumerate(WORDS.items())
    ]
    frame = f'<path d="M{MARGIN} {MARGIN}V{HEIGHT - MARGIN}H{WIDTH - MARGIN}" fill="none" stroke="#333"/>'
    names = _text(MARGIN, MARGIN - 16, "bad runs warned of", "start")
    names += _text(WIDTH - MARGIN, HEIGHT - 12, "healthy runs warned of", "end")
    body = "\n".join([frame, names, *ticks, *(dot(*mark) for mark in drawn), *legend])
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
    return f'{head} font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'
