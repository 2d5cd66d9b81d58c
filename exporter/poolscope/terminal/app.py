"""The screen of `poolscope top`, which refreshes itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Footer, Input, Static

from poolscope.sizing.http import SourceError
from poolscope.terminal.details import PANES, Pane, details
from poolscope.terminal.model import ORDERS, Model, Order, PoolRow
from poolscope.terminal.once import as_json
from poolscope.terminal.sources import Numbers, Source
from poolscope.terminal.table import GAP, Column, Glyphs, columns_for, width_of

INTERVALS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds between two looks; + and - choose."""

TALL: Final = 20
"""Rows of a terminal that has room for what is known of a pool without being asked."""

KEYS: Final = (
    ("up, down", "choose a pool"),
    ("Enter", "show or hide what is known of it"),
    ("h p f Tab", "its holders, processes, findings"),
    ("o", "its holders by line or operation"),
    ("s F6", "sort by fullest, waiting, rate, name"),
    ("/", "filter pools, lines, owners, rules"),
    ("space", "pause"),
    ("+ -", "refresh more or less often"),
    ("r", "refresh now"),
    ("d", "write what is shown to a file"),
    ("?", "show or hide this"),
    ("q", "quit"),
)

HELP: Final = "\n".join(f"{keys:11}{text}" for keys, text in KEYS)


