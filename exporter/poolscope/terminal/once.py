"""The table once, for what is no terminal, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from poolscope.terminal.model import Model, Order, PoolRow
from poolscope.terminal.table import SEVERITY_STYLES, Glyphs, columns_for

WIDTH_OF_FILES: Final = 120
"""Columns where the output is no terminal."""


def table(rows: Sequence[PoolRow], width: int, glyphs: Glyphs) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    columns = columns_for(width, rows, glyphs)
    for column in columns:
        shown.add_column(
            column.title, justify="right" if column.is_number else "left", no_wrap=True
        )
    for row in rows:
        shown.add_row(*(column.cell(row, glyphs) for column in columns))
    return shown


def print_once(model: Model, order: Order, words: str, console: Console | None = None) -> None:
    """Print the table and what was found."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_OF_FILES
    glyphs = Glyphs.for_encoding(console.encoding)
    rows = model.sorted_rows(order, words)
    if not rows:
        console.print("no pools" if not words else f"no pool has {words!r}")
        return
    console.print(table(rows, console.width, glyphs))
    for row in rows:
        for each in row.findings:
            line = Text.assemble(
                (each["severity"], SEVERITY_STYLES[each["severity"]]),
                f": {row.pool}: {each['rule']}: {each['message']}",
            )
            console.print(line, soft_wrap=True)
            for site in each["sites"]:
                console.print(Text(f"    {site}", "dim"), soft_wrap=True)


def as_json(model: Model, order: Order, words: str) -> str:
    """Return what the exporter says of the pools, with what changed since the last look."""
    pools = [
        {
            **row.raw,
            "acquires_per_second": row.rate,
            "timeouts_per_second": row.timeouts,
            "acquire_p50_p99": _list(row.acquire),
            "hold_p50_p99": _list(row.hold),
        }
        for row in model.sorted_rows(order, words)
    ]
    return json.dumps({"pools": pools}, indent=2) + "\n"


def _list(pair: tuple[float, float] | None) -> Any:
    return None if pair is None else list(pair)
