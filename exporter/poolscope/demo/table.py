"""Draws the numbers of the pools for a terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from poolscope.demo.rows import PoolRow

BAR_WIDTH: Final = 8

HISTORY_WIDTH: Final = 80
"""Refreshes that the history shows, one character each, if the terminal is wide enough."""

GAP: Final = 2
"""Blanks between two columns."""

CALLERS_WAIT: Final = "!"
"""What the history shows of a refresh at which callers waited."""


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
    """
    A column of the table.

    rank: the higher, the sooner a narrow terminal goes without it; 0 is always shown.
    least: characters that it has at least, so that it does not grow with each digit.
    """

    title: str
    cell: Callable[[PoolRow, Glyphs], Text]
    rank: int
    justify: Literal["left", "right"] = "right"
    least: int = 0


@dataclass(frozen=True, slots=True)
class Drawn:
    """A column with its cells."""

    column: Column
    cells: list[Text]

    @property
    def width(self) -> int:
        titles = (len(line) for line in self.column.title.split("\n"))
        return max(self.column.least, *titles, *(cell.cell_len for cell in self.cells))


def pools_table(pools: Sequence[PoolRow], glyphs: Glyphs, width: int) -> Table:
    """Return a table with a row per pool, and as many columns as fit whole into `width`."""
    drawn = _fitting([Drawn(c, [c.cell(pool, glyphs) for pool in pools]) for c in COLUMNS], width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for each in drawn:
        table.add_column(
            each.column.title,
            justify=each.column.justify,
            min_width=each.width,
            overflow="fold",  # for a terminal that is too narrow for a name
        )
    for row in zip(*(each.cells for each in drawn), strict=True):
        table.add_row(*row)
    return table


def _fitting(drawn: Sequence[Drawn], width: int) -> list[Drawn]:
    """Return the columns that fit: without those of the highest ranks."""
    kept = list(drawn)
    while sum(each.width + GAP for each in kept) - GAP > width:
        last = max(kept, key=lambda each: each.column.rank)
        if not last.column.rank:
            break
        kept.remove(last)
    return kept


def pool_style(pool: PoolRow) -> str:
    """Return red if callers wait, yellow from 80 % in use on, else green."""
    if pool.waiting:
        return "red"
    return "yellow" if pool.in_use >= 0.8 * pool.limit else "green"


def _bar(pool: PoolRow, glyphs: Glyphs) -> str:
    full = round(BAR_WIDTH * pool.utilization)
    return glyphs.full * full + glyphs.empty * (BAR_WIDTH - full)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def _mean(seconds: float, count: int) -> str:
    """Return the mean in milliseconds."""
    return f"{1000 * seconds / count:.0f}" if count else "-"


def _number(field: str, style: str = "") -> Callable[[PoolRow, Glyphs], Text]:
    """Return a function that makes the cell of a number; the style applies unless it is 0."""

    def cell(pool: PoolRow, _: Glyphs) -> Text:
        value: int = getattr(pool, field)
        return Text(f"{value}", style if value else "")

    return cell


def _in_use(pool: PoolRow, _: Glyphs) -> Text:
    return Text(f"{pool.in_use}/{pool.limit:g}", pool_style(pool))


COLUMNS: Final = (
    Column("pool", lambda pool, _: Text(pool.name, "bold"), 0, "left"),
    Column("kind", lambda pool, _: Text(pool.kind, "dim"), 6, "left"),
    Column("", lambda pool, glyphs: Text(_bar(pool, glyphs), pool_style(pool)), 5, "left"),
    Column("in use", _in_use, 0),
    Column("idle", _number("idle"), 9),
    Column("peak", _number("in_use_peak"), 8),
    Column("waiting", _number("waiting", "bold red"), 1),
    Column("leaked", _number("leaked", "bold red"), 3),
    Column("acquired", _number("acquired"), 7),
    Column("waited", _number("waited", "yellow"), 12),
    Column("timed\nout", _number("timed_out", "red"), 2),
    Column("reused", lambda pool, _: Text(_share(pool.reused, pool.acquired)), 13),
    Column("mean ms\nheld", lambda pool, _: Text(_mean(pool.in_use_seconds, pool.acquired)), 10),
    Column("mean ms\nwaited", lambda pool, _: Text(_mean(pool.waiting_seconds, pool.waited)), 11),
)


class UtilizationHistory:
    """The utilization of each pool at the last refreshes, as a line of small bars."""

    def __init__(self, glyphs: Glyphs) -> None:
        self._glyphs = glyphs
        self._bars: dict[str, deque[tuple[str, str]]] = {}

    def add(self, pools: Iterable[PoolRow]) -> None:
        """Add the current utilization of the pools."""
        highest = len(self._glyphs.steps) - 1
        for pool in pools:
            bars = self._bars.setdefault(pool.name, deque(maxlen=HISTORY_WIDTH))
            step = self._glyphs.steps[round(highest * pool.utilization)]
            bars.append((CALLERS_WAIT if pool.waiting else step, pool_style(pool)))

    def refreshes(self, width: int) -> int:
        """Return how many refreshes fit beside the names, in a terminal of this width."""
        names = max(map(cell_len, self._bars), default=0)
        return max(1, min(HISTORY_WIDTH, width - names - GAP))

    def table(self, width: int) -> Table:
        """Return a table with a row per pool, the latest refresh on the right."""
        room = self.refreshes(width)
        table = Table.grid(padding=(0, GAP, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, width=room)
        for name, bars in self._bars.items():
            line = Text(" " * (room - len(bars)))
            for bar, style in list(bars)[-room:]:
                line.append(bar, style)
            table.add_row(Text(name, "bold"), line)
        return table
