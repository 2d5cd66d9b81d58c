"""The table of docs/performance.md has the figures of its picture, and the text says no others."""

from __future__ import annotations

import re
from typing import Final

from scripts.docs.pages import ROOT

PAGE: Final = (ROOT / "docs" / "performance.md").read_text()
TITLE: Final = ": microseconds added"

COLUMNS: Final = (
    ("listeners", "empty TraceConfig"), ("no-sites",), ("poolscope",), ("mapped",),
    ("prometheus",), ("opentelemetry",),
)  # fmt: skip
"""What the picture calls the columns of the table."""


def in_the_picture() -> list[list[str]]:
    """Return the figures of each case, in the order of the table."""
    texts = re.findall(r">([^<]{2,})<", (ROOT / "docs" / "performance.svg").read_text())[1:]
    starts = [number for number, text in enumerate(texts) if text.endswith(TITLE)]
    found = []
    for start, end in zip(starts, [*starts[1:], len(texts)], strict=True):
        case = dict(zip(texts[start + 1 : end : 2], texts[start + 2 : end : 2], strict=True))
        found.append([next((case[n] for n in names if n in case), "") for names in COLUMNS])
    return found


def in_the_table() -> list[list[str]]:
    table = PAGE[PAGE.index("| | two empty listeners") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")][1:] for row in table]


def test_the_table_has_the_figures_of_the_picture() -> None:
    assert in_the_picture() == in_the_table()


def test_what_call_sites_cost() -> None:
    saved = [1 - float(row[1]) / float(row[2]) for row in in_the_table()]
    least, most = (f"{100 * share:.0f}" for share in (min(saved), max(saved)))
    assert f"saves between {least} and {most} % of what poolscope adds" in PAGE


def test_the_ranges_of_the_text() -> None:
    added = [float(row[2]) for row in in_the_table()]
    first = " ".join(PAGE.split("- When a caller asks")[0].split())
    synchronous, asyncpg = added[:4], added[6:10]
    assert f"{min(synchronous):.0f} to {max(synchronous):.0f} microseconds" in first
    assert f"{min(asyncpg):.0f} to {max(asyncpg):.0f} to a use of an asyncpg pool" in first
    folder = [float(row[3]) - float(row[2]) for row in in_the_table() if row[3]]
    assert f"adds {min(folder):.0f} to {max(folder):.0f} more" in first
