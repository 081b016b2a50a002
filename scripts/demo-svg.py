#!/usr/bin/env python3
"""Turns what a terminal program printed into a picture of a terminal, as SVG.

    make --silent demo | tee demo.log              (or: script -qec 'make --silent demo' demo.log)
    scripts/demo-svg.py --command 'make demo' < demo.log > docs/demo.svg

Knows text, colours and styles (SGR), carriage returns and erased lines: what a program prints that does not move about.
Needs nothing but Python 3.
"""

import argparse
import re
import sys
import unicodedata
from html import escape
from typing import NamedTuple

# A dark theme of our own. Index: the eight ANSI colours, then their bright sisters.
PALETTE = (
    "#3b4252", "#f2777a", "#8fd18a", "#f0c674", "#7aa6e8", "#c594e0", "#70c9c9", "#d4d9e4",
    "#76819a", "#ff9a9c", "#b2eaad", "#ffdd94", "#a3c5ff", "#deb8f3", "#9ae6e6", "#ffffff",
)  # fmt: skip
TEXT, DIM, WINDOW, EDGE, BAR = PALETTE[7], "#8a94a8", "#171a21", "#2f3542", "#20242e"
LIGHTS = ("#ff5f57", "#febc2e", "#28c840")
FONT = "ui-monospace,'SF Mono',SFMono-Regular,Menlo,'DejaVu Sans Mono','Liberation Mono',Consolas,monospace"

SIZE, CELL, LINE = 14, 8.43, 20  # font size, width of a column, height of a line, in pixels
MARGIN, HEAD = 20, 38  # around the text; the window's title bar

ESCAPE = re.compile(r"\x1b\[([0-9;:?]*)([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\^_]|[\x00-\x08\x0b-\x1f\x7f]")


class Style(NamedTuple):
    """How a character looks."""

    fg: str | None = None
    bg: str | None = None
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False


