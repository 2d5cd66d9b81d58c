"""The table of the demo, and the history below it."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console

from poolscope.demo.rows import FoundMistake, PoolRow, rows_of
from poolscope.demo.table import COLUMNS, Glyphs, UtilizationHistory, pool_style, pools_table


def pool(**fields: Any) -> PoolRow:
    return PoolRow(**{"name": "orders", "kind": "sqlalchemy", "limit": 6.0, **fields})


def lines_of(drawn: object, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(drawn)
    return [line.rstrip() for line in capture.get().splitlines()]


def drawn(*pools: PoolRow, glyphs: Glyphs | None = None, width: int = 200) -> list[str]:
    return lines_of(pools_table(pools, glyphs or Glyphs(), width), width)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"in_use": 4}, "green"),
        ({"in_use": 5}, "yellow"),
        ({"in_use": 6}, "yellow"),
        ({"in_use": 6, "waiting": 1}, "red"),
    ],
)
def test_the_colour_of_a_pool_is_red_when_callers_wait(
    fields: dict[str, int], expected: str
) -> None:
    assert expected == pool_style(pool(**fields))


def test_a_row_has_the_numbers_of_its_pool() -> None:
    shown = pool(
        in_use=3,
        idle=1,
        in_use_peak=6,
        waiting=2,
        leaked=1,
        acquired=200,
        waited=20,
        timed_out=5,
        reused=194,
        in_use_seconds=20.0,
        waiting_seconds=8.0,
    )
    expected = "orders sqlalchemy ████░░░░ 3/6 1 6 2 1 200 20 5 97% 100 400"
    assert expected.split() == drawn(shown)[-1].split()


def test_a_pool_without_limit_or_callers_has_an_empty_bar() -> None:
    row = drawn(pool(in_use=3, limit=math.inf), glyphs=Glyphs.for_encoding("ascii"))[-1]
    assert ["orders", "sqlalchemy", "--------", "3/inf", *"0000000", *"---"] == row.split()


MANY = {
    **dict.fromkeys(("acquired", "reused"), 99_999_999),
    **dict.fromkeys(("waited", "timed_out"), 9_999_999),
    "waiting": 99,
    "in_use": 12,
    "limit": 12.0,
    "name": "upstream",
}


@pytest.mark.parametrize("width", range(30, 160, 7))
@pytest.mark.parametrize("fields", [{}, MANY], ids=["small", "large"])
def test_at_any_width_columns_are_left_out_but_none_is_cut(
    width: int, fields: dict[str, Any]
) -> None:
    lines = drawn(pool(**fields), width=width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    whole = {word for line in drawn(pool(**fields)) for word in line.split()}
    rule, row = lines[-2:]
    assert {"─"} == set(rule)
    assert row.startswith(pool(**fields).name)
    words = {word for line in lines for word in line.split() if not word.startswith("─")}
    assert words <= whole
    assert {"pool", "waiting"} <= words


def test_the_ranks_of_the_columns_say_which_goes_first() -> None:
    ranks = [column.rank for column in COLUMNS if column.rank]
    assert len(ranks) == len(set(ranks))


def test_the_numbers_are_those_of_the_exporter() -> None:
    counts = {
        "in_use": 4.0,
        "idle": 1.0,
        "waiting": 2.0,
        "in_use_peak": 5.0,
        "acquired": 9.0,
        "waited": 3.0,
        "timed_out": 1.0,
        "reused": 8.0,
    }
    finding = {"rule": "abandoned", "severity": "critical", "message": "lost", "sites": ["a.py:1"]}
    held = {"overdue": False, "abandoned": False}
    answer = {
        "pools": [
            {
                "pool": "reports",
                "kind": "asyncpg",
                "limit": None,
                "in_use_seconds": 1.5,
                "waiting_seconds": 0.5,
                "findings": [finding],
                # One connection that is both counts once.
                "holders": [held, {**held, "overdue": True}, {"overdue": True, "abandoned": True}],
                **counts,
            }
        ]
    }
    expected = PoolRow(
        name="reports",
        kind="asyncpg",
        limit=math.inf,
        in_use=4,
        idle=1,
        waiting=2,
        in_use_peak=5,
        leaked=2,
        acquired=9,
        waited=3,
        timed_out=1,
        reused=8,
        in_use_seconds=1.5,
        waiting_seconds=0.5,
        findings=(FoundMistake("abandoned", "critical", "lost", ("a.py:1",)),),
    )
    assert [expected] == rows_of(answer)


def history(*readings: PoolRow, width: int = 100) -> list[str]:
    shown = UtilizationHistory(Glyphs.for_encoding("ascii"))
    for reading in readings:
        shown.add([reading])
    return lines_of(shown.table(width), 100)


def test_the_history_ends_with_now_and_marks_when_callers_waited() -> None:
    waiting = pool(in_use=6, waiting=1)
    readings = (pool(in_use=0), pool(in_use=3), pool(in_use=6), waiting)
    assert ["orders", ":#!"] == history(*readings)[0].split()


def test_the_history_has_room_for_so_many_refreshes_the_last_ones() -> None:
    readings = [pool(in_use=in_use) for in_use in (6, 6, 0, 3, 60)]
    assert ["orders   :#"] == history(*readings, width=len("orders  ") + 3)
