"""What `poolscope top` makes of two looks."""

from __future__ import annotations

import math
from typing import Any

import pytest

from poolscope.terminal.conditions import condition
from poolscope.terminal.model import Model
from poolscope.terminal.sources import Numbers
from poolscope.terminal.table import COLUMNS, Glyphs, columns_for, duration, needed, shortened
from terminal.stand_in import StandIn, hold, pool


@pytest.fixture
def source() -> StandIn:
    return StandIn()


def looked(source: StandIn, *times: float) -> Model:
    model = Model()
    for now in times:
        model.update(source.read(), now)
    return model


def test_the_first_look_has_no_rates(source: StandIn) -> None:
    row = looked(source, 100.0).rows[0]
    assert (None, None, None, None) == (row.rate, row.timeouts, row.acquire, row.hold)


def test_rates_and_durations_are_of_the_time_in_between(source: StandIn) -> None:
    model = looked(source, 100.0)
    source.pools[1].update(acquired=150, timed_out=4)
    model.update(source.read(), 102.0)
    row = model.sorted_rows()[0]
    assert ("orders", 25.0, 2.0) == (row.pool, row.rate, row.timeouts)
    assert row.acquire == pytest.approx((0.0005, 0.00099))


def test_durations_are_in_their_bucket() -> None:
    def numbers(*counts: float) -> Numbers:
        bounds = (0.001, 0.01, 0.1, math.inf)
        durations = {("orders", "asyncpg"): dict(zip(bounds, counts, strict=True))}
        pools = [pool("orders", "asyncpg", 0, 5)]
        return Numbers({"processes": {"live": 1}, "pools": pools}, durations, {})

    model = Model()
    model.update(numbers(100, 100, 100, 100), 0.0)
    model.update(numbers(100, 150, 200, 200), 1.0)
    (row,) = model.rows
    assert row.acquire == pytest.approx((0.01, 0.0982))
    model.update(numbers(100, 150, 200, 202), 2.0)
    assert (0.1, 0.1) == model.rows[0].acquire
    model.update(numbers(100, 150, 200, 202), 3.0)
    assert model.rows[0].acquire is None


def test_counters_that_fell_say_nothing(source: StandIn) -> None:
    model = looked(source, 100.0)
    source.pools[0]["acquired"] = 3
    model.update(source.read(), 102.0)
    (row,) = [row for row in model.rows if row.pool == "prices"]
    assert (None, None) == (row.rate, row.acquire)


def test_what_is_overdue_and_abandoned_is_one_connection(source: StandIn) -> None:
    lost = hold("a.py:1 in f", 75.0, overdue=True, abandoned=True)
    late = hold("a.py:2 in g", 70.0, overdue=True)
    source.pools[1].update(overdue=2, abandoned=1, holders=[lost, late])
    assert 2 == looked(source, 100.0).sorted_rows()[0].leaked


def test_the_trend_is_of_the_last_minute(source: StandIn) -> None:
    model = looked(source, *(float(now) for now in range(0, 200, 10)))
    assert [7, 7, 7] == [len(row.trend) for row in model.rows]
    assert {0.25} == set(model.rows[0].trend)


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("fullest", ["orders", "prices", "billing"]),
        ("waiting", ["orders", "prices", "billing"]),
        ("name", ["billing", "orders", "prices"]),
        ("rate", ["billing", "prices", "orders"]),
    ],
)
def test_the_order(source: StandIn, order: Any, names: list[str]) -> None:
    model = looked(source, 100.0)
    source.pools[2]["acquired"] += 9
    source.pools[0]["acquired"] += 5
    model.update(source.read(), 101.0)
    assert names == [row.pool for row in model.sorted_rows(order)]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", ["orders", "prices", "billing"]),
        ("ORD", ["orders"]),
        ("pay.py post", ["orders"]),
        ("stale", ["orders"]),
        ("asyncpg", ["billing"]),
        ("orders asyncpg", []),
    ],
)
def test_the_filter(source: StandIn, words: str, names: list[str]) -> None:
    assert names == [row.pool for row in looked(source, 1.0).sorted_rows("fullest", words)]


@pytest.mark.parametrize("width", [*range(30, 250, 7), 60, 80, 120, 200])
def test_columns_fit(source: StandIn, width: int) -> None:
    rows, glyphs = looked(source, 1.0, 2.0).rows, Glyphs()
    columns = columns_for(width, rows, glyphs)
    assert needed(columns, rows, glyphs) <= max(width, 40)
    assert ["pool", "in use", "waiting"] == [each.title for each in columns if not each.priority]
    for each in columns:
        if each.width:
            assert len(each.title) <= each.width
            assert all(each.cell(row, glyphs).cell_len <= each.width for row in rows)
    if width >= 200:
        assert list(COLUMNS) == columns


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, ""),
        (0.0000012, "1us"),
        (0.00099, "990us"),
        (0.0123, "12.3ms"),
        (0.0999, "100ms"),
        (0.999, "999ms"),
        (1.0, "1.0s"),
        (59.94, "59.9s"),
        (61.0, "1m"),
        (7300.0, "2h"),
    ],
)
def test_times(seconds: float | None, text: str) -> None:
    assert text == duration(seconds)
    assert len(text) <= 6


def test_names_stay_in_their_line() -> None:
    assert "a b" == shortened("a\nb", 10, Glyphs())
    assert "abcdefghi…" == shortened("abcdefghijkl", 10, Glyphs())
    assert "日本…" == shortened("日本語日本語", 5, Glyphs())
    assert "abcdefghi~" == shortened("abcdefghijkl", 10, Glyphs.for_encoding("ascii"))


def test_what_a_script_waits_for(source: StandIn) -> None:
    model = looked(source, 1.0)
    for text, holds in {
        "orders.waiting>0": True,
        "orders.waiting > 12": False,
        "orders.waiting>=12": True,
        "*.utilization=1": True,
        "bill*.in_use!=0": False,
        "orders.timeouts>0": False,
        "a.b.waiting>0": False,
        "orders.findings==1": True,
    }.items():
        assert holds == condition(text).holds(model), text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("orders", "'orders' is not a condition such as 'orders.waiting>0'"),
        ("orders.waiting>x", "is not a condition"),
        ("", "'' is not a condition"),
        ("orders.waiting>\u0661", "is not a condition"),
        ("orders.waiting>nan", "is not a condition"),
        ("orders.size>1", "'size' is not known of a pool; known are in_use, idle"),
        ("orders.waiting>1.2.3", "'1.2.3' in 'orders.waiting>1.2.3' is not a number"),
    ],
)
def test_what_is_no_condition(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=r"condition|known|number") as raised:
        condition(text)
    assert complaint in str(raised.value)
