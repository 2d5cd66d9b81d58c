"""Draws the numbers of the pools for a terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from poolscope import Snapshot

BAR_WIDTH: Final = 8

HISTORY_WIDTH: Final = 80
"""Refreshes that the history shows, one character each, if the terminal is wide enough."""

FULL_WIDTH: Final = 100
"""Width of a terminal that shows every column."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of bars, as far as the encoding of the terminal has them."""

    full: str = "█"
    empty: str = "░"
    steps: str = " ▁▂▃▄▅▆▇█"

    @classmethod
    def for_encoding(cls, encoding: str) -> Glyphs:
        return cls() if encoding.lower().startswith("utf") else cls("#", "-", " ..::||##")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table; a narrow terminal does not show `optional` ones."""

    title: str
    cell: Callable[[Snapshot, Glyphs], Text]
    justify: Literal["left", "right"] = "right"
    optional: bool = False


def pools_table(snapshots: Sequence[Snapshot], glyphs: Glyphs, width: int = FULL_WIDTH) -> Table:
    """Return a table with a row per pool, 100 columns wide, or 80 if `width` is less than 100."""
    columns = [column for column in COLUMNS if width >= FULL_WIDTH or not column.optional]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column.title, no_wrap=True, justify=column.justify)
    for snapshot in snapshots:
        table.add_row(*(column.cell(snapshot, glyphs) for column in columns))
    return table


def pool_style(pool: Snapshot) -> str:
    """Return red if callers wait, yellow from 80 % in use on, else green."""
    if pool.waiting:
        return "red"
    return "yellow" if pool.in_use >= 0.8 * pool.limit else "green"


def _bar(pool: Snapshot, glyphs: Glyphs) -> str:
    full = round(BAR_WIDTH * utilization(pool))
    return glyphs.full * full + glyphs.empty * (BAR_WIDTH - full)


def utilization(pool: Snapshot) -> float:
    """Return the share of the limit that is in use, from 0 to 1; 0 without a limit."""
    return min(1.0, pool.in_use / pool.limit) if pool.limit else 0.0


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else ""


def _mean(seconds: float, count: int) -> str:
    """Return the mean in milliseconds."""
    return f"{1000 * seconds / count:.0f}" if count else ""


def _number(field: str, style: str = "") -> Callable[[Snapshot, Glyphs], Text]:
    """Return a function that makes the cell of a number; the style applies unless it is 0."""

    def cell(pool: Snapshot, _: Glyphs) -> Text:
        value: int = getattr(pool, field)
        return Text(f"{value}", style if value else "")

    return cell


COLUMNS: Final = (
    Column("pool", lambda pool, _: Text(pool.name, "bold"), "left"),
    Column("kind", lambda pool, _: Text(pool.kind, "dim"), "left"),
    Column(
        "", lambda pool, glyphs: Text(_bar(pool, glyphs), pool_style(pool)), "left", optional=True
    ),
    Column("in\nuse", lambda pool, _: Text(f"{pool.in_use}/{pool.limit:g}", pool_style(pool))),
    Column("idle", _number("idle")),
    Column("wait", _number("waiting", "bold red")),
    Column("peak", _number("in_use_peak")),
    Column("acquired", _number("acquired")),
    Column("waited", _number("waited", "yellow"), optional=True),
    Column("timed\nout", _number("timed_out", "red")),
    Column("reused", lambda pool, _: Text(_share(pool.reused, pool.acquired))),
    Column("hold\nms", lambda pool, _: Text(_mean(pool.in_use_seconds, pool.acquired))),
    Column("wait\nms", lambda pool, _: Text(_mean(pool.waiting_seconds, pool.waited))),
)


@dataclass
class UtilizationHistory:
    """The utilization of each pool at the last refreshes, as a line of small bars."""

    glyphs: Glyphs
    width: int = HISTORY_WIDTH
    _bars: dict[str, deque[tuple[str, str]]] = field(default_factory=dict)

    def add(self, snapshots: Iterable[Snapshot]) -> None:
        """Add the current utilization of the pools."""
        highest = len(self.glyphs.steps) - 1
        for pool in snapshots:
            bars = self._bars.setdefault(pool.name, deque(maxlen=self.width))
            bars.append((self.glyphs.steps[round(highest * utilization(pool))], pool_style(pool)))

    def table(self) -> Table:
        """Return a table with a row per pool, the latest refresh on the right."""
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, width=self.width)
        for name, bars in self._bars.items():
            line = Text(" " * (self.width - len(bars)))
            for bar, style in bars:
                line.append(bar, style)
            table.add_row(Text(name, "bold"), line)
        return table
