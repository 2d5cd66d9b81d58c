"""What the demo prints: whole screens, in terminals of several sizes, and without any."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from poolscope.demo.log import KEPT_LINES, LogTail
from poolscope.demo.rows import FoundMistake, PoolRow
from poolscope.demo.screen import Addresses, Screen

EXPECTED = Path(__file__).parent / "expected"

ADDRESSES = Addresses("http://127.0.0.1:41001/", "http://127.0.0.1:10464")

ACROSS = FoundMistake(
    "held-across-request",
    "warning",
    "connections were held while their callers waited for another server: 26 of them, for 4.6 "
    "connection-seconds, 6% of the time in use",
    ("poolscope/demo/service.py:216 in quote_price, across poolscope/demo/service.py:218 in ask",),
)
ABANDONED = FoundMistake(
    "abandoned",
    "critical",
    "connections were dropped without being returned",
    ("poolscope/demo/service.py:232 in export_orders", "poolscope/demo/service.py:300 in other"),
)


def row(name: str, kind: str, limit: float, in_use: int, **fields: Any) -> PoolRow:
    counts = {"in_use_peak": int(limit), "acquired": 1532, "reused": 1440, "waited": 622}
    sums = {"in_use_seconds": 130.2, "waiting_seconds": 156.7}
    return PoolRow(name, kind, limit, in_use, **{**counts, **sums, **fields})


POOLS = [
    row("billing", "sqlalchemy", 6, 5, idle=1, timed_out=134, findings=(ACROSS,)),
    row("orders", "sqlalchemy", 6, 6, waiting=31, timed_out=153),
    row("reports", "asyncpg", 8, 1, idle=7, leaked=1, timed_out=126, findings=(ABANDONED,)),
    row("upstream", "aiohttp", 8, 0, idle=8),
]

TIMED_OUT = (
    "pool 'orders' (sqlalchemy): an attempt to get a connection timed out; 3 of 3 in use, 0 "
    "opening, 20 waiting; held by 3 x poolscope/demo/service.py:200 in _insert_order for POST "
    "/orders (oldest 0.1 s, now at poolscope/demo/service.py:202 in _insert_order)"
)
LEAKED = (
    "pool 'reports' (asyncpg): a connection was abandoned after 0.2 s: no code can return it any "
    "more; held by Task-7475, acquired at poolscope/demo/service.py:232 in export_orders for GET "
    "/reports/export/{year}"
)


def terminal(width: int, height: int = 40, **options: Any) -> Console:
    settings = {"force_terminal": True, "color_system": "standard", **options}
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    return Console(file=file, width=width, height=height, highlight=False, _environ={}, **settings)


def printed(console: Console, *, colours: bool = False) -> str:
    """Return what was printed; without colours, and without blanks at the ends of lines."""
    assert isinstance(console.file, io.TextIOWrapper)
    console.file.flush()
    assert isinstance(console.file.buffer, io.BytesIO)
    text = console.file.buffer.getvalue().decode(console.file.encoding)
    if colours:
        return text
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def page(console: Console, **fields: Any) -> str:
    """Return the page that is shown after some refreshes, during a burst for orders."""
    screen = Screen(console)
    for in_use in (0, 2, 4, 6):
        screen.refresh([row("orders", "sqlalchemy", 6, in_use)], [], None)
    screen.refresh(POOLS, ["orders"], None)
    console.print(screen.render(ADDRESSES, POOLS, fields.get("bursts", ["orders"]), 11.2))
    return printed(console)


def summary(console: Console) -> str:
    Screen(console).print_summary(POOLS, [TIMED_OUT, LEAKED])
    return printed(console)


def expected(name: str, actual: str) -> str:
    """Return the screen that is kept under this name; write it first if there is none."""
    path = EXPECTED / f"{name}.txt"
    if not path.exists():
        EXPECTED.mkdir(exist_ok=True)
        path.write_text(actual, encoding="utf-8")
        pytest.fail(f"{path} was missing; look at what was written there")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [70, 80, 120, 200])
def test_the_page_of_a_terminal(width: int) -> None:
    actual = page(terminal(width))
    assert expected(f"page-{width}", actual) == actual
    assert max(map(len, actual.splitlines())) <= width


@pytest.mark.parametrize("width", [70, 80, 120, 200])
def test_the_summary_in_a_terminal(width: int) -> None:
    actual = summary(terminal(width))
    assert expected(f"summary-{width}", actual) == actual
    assert max(map(len, actual.splitlines())) <= width


def test_where_there_is_no_terminal_no_line_is_broken() -> None:
    console = terminal(70, force_terminal=False, color_system="auto")
    lines = summary(console).splitlines()
    assert [TIMED_OUT, LEAKED] == [line for line in lines if line.startswith("pool '")]
    assert f"held-across-request (warning) in billing: {ACROSS.message}" in lines
    assert f"  at {ACROSS.sites[0]}" in lines
    assert "\x1b" not in printed(console, colours=True)


def test_without_utf_8_everything_is_ascii() -> None:
    console = terminal(100)
    console.file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    actual = page(console)
    assert "billing  |sqlalchemy |#######-" in actual
    assert actual.isascii()


@pytest.mark.parametrize("options", [{"no_color": True}, {"color_system": None}])
def test_without_colours_the_text_is_the_same(options: dict[str, Any]) -> None:
    console = terminal(80, **options)
    assert expected("page-80", "") == page(console)
    # Bold and dim are no colours.
    assert not re.search(r"\x1b\[([\d;]*;)?(3|4|9|10)\d", printed(console, colours=True))


def test_a_dumb_terminal_gets_plain_lines_of_its_width() -> None:
    console = terminal(70)
    console._environ = {"TERM": "dumb"}
    screen = Screen(console)
    with screen.live(ADDRESSES, None):
        screen.refresh(POOLS, [], None)
    screen.print_summary(POOLS, [TIMED_OUT, LEAKED])
    lines = printed(console).splitlines()
    assert "service    http://127.0.0.1:41001/" == lines[0]
    assert "stop       Ctrl-C" == lines[3]
    assert max(map(len, lines)) <= 70


@pytest.mark.parametrize("height", range(8, 30, 3))
def test_a_low_terminal_is_not_overfull(height: int) -> None:
    lines = page(terminal(80, height)).splitlines()
    # The cursor needs no line: the page is drawn from the top.
    assert len(lines) <= max(height, 4)
    assert "service    http://127.0.0.1:41001/" == lines[0]


def test_at_24_lines_nothing_but_blank_lines_is_left_out() -> None:
    whole = [line for line in page(terminal(80)).splitlines() if line]
    assert whole == page(terminal(80, 24)).splitlines()


def test_before_anything_was_found_that_is_said() -> None:
    console = terminal(80)
    console.print(Screen(console).render(ADDRESSES, POOLS[1:2], [], None))
    shown = printed(console)
    assert "Mistakes found: none so far\n" in shown
    assert "Load: rises and falls, and exhausts each pool in turn\n" in shown


class TestLog:
    def test_of_lines_that_say_the_same_the_last_is_kept(self) -> None:
        log = LogTail()
        for line in ("a timed out; 3 waiting", "b was lost", "a timed out; 7 waiting"):
            log.add(line)
        assert ["b was lost", "a timed out; 7 waiting"] == log.lines()

    def test_only_so_many_are_kept_the_last_ones(self) -> None:
        log = LogTail()
        for number in range(KEPT_LINES + 2):
            log.add(f"line {number}")
        assert [f"line {number}" for number in range(2, KEPT_LINES + 2)] == log.lines()
