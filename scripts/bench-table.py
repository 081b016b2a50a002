#!/usr/bin/env python3
"""Makes one table of what the benchmarks printed.

    scripts/bench-table.py [--markdown] target/bench

Reads the logs that scripts/bench.sh keeps there: engine.log (divan's tree), and the others, whose lines have a name and then
numbers in columns. What it does not know it passes on as it is, below the table. Needs nothing but Python 3.
"""

import argparse
import os
import platform
import re
import sys
from pathlib import Path
from typing import NamedTuple

NUMBER = re.compile(r"-|[\d.]+")
UNITS = {"ns", "us", "ms", "Gbit/s"}
RULES = ("0", "100", "4096")


class Table(NamedTuple):
    """A table of a title, columns and rows of words."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]


def engine(text: str) -> Table:
    """Divan's tree as nanoseconds a frame: a row a class of frames, a column a number of rules."""
    rows: dict[str, dict[str, str]] = {}
    once: dict[str, dict[str, str]] = {}
    bench, rules = "", "0"
    for line in text.splitlines():
        # "├─ name   fastest │ slowest │ median │ ...", an argument a level deeper, below each the items a second.
        words = re.sub(r"^[│├╰─ ]+", "", line).split(" │ ")
        name = re.split(r"\s{2,}", words[0].strip())[0]
        depth = len(line) - len(re.sub(r"^[│├╰─ ]+", "", line))
        if depth in (3, 6) and re.match(r"[a-z]", name):
            bench, rules = name.split()[0], "0"
        elif name.split() and name.split()[0] in RULES and depth == 6:
            rules = name.split()[0]
        if "item/s" in line and len(words) > 2:
            rate, unit = words[2].split()
            scale = {"Mitem/s": 1e6, "Gitem/s": 1e9, "Kitem/s": 1e3}[unit]
            rows.setdefault(bench, {})[rules] = f"{1e9 / (float(rate) * scale):.1f}"
            once.pop(bench, None)
        elif len(words) > 2 and bench not in rows and re.fullmatch(r"[\d.]+ [nµm]?s", words[2].strip()):
            time, unit = words[2].split()
            once.setdefault(bench, {})[rules] = f"{float(time) * {'ns': 1, 'µs': 1e3, 'ms': 1e6, 's': 1e9}[unit]:.0f}"
    body = [(name.replace("_", " "), [row.get(rules, "-") for rules in RULES]) for name, row in rows.items()]
    body.sort(key=lambda row: row[0] != "nothing")
    # What is not done for each frame.
    body += [(f"{name.replace('_', ' ')}, once", [row.get(rules, "-") for rules in RULES]) for name, row in once.items()]
    return Table("engine: ns a frame, median", [f"{rules} rules" for rules in RULES], body)


def columns(text: str) -> tuple[list[Table], list[str]]:
    """Tables of lines that are a name and, two blanks or more after it, words in columns; and the lines that are none."""
    tables: list[Table] = []
    rest: list[str] = []
    for line in text.splitlines():
        name, *cells = re.split(r"\s{2,}", line.strip())
        # "123 ns" or "123 ns   456 ns   1.2": a number may bring its unit.
        words = [cell.split() for cell in cells]
        numbers = [word[0] for word in words if NUMBER.fullmatch(word[0]) and (len(word) == 1 or word[1] in UNITS)]
        if numbers and len(numbers) == len(cells) and tables and len(cells) == len(tables[-1].columns):
            units = {word[1] for word in words if len(word) > 1}
            tables[-1].rows.append((", ".join([name, *sorted(units)]), numbers))
        elif cells and not any(NUMBER.fullmatch(word) for cell in words for word in cell) and "/" not in cells[0]:
            tables.append(Table(name, cells, []))
        elif line.strip():
            rest.append(line)
    return [table for table in tables if table.rows], rest


def machine() -> str:
    """The machine, in a line."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def plain(table: Table) -> str:
    """In fixed columns."""
    width = max([len(table.title), *(len(name) for name, _ in table.rows)]) + 2
    cell = max(12, *(len(column) + 2 for column in table.columns))
    lines = [f"{table.title:<{width}}" + "".join(f"{column:>{cell}}" for column in table.columns)]
    lines += [f"{name:<{width}}" + "".join(f"{word:>{cell}}" for word in words) for name, words in table.rows]
    return "\n".join(lines) + "\n"


def markdown(table: Table) -> str:
    """For a document."""
    lines = ["| " + " | ".join([table.title, *table.columns]) + " |", "| --- |" + " ---: |" * len(table.columns)]
    lines += ["| " + " | ".join([name, *words, *[""] * (len(table.columns) - len(words))]) + " |" for name, words in table.rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--markdown", action="store_true", help="for a document")
    parser.add_argument("folder", type=Path, help="where the logs are")
    options = parser.parse_args()
    tables: list[Table] = []
    rest: list[str] = []
    for name in ("engine", "relay", "network", "scale"):
        log = options.folder / f"{name}.log"
        if not log.exists():
            continue
        text = log.read_text()
        if name == "engine":
            tables.append(engine(text))
        else:
            found, others = columns(text)
            tables += found
            rest += others
    if not any(table.rows for table in tables):
        sys.exit(f"bench-table: no log in {options.folder} has a table")
    show = markdown if options.markdown else plain
    parts = [machine() + "\n", *map(show, tables)]
    if rest:
        fence = ["```", *rest, "```"] if options.markdown else rest
        parts.append("\n".join(fence) + "\n")
    print("\n".join(parts), end="")


if __name__ == "__main__":
    main()
