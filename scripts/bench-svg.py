#!/usr/bin/env python3
"""Draws the table of the network bench as bars, as SVG.

    make bench && scripts/bench-svg.py target/bench/table.txt > docs/performance.svg

A small chart a measure; softnet's bars stand out. The picture has no background of its own, and follows the reader's light or dark
one; `--theme` fixes that, to look at either. Needs nothing but Python 3.
"""

import argparse
import re
import sys
from html import escape

# What is drawn: the row's name in the table, the title, whether more is better.
CHARTS = (
    ("TCP guest to host, Gbit/s", "TCP, guest to host: Gbit/s", True),
    ("TCP host to guest, Gbit/s", "TCP, host to guest: Gbit/s", True),
    ("TCP guest to host, CPU ms a gigabit", "TCP, guest to host: CPU, ms a gigabit", False),
    ("TCP host to guest, CPU ms a gigabit", "TCP, host to guest: CPU, ms a gigabit", False),
    ("TCP request/response, p50, us", "TCP, a byte and its answer: µs, median", False),
    ("connections a second", "TCP, connections a second", True),
    ("ping under TCP guest to host, p99, us", "Ping while TCP leaves the guest: µs, p99", False),
    ("ping under TCP host to guest, p99, us", "Ping while TCP reaches the guest: µs, p99", False),
)
OURS = "softnet"
NOTE = "bridge: no filter, a frame a system call. passt and slirp do other work: they end the guest's TCP and make connections of their own."

LIGHT = {"text": "#1f2328", "dim": "#59636e", "bar": "#afb8c1", "ours": "#0969da", "line": "#d1d9e0"}
DARK = {"text": "#e6edf3", "dim": "#9198a1", "bar": "#59636e", "ours": "#4493f8", "line": "#3d444d"}
BACKGROUND = {"light": "#ffffff", "dark": "#0d1117"}
FONT = "system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif"

WIDTH, GAP, MARGIN = 400, 40, 16  # of a chart, between charts, around all
HEAD, BAR, PITCH, FOOT = 46, 16, 24, 22  # above the bars; a bar's height; from bar to bar; below
LABEL, VALUE = 130, 62  # room for a contender's name and for its number


def read(text: str) -> tuple[list[str], dict[str, list[float | None]]]:
    """The contenders and the rows of the table whose title begins with "network"."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("network"):
            contenders = [word for word in re.split(r"\s{2,}", line.strip())[1:] if word != "times better"]
            break
    else:
        sys.exit("bench-svg: no table of the network bench in this file")
    rows: dict[str, list[float | None]] = {}
    for line in lines:
        if not line.strip():
            break
        name, *words = re.split(r"\s{2,}", line.strip())
        rows[name] = [None if word == "-" else float(word) for word in words[: len(contenders)]]
    return contenders, rows


def style(theme: str) -> str:
    """Colours as CSS."""

    def rules(colours: dict[str, str]) -> str:
        fills = "".join(f".{name}{{fill:{colour}}}" for name, colour in colours.items() if name != "line")
        return fills + f".line{{stroke:{colours['line']}}}"

    if theme == "both":
        return f"{rules(LIGHT)}@media (prefers-color-scheme:dark){{{rules(DARK)}}}"
    return rules(DARK if theme == "dark" else LIGHT)


def number(value: float) -> str:
    """Three digits, as in the table."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def chart(at: tuple[int, int], title: str, more: bool, bars: list[tuple[str, float | None]]) -> list[str]:
    """One measure."""
    x, y = at
    parts = [
        f'<text class="text" x="{x}" y="{y + 16}" font-size="14" font-weight="600">{escape(title)}</text>',
        f'<text class="dim" x="{x}" y="{y + 34}" font-size="12">{"more" if more else "less"} is better</text>',
    ]
    most = max((value for _, value in bars if value is not None), default=0) or 1
    room = WIDTH - LABEL - VALUE
    for index, (name, value) in enumerate(bars):
        top = y + HEAD + index * PITCH
        ours = name.startswith(OURS)
        weight = ' font-weight="600"' if ours else ""
        middle = top + BAR - 4
        parts.append(
            f'<text class="{"text" if ours else "dim"}" x="{x + LABEL - 8}" y="{middle}" font-size="13" '
            f'text-anchor="end"{weight}>{escape(name)}</text>'
        )
        if value is None:
            parts.append(f'<text class="dim" x="{x + LABEL + 6}" y="{middle}" font-size="13">–</text>')
            continue
        length = max(1.0, value / most * room)
        parts.append(
            f'<rect class="{"ours" if ours else "bar"}" x="{x + LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2"/>'
            f'<text class="text" x="{x + LABEL + length + 6:.1f}" y="{middle}" font-size="13"{weight}>{number(value)}</text>'
        )
    bottom = y + HEAD + len(bars) * PITCH
    parts.append(f'<line class="line" x1="{x + LABEL}" y1="{y + HEAD - 4}" x2="{x + LABEL}" y2="{bottom - 4}"/>')
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--theme", choices=("both", "light", "dark"), default="both", help="whose background it is for")
    parser.add_argument("table", type=argparse.FileType(encoding="utf-8"), help="what scripts/bench-table.py printed")
    options = parser.parse_args()
    contenders, rows = read(options.table.read())
    charts = [(title, more, rows[name]) for name, title, more in CHARTS if name in rows]
    height = HEAD + len(contenders) * PITCH + FOOT
    size = (2 * MARGIN + 2 * WIDTH + GAP, 2 * MARGIN + (len(charts) + 1) // 2 * height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" height="{size[1]}" '
        f'font-family="{FONT}" role="img" aria-label="softnet beside other ways to carry a guest\'s frames">',
        f"<style>{style(options.theme)}</style>",
    ]
    if options.theme != "both":
        parts.append(f'<rect width="100%" height="100%" style="fill:{BACKGROUND[options.theme]}"/>')
    for index, (title, more, values) in enumerate(charts):
        at = (MARGIN + index % 2 * (WIDTH + GAP), MARGIN + index // 2 * height)
        parts += chart(at, title, more, list(zip(contenders, values, strict=True)))
    parts.append(f'<text class="dim" x="{MARGIN}" y="{size[1] - MARGIN}" font-size="12">{escape(NOTE)}</text>')
    print("\n".join([*parts, "</svg>"]))


if __name__ == "__main__":
    main()