def indexed(n: int) -> str:
    """Colour n of the 256."""
    if n < 16:
        return PALETTE[n]
    if n >= 232:
        return "#" + 3 * f"{8 + 10 * (n - 232):02x}"
    n -= 16
    return "#" + "".join(f"{level and 55 + 40 * level:02x}" for level in (n // 36, n // 6 % 6, n % 6))


def restyled(style: Style, parameters: str) -> Style:
    """The style after an SGR sequence."""
    codes = [int(code or 0) for code in re.split("[;:]", parameters)] if parameters else [0]
    while codes:
        code = codes.pop(0)
        if code == 0:
            style = Style()
        elif code in (1, 2, 3, 4):
            style = style._replace(**{("bold", "dim", "italic", "underline")[code - 1]: True})
        elif code == 22:
            style = style._replace(bold=False, dim=False)
        elif code in (23, 24):
            style = style._replace(**{("italic", "underline")[code - 23]: False})
        elif code in (38, 48):
            layer = "fg" if code == 38 else "bg"
            if codes[:1] == [5] and len(codes) > 1:
                style = style._replace(**{layer: indexed(codes[1] & 255)})
                del codes[:2]
            elif codes[:1] == [2] and len(codes) > 3:
                style = style._replace(**{layer: "#" + "".join(f"{level & 255:02x}" for level in codes[1:4])})
                del codes[:4]
        elif code == 39:
            style = style._replace(fg=None)
        elif code == 49:
            style = style._replace(bg=None)
        else:
            for base, layer, first in ((30, "fg", 0), (40, "bg", 0), (90, "fg", 8), (100, "bg", 8)):
                if base <= code < base + 8:
                    style = style._replace(**{layer: PALETTE[first + code - base]})
    return style


def width(char: str) -> int:
    """How many columns a character takes."""
    if unicodedata.combining(char) or char in "\u200d\ufe0e\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def read(text: str) -> list[list[tuple[str, Style]]]:
    """Lines of cells; a wide character is followed by an empty cell."""
    lines, style = [], Style()
    for raw in text.replace("\r\n", "\n").split("\n"):
        cells: list[tuple[str, Style]] = []
        column = at = 0

        def put(char: str) -> None:
            nonlocal column
            cells.extend([(" ", Style())] * (column + 1 - len(cells)))
            cells[column] = (char, style)
            column += 1

        while at < len(raw):
            if match := ESCAPE.match(raw, at):
                at = match.end()
                if match[2] == "m":
                    style = restyled(style, match[1])
                elif match[2] == "K":
                    del cells[0 if match[1] == "2" else column :]
                elif match[0] == "\r":
                    column = 0
                elif match[0] == "\b":
                    column = max(column - 1, 0)
                continue
            char = raw[at]
            at += 1
            if char == "\t":
                for _ in range(8 - column % 8):
                    put(" ")
            elif (columns := width(char)) == 0:
                if column:
                    cells[column - 1] = (cells[column - 1][0] + char, cells[column - 1][1])
            else:
                put(char)
                if columns == 2:
                    put("")
        while cells and cells[-1][0] == " " and cells[-1][1].bg is None:
            cells.pop()
        lines.append(cells)
    while lines and not lines[-1]:
        lines.pop()
    return lines


def fold(line: list, columns: int) -> list[list]:
    """A line as lines of so many columns."""
    return [line[i : i + columns] for i in range(0, len(line), columns)] or [[]]


def runs(line: list[tuple[str, Style]]):
    """Stretches of one style: first column, number of columns, text, style. Two blanks end one, so that what is aligned
    in the terminal is aligned here whatever the viewer's font."""
    start = 0
    while start < len(line):
        end = start + 1
        style = line[start][1]
        while end < len(line) and line[end][1] == style:
            if line[end][0] != " " and line[end - 1][0] == " " and end - start > 1 and line[end - 2][0] == " ":
                break
            end += 1
        yield start, end - start, "".join(char for char, _ in line[start:end]), style
        start = end


def number(value: float) -> str:
    """Short."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def draw(lines: list, title: str, columns: int) -> str:
    """The picture."""
    wide = 2 * MARGIN + columns * CELL
    high = HEAD + MARGIN + len(lines) * LINE
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(wide)}" height="{high}" '
        f'viewBox="0 0 {number(wide)} {high}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        f'<rect x=".5" y=".5" width="{number(wide - 1)}" height="{high - 1}" rx="10" fill="{WINDOW}" stroke="{EDGE}"/>',
        f'<path d="M1 {HEAD - 8}V11a10 10 0 0 1 10-10H{number(wide - 11)}a10 10 0 0 1 10 10V{HEAD - 8}z" fill="{BAR}"/>',
    ]
    out += [
        f'<circle cx="{20 + 20 * i}" cy="{(HEAD - 8) / 2:.0f}" r="6" fill="{light}"/>' for i, light in enumerate(LIGHTS)
    ]
    out.append(
        f'<text x="{number(wide / 2)}" y="{HEAD - 18}" text-anchor="middle" fill="{DIM}" font-size="13" '
        f'font-family="system-ui,-apple-system,\'Segoe UI\',\'DejaVu Sans\',sans-serif">{escape(title)}</text>'
    )
    out.append(f'<g font-family="{FONT}" font-size="{SIZE}" fill="{TEXT}" xml:space="preserve">')
    for row, line in enumerate(lines):
        top = HEAD + row * LINE + 6
        for start, length, text, style in runs(line):
            x = MARGIN + start * CELL
            if style.bg:
                out.append(
                    f'<rect x="{number(x)}" y="{top - 1}" width="{number(length * CELL)}" height="{LINE}" '
                    f'fill="{style.bg}"/>'
                )
            kept = text.rstrip()
            if not kept:
                continue
            indent = len(kept) - len(kept.lstrip())
            shown = sum(width(char) for char in kept) - indent
            attributes = f'x="{number(x + indent * CELL)}" y="{top + 14}"'
            if shown > 1:  # whatever the font, so many columns
                attributes += f' textLength="{number(shown * CELL)}" lengthAdjust="spacingAndGlyphs"'
            if colour := style.fg or (DIM if style.dim else None):
                attributes += f' fill="{colour}"'
            if style.fg and style.dim:
                attributes += ' opacity=".65"'
            if style.bold:
                attributes += ' font-weight="bold"'
            if style.italic:
                attributes += ' font-style="italic"'
            if style.underline:
                attributes += ' text-decoration="underline"'
            out.append(f"<text {attributes}>{escape(kept.lstrip(), quote=False)}</text>")
    out += ["</g>", "</svg>", ""]
    return "\n".join(out)


def main() -> None:
    """Standard input to standard output."""
    options = argparse.ArgumentParser(description="Turns a terminal program's output into an SVG picture.")
    options.add_argument("--title", default="softnet", help="the window's title")
    options.add_argument("--command", help="show this as typed at a prompt before the output")
    options.add_argument("--columns", type=int, default=100, help="longer lines are folded (default: 100)")
    options.add_argument("--from", dest="first", metavar="REGEX", help="leave out what comes before the first such line")
    options.add_argument("--until", metavar="REGEX", help="leave out what comes after the first such line")
    wish = options.parse_args()

    lines = read(sys.stdin.buffer.read().decode("utf-8", "replace"))
    # What script(1) adds of its own.
    lines = [line for line in lines if not re.match("Script (started|done) on ", "".join(char for char, _ in line))]
    plain = ["".join(char for char, _ in line) for line in lines]
    first = next((i for i, line in enumerate(plain) if wish.first and re.search(wish.first, line)), 0)
    last = next((i for i, line in enumerate(plain) if wish.until and i >= first and re.search(wish.until, line)), len(plain))
    lines = lines[first : last + 1]
    if not lines:
        sys.exit("demo-svg: nothing to show on standard input")
    if wish.command:
        lines[:0] = read(f"\x1b[32m$\x1b[0m \x1b[1m{wish.command}\x1b[0m\n")
    lines = [part for line in lines for part in fold(line, wish.columns)]
    # As wide as the text, but not so narrow that it is no terminal.
    columns = max(60, *(len(line) for line in lines))
    sys.stdout.buffer.write(draw(lines, wish.title, columns).encode())


if __name__ == "__main__":
    main()
