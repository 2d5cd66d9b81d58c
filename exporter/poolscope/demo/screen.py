"""The output: a summary that refreshes in a terminal, or plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from poolscope.demo.rows import FoundMistake, PoolRow
from poolscope.demo.table import CALLERS_WAIT, Glyphs, UtilizationHistory, pools_table
from poolscope.readings.findings import SEVERITIES

REFRESH: Final = 0.5
"""Seconds from one refresh to the next."""

WIDTH_OF_FILES: Final = 120
"""Columns where the output is no terminal."""

SEVERITY_STYLES: Final = {"critical": "bold red", "warning": "yellow"}


@dataclass(frozen=True, slots=True)
class Addresses:
    """URLs of the service and of the exporter, the latter without a path."""

    service: str
    exporter: str


class Screen:
    """Prints to stdout, or to `console` in tests."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._interactive = self._console.is_terminal and not self._console.is_dumb_terminal
        if not self._console.is_terminal:
            self._console.width = WIDTH_OF_FILES
        self._glyphs = Glyphs.for_encoding(self._console.encoding)
        self._history = UtilizationHistory(self._glyphs)
        self._live: Live | None = None

    def print_step(self, what: str) -> None:
        """Say what is being started."""
        self._console.print(f"{what} ...")

    @contextmanager
    def live(self, addresses: Addresses, seconds: float | None) -> Iterator[None]:
        """Show the addresses; in a terminal, also show what `refresh` draws until the end."""
        self._addresses = addresses
        if not self._interactive:
            self._console.print(_header(addresses), _stop_line(seconds), sep="\n", soft_wrap=True)
            yield
            return
        with Live(console=self._console, screen=True, auto_refresh=False) as self._live:
            yield

    def refresh(self, pools: Sequence[PoolRow], bursts: Sequence[str], left: float | None) -> None:
        """Draw the pools as they are now; `left` is the number of seconds that remain."""
        self._history.add(pools)
        if self._live is not None:
            page = self.render(self._addresses, pools, bursts, left)
            self._live.update(page, refresh=True)

    def render(
        self,
        addresses: Addresses,
        pools: Sequence[PoolRow],
        bursts: Sequence[str],
        left: float | None,
    ) -> RenderableType:
        """Return the page that a terminal shows."""
        width = self._console.width
        shown = self._history.refreshes(width) * REFRESH
        history = (
            f"Share of the limit in use, last {shown:.0f} seconds ({CALLERS_WAIT}: callers wait)"
        )
        blocks: list[RenderableType] = [
            Group(_header(addresses), _stop_line(left)),
            self._pools(pools),
            _load_line(bursts),
            _findings(pools, with_messages=False),
            Group(Text(history, "dim"), self._history.table(width)),
        ]
        return Group(*self._fitting(blocks))

    def _fitting(self, blocks: list[RenderableType]) -> list[RenderableType]:
        """Return the blocks with blank lines between them, or what of that a low terminal shows."""
        spaced = [part for block in blocks for part in (block, Text())][:-1]
        if self._height(spaced) <= self._console.height:
            return spaced
        while self._height(blocks) > self._console.height and len(blocks) > 1:
            blocks.pop()
        return blocks

    def _height(self, parts: Sequence[RenderableType]) -> int:
        return len(self._console.render_lines(Group(*parts), pad=False))

    def print_summary(self, pools: Sequence[PoolRow], log: Sequence[str]) -> None:
        """Print the final state of the pools, what was found, and the lines that were logged."""
        self._console.print(Text("\nThe pools after all requests were answered", "bold"))
        self._console.print(self._pools(pools))
        self._console.print()
        # In a file, no line is broken.
        in_file = not self._console.is_terminal
        self._console.print(_findings(pools, with_messages=True), soft_wrap=in_file)
        if log:
            self._console.print(Text("\nLast lines of the log, one of each kind", "bold"))
            for line in log:
                if in_file:
                    self._console.print(Text(line), soft_wrap=True)
                else:
                    grid = Table.grid(padding=(0, 1, 0, 0))
                    grid.add_row("-", Text(line))
                    self._console.print(grid)

    def _pools(self, pools: Sequence[PoolRow]) -> RenderableType:
        return pools_table(pools, self._glyphs, self._console.width)


def _header(addresses: Addresses) -> Text:
    return Text.assemble(
        ("service    ", "dim"),
        addresses.service,
        ("\nmetrics    ", "dim"),
        f"{addresses.exporter}/metrics",
        ("\nlive page  ", "dim"),
        f"{addresses.exporter}/pools",
    )


def _stop_line(left: float | None) -> Text:
    if left is None:
        return Text.assemble(("stop       ", "dim"), "Ctrl-C")
    return Text.assemble(("stop       ", "dim"), f"Ctrl-C, or automatically in {left:.0f} s")


def _load_line(bursts: Sequence[str]) -> Text:
    if not bursts:
        return Text("Load: rises and falls, and exhausts each pool in turn", "dim")
    return Text(
        f"Load: a burst of requests for {' and '.join(bursts)}, more than the pool can serve", "red"
    )


def _findings(pools: Sequence[PoolRow], with_messages: bool) -> RenderableType:
    """Return what was found, the most severe first, with where in the code it is."""
    found = [(pool, finding) for pool in pools for finding in pool.findings]
    if not found:
        return Text("Mistakes found: none so far", "dim")
    found.sort(key=lambda each: SEVERITIES.index(each[1].severity))
    lines: list[RenderableType] = [Text("Mistakes found", "bold")]
    for pool, finding in found:
        lines.extend(_finding(pool, finding, with_messages))
    return Group(*lines)


def _finding(pool: PoolRow, finding: FoundMistake, with_message: bool) -> Iterable[RenderableType]:
    style = SEVERITY_STYLES.get(finding.severity, "")
    what = f": {finding.message}" if with_message else ""
    yield Text.assemble(
        (finding.rule, "bold"), " (", (finding.severity, style), f") in {pool.name}{what}"
    )
    for site in finding.sites[:1]:
        yield Padding(Text(f"at {site}"), (0, 0, 0, 2), expand=False)
