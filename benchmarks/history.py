"""The results as others see them: a picture of all over time, as SVG written by hand, and a table of the latest."""

import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

ROW, LABEL, PLOT, VALUE = 22, 430, 300, 190  # pixels
DOUBLINGS = 3  # a plot reaches from an eighth of the goal to eight times as good
MET, MISSED, GRID = "#2a7f3f", "#b3392f", "#bbbbbb"
BEGIN, END = "<!-- latest.json, written by `make bench` -->\n", "<!-- end of latest.json -->\n"


def draw(folder: Path) -> str:
    """Return an SVG of the dated result files in a folder.

    A line shows how many times better than its goal a ratio was, run by run, on a logarithmic scale; the grey line is
    the goal, above it is better.
    """
    runs = [(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.json"))]
    series: dict[str, list[tuple[int, dict]]] = {}
    for place, (_, entries) in enumerate(runs):
        for entry in entries:
            if entry["goal"] is not None:
                series.setdefault(entry["name"], []).append((place, entry))
    width, height = LABEL + PLOT + VALUE, ROW * (len(series) + 2)
    told = f"{len(runs)} runs, {runs[0][0]} to {runs[-1][0]}; each line: times better than its goal" if runs else ""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="8" y="{ROW - 6}" font-weight="bold">{escape(told)}</text>',
    ]
    for row, name in enumerate(sorted(series), start=1):
        lines += _line(name, series[name], ROW * row, max(1, len(runs) - 1))
    return "\n".join([*lines, "</svg>"]) + "\n"


def margin(entry: dict) -> float:
    """Return how many times better than its goal an entry is; below 1 it misses it."""
    better = entry["goal"] / entry["ratio"] if entry["at_most"] else entry["ratio"] / entry["goal"]
    return max(better, 2.0**-DOUBLINGS)


def _line(name: str, points: Sequence[tuple[int, dict]], top: int, last: int) -> list[str]:
    middle = top + ROW / 2
    places = []
    for place, entry in points:
        up = min(DOUBLINGS, math.log2(margin(entry))) / DOUBLINGS
        places.append((LABEL + PLOT * place / last, middle - up * (ROW / 2 - 2)))
    entry = points[-1][1]
    colour = MET if entry["met"] else MISSED
    sign = "<=" if entry["at_most"] else ">="
    value = f"{entry['ratio']:g} {entry['unit']} (goal {sign} {entry['goal']:g})"
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return [
        f'<text x="8" y="{middle + 4}">{escape(name)}</text>',
        f'<line x1="{LABEL}" y1="{middle}" x2="{LABEL + PLOT}" y2="{middle}" stroke="{GRID}"/>',
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
        f'<circle cx="{places[-1][0]:.1f}" cy="{places[-1][1]:.1f}" r="2.5" fill="{colour}"/>',
        f'<text x="{LABEL + PLOT + 10}" y="{middle + 4}" fill="{colour}">{escape(value)}</text>',
    ]


def with_table(page: str, entries: Sequence[dict]) -> str:
    """Return a page with the table between its two marks made anew; a page without them as it is."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + begin + table(entries) + end + after if end else page


def table(entries: Sequence[dict]) -> str:
    """Return a Markdown table of results, one part for each command."""
    lines: list[str] = []
    for command in dict.fromkeys(entry["command"] for entry in entries):
        own = [entry for entry in entries if entry["command"] == command]
        lines += ["", f"`{command}`, {own[0]['date']}", "", "| what | median | least to greatest | goal | |"]
        lines += ["|---|---|---|---|---|", *map(_row, own)]
    machines = dict.fromkeys(entry["machine"] for entry in entries)
    return "\n".join([*lines, "", *(f"Measured on {machine}." for machine in machines), ""])


def _row(entry: dict) -> str:
    name, unit = entry["name"].partition("/")[2], entry["unit"]
    spread = " to ".join(f"{value:g}" for value in entry["spread"])
    goal = "" if entry["goal"] is None else f"{'at most' if entry['at_most'] else 'at least'} {entry['goal']:g}"
    met = {None: "", True: "met", False: "**not met**"}[entry["met"]]
    return f"| {name} | {entry['ratio']:g} {unit} | {spread} | {goal} | {met} |"
