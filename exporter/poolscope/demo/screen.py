"""The output: a summary that refreshes in a terminal, or plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from poolscope import Snapshot
from poolscope.demo.table import FULL_WIDTH, HISTORY_WIDTH, Glyphs, UtilizationHistory, pools_table

REFRESH: Final = 0.25
"""Seconds from one refresh to the next."""

LABEL_COLUMNS: Final = 12
"""Columns of the terminal that the names beside the history take."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """URLs of the service and of its metrics."""

    service: str
    metrics: str


class Screen:
    """Prints to stdout, or to `console` in tests."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._interactive = self._console.is_terminal and not self._console.is_dumb_terminal
        if not self._interactive:
            self._console.width = FULL_WIDTH
        self._glyphs = Glyphs.for_encoding(self._console.encoding)
        self._history = UtilizationHistory(
            self._glyphs, max(1, min(HISTORY_WIDTH, self._console.width - LABEL_COLUMNS))
        )
        self._live: Live | None = None

    def print_starting(self) -> None:
        self._console.print("Starting an embedded PostgreSQL ...")

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

    def refresh(
        self, snapshots: Sequence[Snapshot], bursts: Sequence[str], left: float | None
    ) -> None:
        """Draw the pools as they are now; `left` is the number of seconds that remain."""
        self._history.add(snapshots)
        if self._live is not None:
            page = self.render(self._addresses, snapshots, bursts, left)
            self._live.update(page, refresh=True)

    def render(
        self,
        addresses: Addresses,
        snapshots: Sequence[Snapshot],
        bursts: Sequence[str],
        left: float | None,
    ) -> RenderableType:
        """Return the page that a terminal shows."""
        return Group(
            _header(addresses),
            _stop_line(left),
            Text(),
            self._pools(snapshots),
            Text(),
            Text(
                f"Share of the limit in use, last {self._history.width * REFRESH:.0f} seconds; "
                "red: callers wait",
                "dim",
            ),
            self._history.table(),
            Text(),
            _load_line(bursts),
        )

    def print_summary(self, snapshots: Sequence[Snapshot], log: Sequence[str]) -> None:
        """Print the final state of the pools, and the lines that were logged."""
        self._console.print(Text("\nThe pools after all requests were answered", "bold"))
        self._console.print(self._pools(snapshots))
        if log:
            self._console.print(Text("\nLast lines of the log", "bold"))
            for line in log:
                self._console.print(Text(line), soft_wrap=True)

    def _pools(self, snapshots: Sequence[Snapshot]) -> RenderableType:
        return pools_table(snapshots, self._glyphs, self._console.width)


def _header(addresses: Addresses) -> Text:
    return Text.assemble(
        ("service  ", "dim"), addresses.service, "\n", ("metrics  ", "dim"), addresses.metrics
    )


def _stop_line(left: float | None) -> Text:
    if left is None:
        return Text.assemble(("stop     ", "dim"), "Ctrl-C")
    return Text.assemble(("stop     ", "dim"), f"Ctrl-C, or automatically in {left:.0f} s")


def _load_line(bursts: Sequence[str]) -> Text:
    if not bursts:
        return Text("load: rises and falls, and exhausts each pool in turn", "dim")
    return Text(
        f"load: a burst of requests for {' and '.join(bursts)}, more than the pool can serve", "red"
    )
