"""The terminal: a summary that refreshes, or plain lines where nobody watches."""

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
"""Columns beside the history."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where to look."""

    service: str
    metrics: str


class Screen:
    """What the demo says on stdout. `console` is for tests."""

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
        """Show the addresses, and in a terminal also what `refresh` is given, until the end."""
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
        """Draw the pools as they are now; `left` is how many seconds are."""
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
        """Return what a terminal shows."""
        return Group(
            _header(addresses),
            _stop_line(left),
            Text(),
            self._pools(snapshots),
            Text(),
            Text(
                f"In use of the limit, the last {self._history.width * REFRESH:.0f} seconds; "
                "red: callers wait",
                "dim",
            ),
            self._history.table(),
            Text(),
            _load_line(bursts),
        )

    def print_summary(self, snapshots: Sequence[Snapshot], log: Sequence[str]) -> None:
        """Print the pools as they ended, and what the log said meanwhile."""
        self._console.print(Text("\nThe pools when all requests were answered", "bold"))
        self._console.print(self._pools(snapshots))
        if log:
            self._console.print(Text("\nWhat the log said when callers gave up", "bold"))
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
    return Text.assemble(("stop     ", "dim"), f"Ctrl-C, or by itself in {left:.0f} s")


def _load_line(bursts: Sequence[str]) -> Text:
    if not bursts:
        return Text("load: swings, and brings each pool to its limit in turn", "dim")
    return Text(f"load: a burst on {' and '.join(bursts)}, more than the pool can serve", "red")
