"""The columns of the table of pools, and which of them fit a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from poolscope.terminal.model import PoolRow

LONGEST_NAME: Final = 32
"""Characters of a pool's name that are shown in a table."""

BAR: Final = 10
TREND: Final = 20

GAP: Final = 2
"""Spaces between two columns."""

SEVERITY_STYLES: Final = {"critical": "bold red", "warning": "yellow", "info": "cyan"}


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of bars and trends, as far as the terminal has them."""

    full: str = "█"
    idle: str = "▒"
    empty: str = "░"
    steps: str = " ▁▂▃▄▅▆▇█"
    cut: str = "…"

    @classmethod
    def for_encoding(cls, encoding: str | None) -> Glyphs:
        if (encoding or "").lower().replace("-", "").startswith("utf"):
            return cls()
        return cls("#", "=", ".", " ..::-=##", "~")


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column.

    width: in characters; 0: as wide as its widest cell.
    priority: the columns with the highest ones are left out first.
    """

    title: str
    cell: Callable[[PoolRow, Glyphs], Text]
    width: int
    priority: int
    is_number: bool = True


def duration(seconds: float | None) -> str:
    """Return a time in at most 6 characters; "" for none."""
    if seconds is None or seconds <= 0:
        return ""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f}us"
    if seconds < 1:
        return f"{seconds * 1000:.3g}ms" if seconds < 0.0995 else f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    if seconds < 3600:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.0f}h"


def style_of(row: PoolRow) -> str:
    """Return the style of what says how full a pool is. The numbers say the same."""
    if row.waiting or row.is_full:
        return "bold red"
    return "yellow" if row.utilization >= 0.8 else "green"


def shortened(name: str, width: int, glyphs: Glyphs) -> str:
    """Return a name in one line of at most so many characters."""
    line = " ".join(name.split()) or name
    if cell_len(line) <= width:
        return line
    while cell_len(line) > width - 1:
        line = line[:-1]
    return line + glyphs.cut


def _name(row: PoolRow, glyphs: Glyphs) -> Text:
    return Text(shortened(row.pool, LONGEST_NAME, glyphs), "bold")


def _kind(row: PoolRow, glyphs: Glyphs) -> Text:
    return Text(row.kind, "dim")


def _bar(row: PoolRow, glyphs: Glyphs) -> Text:
    if not row.limit:
        return Text("no limit".ljust(BAR), "dim")
    used = min(BAR, round(BAR * row.in_use / row.limit))
    used = max(used, int(row.in_use > 0))
    idle = min(BAR - used, round(BAR * row.idle / row.limit))
    rest = BAR - used - idle
    return Text.assemble(
        (glyphs.full * used, style_of(row)),
        (glyphs.idle * idle, "dim"),
        (glyphs.empty * rest, "dim"),
    )


def _in_use(row: PoolRow, glyphs: Glyphs) -> Text:
    limit = "" if row.limit is None else f"/{row.limit}"
    return Text(f"{row.in_use}{limit}", style_of(row))


def _waiting(row: PoolRow, glyphs: Glyphs) -> Text:
    return Text(str(row.waiting), "bold red" if row.waiting else "dim")


def _leaked(row: PoolRow, glyphs: Glyphs) -> Text:
    return Text(str(row.leaked), "bold red" if row.leaked else "dim")


def _findings(row: PoolRow, glyphs: Glyphs) -> Text:
    if not row.findings:
        return Text("")
    severity = row.findings[0]["severity"]
    return Text(f"{len(row.findings)} {severity}", SEVERITY_STYLES[severity])


def _rate(row: PoolRow, glyphs: Glyphs) -> Text:
    return Text("" if row.rate is None else f"{row.rate:.1f}")


def _timeouts(row: PoolRow, glyphs: Glyphs) -> Text:
    if row.timeouts is None:
        return Text("")
    return Text(f"{row.timeouts:.1f}", "bold red" if row.timeouts else "dim")


def _both(pair: tuple[float, float] | None) -> Text:
    return Text("" if pair is None else f"{duration(pair[0])} {duration(pair[1]):>6}")


def _trend(row: PoolRow, glyphs: Glyphs) -> Text:
    steps, last = glyphs.steps, row.trend[-TREND:]
    line = "".join(steps[round(share * (len(steps) - 1))] for share in last)
    return Text(line.rjust(TREND), style_of(row))


COLUMNS: Final = (
    Column("pool", _name, 0, 0, is_number=False),
    Column("kind", _kind, 10, 7, is_number=False),
    Column("", _bar, BAR, 2, is_number=False),
    Column("in use", _in_use, 7, 0),
    Column("waiting", _waiting, 7, 0),
    Column("oldest wait", lambda row, _: Text(duration(row.oldest_wait)), 11, 3),
    Column("oldest hold", lambda row, _: Text(duration(row.oldest_hold)), 11, 1),
    Column("leaked", _leaked, 6, 2),
    Column("acquires/s", _rate, 10, 4),
    Column("timeouts/s", _timeouts, 10, 3),
    Column("acquire p50 p99", lambda row, _: _both(row.acquire), 15, 5),
    Column("hold p50 p99", lambda row, _: _both(row.hold), 13, 6),
    Column("last minute", _trend, TREND, 8, is_number=False),
    Column("found", _findings, 11, 1, is_number=False),
)


def columns_for(width: int, rows: Sequence[PoolRow], glyphs: Glyphs) -> list[Column]:
    """Return the columns that fit, in their order; none is cut off."""
    columns = list(COLUMNS)
    while len(columns) > 1 and needed(columns, rows, glyphs) > width:
        columns.remove(max(columns, key=lambda column: column.priority))
        if all(column.priority == 0 for column in columns):
            break
    return columns


def needed(columns: Sequence[Column], rows: Sequence[PoolRow], glyphs: Glyphs) -> int:
    """Return how many characters the columns take."""
    return sum(width_of(column, rows, glyphs) for column in columns) + GAP * len(columns)


def width_of(column: Column, rows: Sequence[PoolRow], glyphs: Glyphs) -> int:
    if column.width:
        return column.width
    return max([cell_len(column.title), *(column.cell(row, glyphs).cell_len for row in rows)])