class Top(App[None]):
    """
    Shows the pools of a source.

    clock: returns seconds that never go back.
    """

    CSS = """
    #head { height: auto; }
    #pools { height: auto; max-height: 60%; min-height: 4; }
    #details { height: 1fr; min-height: 4; display: none; border-top: solid $accent; }
    #details.shown { display: block; }
    #filter { display: none; height: 3; }
    #filter.shown { display: block; }
    .old { opacity: 50%; }
    .ascii #details { border-top: ascii $accent; }
    .ascii #filter { border: ascii $accent; }
    .ascii #pools, .ascii #details, Screen.ascii { scrollbar-size: 0 0; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("s,f6", "sort", "Sort"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("space", "pause", "Pause", show=False),
        Binding("h", "pane('holders')", "Holders"),
        Binding("p", "pane('processes')", "Processes"),
        Binding("f", "pane('findings')", "Found"),
        Binding("o", "by_operation", "By operation", show=False),
        Binding("tab", "next_pane", "Next", show=False, priority=True),
        Binding("plus,equals_sign", "interval(-1)", "Faster", show=False),
        Binding("minus", "interval(1)", "Slower", show=False),
        Binding("r", "look", "Refresh", show=False),
        Binding("d", "dump", "Dump", show=False),
        Binding("escape", "leave", "Back", show=False),
    ]

    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self,
        source: Source,
        interval: float = 2.0,
        words: str = "",
        glyphs: Glyphs | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._source = source
        self._interval = interval
        self._words = words
        self._glyphs = glyphs or Glyphs()
        self._clock = clock
        self._model = Model()
        self._order: Order = "fullest"
        self._pane: Pane = "holders"
        self._by_operation = False
        self._paused = False
        self._error = ""
        self._said = ""
        self._details_shown = self._helps = False
        self._rows: list[PoolRow] = []
        self._drawn: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        pools: DataTable[Text] = DataTable(id="pools", cursor_type="row", cell_padding=GAP // 2)
        yield pools
        with VerticalScroll(id="details"):
            yield Static(id="lines")
        yield Input(placeholder="pool, line, owner or rule", id="filter")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one("#pools").focus()
        self.screen.set_class(self._glyphs.full.isascii(), "ascii")
        self._details_shown = self.size.height >= TALL
        self._draw_details()
        self._timer = self.set_interval(self._interval, self._look_unless_paused)
        self.set_interval(1.0, self._draw_head)
        self.action_look()

    # Looking

    def _look_unless_paused(self) -> None:
        if not self._paused:
            self.action_look()

    def action_look(self) -> None:
        """Ask the source, in a thread: an exporter that hangs must not keep the screen."""
        self.run_worker(self._look, thread=True, exclusive=True, group="look", exit_on_error=False)

    def _look(self) -> None:
        try:
            numbers = self._source.read()
        except SourceError as error:
            self.call_from_thread(self._failed, str(error))
        else:
            self.call_from_thread(self._seen, numbers)

    def _failed(self, error: str) -> None:
        self._error = error
        self._draw()

    def _seen(self, numbers: Numbers) -> None:
        self._error = ""
        self._model.update(numbers, self._clock())
        self._draw()

    # Drawing

    def on_resize(self, event: events.Resize) -> None:
        self._drawn = ()
        self._draw()

    def _draw(self) -> None:
        self._draw_head()
        self._draw_table()
        self._draw_details()
        self.query_one("#pools").set_class(bool(self._error), "old")
        self.query_one("#details").set_class(bool(self._error), "old")

    def _draw_head(self) -> None:
        self.query_one("#head", Static).update(self._head())

    def _head(self) -> Text:
        rows, numbers = self._model.rows, self._model.numbers
        if numbers is None:
            return Text(self._error or f"asking {self._source.name} ...")
        live = numbers.document["processes"]["live"]
        full, waiting = sum(row.is_full for row in rows), sum(row.waiting for row in rows)
        head = Text.assemble(
            ("poolscope  ", "bold"),
            f"{len(rows)} pool{'s' * (len(rows) != 1)} in {live} process{'es' * (live != 1)}, ",
            (f"{full} full", "bold red" if full else ""),
            ", ",
            (f"{waiting} waiting", "bold red" if waiting else ""),
        )
        for notice in filter(None, (self._state(), self._said)):
            head.append(f"  {notice}", "reverse" if self._error else "dim")
        return head

    def _state(self) -> str:
        if self._error:
            age = self._clock() - self._model.at
            return f"{self._error}; these numbers are {age:.0f} s old"
        words = f", only {self._words!r}" if self._words else ""
        state = "paused" if self._paused else f"every {self._interval:g} s"
        return f"by {self._order}{words}, {state}"

    def _draw_table(self) -> None:
        pools: DataTable[Text] = self.query_one("#pools", DataTable)
        chosen, follows = self.chosen(), pools.cursor_row > 0  # the first row is whichever it is
        rows = self._rows = self._model.sorted_rows(self._order, self._words)
        columns = columns_for(self.size.width, rows, self._glyphs)
        widths = tuple(f"{each.title}:{width_of(each, rows, self._glyphs)}" for each in columns)
        if widths != self._drawn:
            self._drawn = widths
            pools.clear(columns=True)
            for column in columns:
                width = width_of(column, rows, self._glyphs)
                pools.add_column(_aligned(Text(column.title), column), width=width)
        else:
            pools.clear()
        for row in rows:
            pools.add_row(*(_aligned(each.cell(row, self._glyphs), each) for each in columns))
        if follows and chosen is not None:
            keys = [row.key for row in rows]
            if chosen.key in keys:
                pools.move_cursor(row=keys.index(chosen.key))

    def chosen(self) -> PoolRow | None:
        """Return the pool on which the cursor is."""
        number = self.query_one("#pools", DataTable).cursor_row
        return self._rows[number] if 0 <= number < len(self._rows) else None

    def _draw_details(self) -> None:
        row = self.chosen()
        lines = self.query_one("#lines", Static)
        self.query_one("#details").set_class(self._details_shown or self._helps, "shown")
        if self._helps:
            lines.update(Text(HELP))
        elif row is None:
            lines.update("")
        else:
            lines.update(Text("\n").join(details(row, self._pane, self._by_operation)))

    # What keys do

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self._draw_details()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        self._show_details(self._helps or not self._details_shown)

    def _show_details(self, shown: bool) -> None:
        self._details_shown, self._helps = shown, False
        self._draw_details()

    def action_pane(self, pane: Pane) -> None:
        self._pane = pane
        self._show_details(True)

    def action_next_pane(self) -> None:
        shown = self._details_shown and not self._helps
        following = PANES[(PANES.index(self._pane) + 1) % len(PANES)]
        self.action_pane(following if shown else self._pane)

    def action_by_operation(self) -> None:
        self._by_operation = not self._by_operation
        self.action_pane("holders")

    def action_sort(self) -> None:
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self._draw()

    def action_pause(self) -> None:
        self._paused = not self._paused
        self._draw_head()

    def action_interval(self, step: int) -> None:
        nearest = min(INTERVALS, key=lambda each: abs(each - self._interval))
        number = INTERVALS.index(nearest) + step
        self._interval = INTERVALS[max(0, min(len(INTERVALS) - 1, number))]
        self._timer.stop()
        self._timer = self.set_interval(self._interval, self._look_unless_paused)
        self._draw_head()

    def action_help(self) -> None:
        self._helps = not self._helps
        self._draw_details()

    def action_dump(self) -> None:
        """Write what is shown as JSON to a new file in the working folder."""
        path = Path(f"poolscope-top-{time.strftime('%Y%m%d-%H%M%S')}.json")
        try:
            path.write_text(as_json(self._model, self._order, self._words), encoding="utf-8")
        except OSError as error:
            self._said = f"cannot write {path}: {error.strerror}"
        else:
            self._said = f"wrote {path}"
        self._draw_head()

    def action_filter(self) -> None:
        words = self.query_one("#filter", Input)
        words.add_class("shown")
        words.value = self._words
        words.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._words = event.value
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._hide_filter()

    def _hide_filter(self) -> None:
        self.query_one("#filter").remove_class("shown")
        self.query_one("#pools").focus()

    def action_leave(self) -> None:
        """Leave the filter, then the help, then the details."""
        words = self.query_one("#filter", Input)
        if words.has_class("shown"):
            words.value = ""
            self._hide_filter()
            return
        self._said = ""
        self._show_details(self._helps and self._details_shown)
        self._draw_head()


def _aligned(text: Text, column: Column) -> Text:
    text.justify = "right" if column.is_number else "left"
    return text
