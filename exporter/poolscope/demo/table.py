"""What the numbers of the pools look like on a terminal."""

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
"""Refreshes that are shown of the past, one character each, if there is room."""

FULL_WIDTH: Final = 100
"""Columns that it takes to show everything."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that bars are made of, in what the terminal can show."""

    full: str = "█"
    empty: str = "░"
    steps: str = " ▁▂▃▄▅▆▇█"

    @classmethod
    def for_encoding(cls, encoding: str) -> Glyphs:
        return cls() if encoding.lower().startswith("utf") else cls("#", "-", " ..::||##")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table; `optional` is one that a narrow terminal does without."""

    title: str
    cell: Callable[[Snapshot, Glyphs], Text]
    justify: Literal["left", "right"] = "right"
    optional: bool = False


def pools_table(snapshots: Sequence[Snapshot], glyphs: Glyphs, width: int = FULL_WIDTH) -> Table:
    """Return one row for each pool, in less than 100 columns, or in 80 if `width` is less."""
    columns = [column for column in COLUMNS if width >= FULL_WIDTH or not column.optional]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column.title, no_wrap=True, justify=column.justify)
    for snapshot in snapshots:
        table.add_row(*(column.cell(snapshot, glyphs) for column in columns))
    return table


def pool_style(pool: Snapshot) -> str:
    """Return red if callers wait, yellow if the next one will or nearly will, else green."""
    if pool.waiting:
        return "red"
    return "yellow" if pool.in_use >= 0.8 * pool.limit else "green"


def _bar(pool: Snapshot, glyphs: Glyphs) -> str:
    full = round(BAR_WIDTH * utilization(pool))
    return glyphs.full * full + glyphs.empty * (BAR_WIDTH - full)


def utilization(pool: Snapshot) -> float:
    """Return what is in use of the limit: 0 to 1, and 0 where there is no limit."""
    return min(1.0, pool.in_use / pool.limit) if pool.limit else 0.0


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else ""


def _mean(seconds: float, count: int) -> str:
    """Return the milliseconds of one."""
    return f"{1000 * seconds / count:.0f}" if count else ""


def _number(field: str, style: str = "") -> Callable[[Snapshot, Glyphs], Text]:
    """Return the cell of a number, which has the style if it is not 0."""

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
    """How full the pools were at the last refreshes, as a line of small bars for each."""

    glyphs: Glyphs
    width: int = HISTORY_WIDTH
    _bars: dict[str, deque[tuple[str, str]]] = field(default_factory=dict)

    def add(self, snapshots: Iterable[Snapshot]) -> None:
        """Note what is now."""
        highest = len(self.glyphs.steps) - 1
        for pool in snapshots:
            bars = self._bars.setdefault(pool.name, deque(maxlen=self.width))
            bars.append((self.glyphs.steps[round(highest * utilization(pool))], pool_style(pool)))

    def table(self) -> Table:
        """Return one row for each pool, now at the right."""
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, width=self.width)
        for name, bars in self._bars.items():
            line = Text(" " * (self.width - len(bars)))
            for bar, style in bars:
                line.append(bar, style)
            table.add_row(Text(name, "bold"), line)
        return table
