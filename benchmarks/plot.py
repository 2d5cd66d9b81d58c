"""A chart of what each variant adds to a checkout and checkin, written as SVG without a library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from benchmarks.figures import Result

WIDTH: Final = 720
LABEL: Final = 190
BAR: Final = 18
GAP: Final = 8
HEAD: Final = 30
STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#444}.head{font-weight:600}"
    "rect{fill:#9aa7b4}.ours{fill:#2f7ed8}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}}"
)
OURS: Final = ("poolscope", "no-sites", "mapped")


def plot(results: Sequence[Result]) -> str:
    """Return a chart with a group of bars for each benchmark that measures CPU time of a cycle."""
    parts: list[str] = []
    y = 0
    for result in results:
        shown = [row for row in result.rows if row.unit == "us" and row.variant != "bare"]
        if not shown or result.name.endswith("-wall"):
            continue
        title = f"{result.title.partition(':')[0]}: microseconds added"
        parts.append(f'<text class="head" x="0" y="{y + 18}">{escape(title)}</text>')
        y += HEAD
        largest = max(row.added for row in shown)
        for row in shown:
            width = max(1.0, (WIDTH - LABEL - 70) * row.added / largest)
            kind = ' class="ours"' if row.variant in OURS else ""
            parts.append(
                f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(row.variant)}</text>'
                f'<rect{kind} x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>'
                f'<text x="{LABEL + width + 6:.1f}" y="{y + 14}">{row.added:.1f}</text>'
            )
            y += BAR + GAP
        y += GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {max(y, 1)}" '
        f'width="{WIDTH}"><style>{STYLE}</style>{"".join(parts)}</svg>\n'
    )
