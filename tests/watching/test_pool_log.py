"""The lines that are logged about time-outs and leaks."""

from __future__ import annotations

import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import APPLICATION, Function, Site
from poolscope.callsites.operations import NamedOperation
from poolscope.demo import service
from poolscope.ledger.ledger import Ledger
from poolscope.readings import holders as readings_of_holders
from poolscope.readings.holders import Holder
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from poolscope.watching.holder_rows import SHOWN, by_site, in_words
from poolscope.watching.pool_log import PoolLog


def who(name: str, operation: str | None = None) -> Borrower:
    function = Function(None, APPLICATION, "shop.py", name, f"shop:{name}")
    named = NamedOperation(operation) if operation is not None else None
    return Borrower(function, 7, "borrower_key", "Task-1", named)


def test_holders_are_grouped_by_line_the_most_connections_first() -> None:
    holders = [
        Holder(None, 9.0, False),
        Holder(who("pay"), 4.0, False),
        Holder(who("cart"), 1.0, False),
        Holder(who("cart"), 2.0, False),
        Holder(who("cart", "GET /cart"), 3.0, False),
    ]
    cart, pay = "shop.py:7 in cart", "shop.py:7 in pay"
    assert [
        {"site": cart, "operation": None, "count": 2, "oldest_seconds": 2.0, "now_at": None},
        {"site": None, "operation": None, "count": 1, "oldest_seconds": 9.0, "now_at": None},
        {"site": pay, "operation": None, "count": 1, "oldest_seconds": 4.0, "now_at": None},
        {"site": cart, "operation": "GET /cart", "count": 1, "oldest_seconds": 3.0, "now_at": None},
    ] == by_site(holders)


def test_a_group_says_where_its_oldest_holder_is_now() -> None:
    old, new = (who("pay")._replace(borrower_key=key) for key in ("old", "new"))
    holders = [Holder(new, 1.0, False), Holder(old, 2.0, True), Holder(new, 0.5, False)]
    bank, pay = (Function(None, APPLICATION, "shop.py", n, f"shop:{n}") for n in ("bank", "pay"))
    places: dict[Hashable, Site] = {"old": Site(bank, 9), "new": Site(pay, 8)}
    (row,) = by_site(holders, places)
    assert "shop.py:9 in bank" == row["now_at"]
    words = "3 x shop.py:7 in pay (oldest 2.0 s, now at shop.py:9 in bank)"
    assert words == in_words([row])
    (row,) = by_site(holders, {"new": places["new"]})
    assert (2.0, None) == (row["oldest_seconds"], row["now_at"])


def test_of_lines_with_equal_counts_the_oldest_hold_is_first() -> None:
    holders = [Holder(who(name), age, False) for name, age in (("a", 1.0), ("b", 3.0), ("c", 2.0))]
    assert [3.0, 2.0, 1.0] == [row["oldest_seconds"] for row in by_site(holders)]


def test_time_outs_are_logged_once_a_minute(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool_log, ledger = PoolLog("orders", "asyncpg"), Ledger(Limits(1, 1, 0), clock)
    counts = []
    for seconds in (0.0, 59.5, 0.5, 59.5, 0.5):
        clock.advance(seconds)
        pool_log.log_timeout([ledger], clock())
        counts.append(len(caplog.records))
    assert [1, 1, 2, 2, 3] == counts


def test_the_line_names_a_few_sites_and_the_record_all(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(Limits(math.inf, 1, 0), clock)
    for number in range(SHOWN + 3):
        ledger.served(number, clock(), clock(), who(f"f{number}"))
    PoolLog("orders", "asyncpg").log_timeout([ledger], clock())
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "pool 'orders' (asyncpg): an attempt to get a connection timed out; 8 of inf in use, "
        "0 opening, 0 waiting; held by 1 x shop.py:7 in f0 (oldest 0.0 s), 1 x "
    )
    assert record.getMessage().endswith("f4 (oldest 0.0 s), 3 more")
    assert SHOWN + 3 == len(record.poolscope["holders"])  # type: ignore[attr-defined]  # an extra


def test_those_whose_callers_wait_for_another_server_are_named(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(Limits(3, 3, 0), clock)
    function = Function(None, APPLICATION, "llm.py", "ask", "llm:ask")
    for key in "abc":
        ledger.served(key, clock(), clock(), who("answer")._replace(borrower_key=key))
        ledger.request_begins(key, key, (function, 3))
    ledger.request_ended("c", clock())
    pool_log, error = PoolLog("orders", "asyncpg"), TimeoutError()
    pool_log.log_timeout([ledger], clock())
    pool_log.add_note(error, [ledger], clock())
    (record,) = caplog.records
    end = "held by 3 x shop.py:7 in answer (oldest 0.0 s); across a request: 2 x llm.py:3 in ask"
    assert [True, True] == [text.endswith(end) for text in (record.message, *error.__notes__)]
    facts = record.poolscope  # type: ignore[attr-defined]  # an extra
    row = {"site": "shop.py:7 in answer", "request": "llm.py:3 in ask", "count": 2}
    assert [row] == facts["across"]
    ledger.emptied(clock())
    clock.advance(100.0)
    pool_log.log_timeout([ledger], clock())
    assert "across" not in caplog.records[1].poolscope  # type: ignore[attr-defined]  # an extra


def test_infinity_is_none_in_the_record(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(Limits(math.inf, math.inf, 0), clock, leak_after=None)
    ledger.served("a", clock(), clock(), who("pay"))
    ledger.abandoned("a", clock())
    pool_log = PoolLog("orders", "aiohttp")
    pool_log.log_events(ledger)
    pool_log.log_timeout([ledger], clock())
    records: list[Any] = caplog.records
    whose = {"pool": "orders", "kind": "aiohttp"}
    site = "shop.py:7 in pay"
    assert [
        {
            **whose,
            "event": "abandoned",
            "site": site,
            "operation": None,
            "now_at": None,
            "owner": "Task-1",
            "held_seconds": 0.0,
            "leak_after": None,
        },
        {
            **whose,
            "event": "timeout",
            "in_use": 1,
            "opening": 0,
            "waiting": 0,
            "limit": None,
            "holders": [
                {"site": site, "operation": None, "count": 1, "oldest_seconds": 0.0, "now_at": None}
            ],
        },
    ] == [record.poolscope for record in records]


def test_the_lines_say_what_the_connections_are_for(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(Limits(2, 2, 0), clock, leak_after=1.0)
    ledger.served("a", clock(), clock(), who("pay", "GET /orders/{id}"))
    pool_log = PoolLog("orders", "asyncpg")
    pool_log.log_timeout([ledger], clock())
    clock.advance(2.0)
    ledger.check_overdue(clock())
    pool_log.log_events(ledger)
    records: list[Any] = caplog.records
    assert [
        "held by 1 x shop.py:7 in pay for GET /orders/{id} (oldest 0.0 s)",
        "held by Task-1, acquired at shop.py:7 in pay for GET /orders/{id}",
    ] == [record.getMessage().rpartition("; ")[2] for record in records]
    facts = [records[0].poolscope["holders"][0], records[1].poolscope]
    assert ["GET /orders/{id}"] * 2 == [fact["operation"] for fact in facts]


def test_the_line_says_when_nobody_holds_a_connection(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    PoolLog("orders", "asyncpg").log_timeout([Ledger(Limits(1, 1, 0), clock)], clock())
    assert caplog.records[0].getMessage().endswith("0 waiting; held by nobody")


def test_the_line_says_who_held_the_connections_lately(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(Limits(1, 1, 0), clock)
    for name, seconds in (("one", 3.0), ("two", 1.0)):
        ledger.served("a", clock(), clock(), who(name))
        clock.advance(seconds)
        ledger.returned("a", clock())
    PoolLog("orders", "aiohttp").log_timeout([ledger], clock(), False)
    (record,) = caplog.records
    assert (
        "pool 'orders' (aiohttp): a caller gave up waiting for a connection; 0 of 1 in use, "
        "0 opening, 0 waiting; lately held by 75 % shop.py:7 in one, 25 % shop.py:7 in two"
    ) == record.getMessage()
    assert [
        {"site": "shop.py:7 in one", "share": 0.75, "seconds": 3.0},
        {"site": "shop.py:7 in two", "share": 0.25, "seconds": 1.0},
    ] == record.poolscope["lately"]  # type: ignore[attr-defined]  # an extra


def test_of_those_who_held_connections_lately_the_line_names_a_few(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(Limits(1, 1, 0), clock)
    for number in range(2 * SHOWN):
        ledger.served("a", clock(), clock(), who(f"f{number}"))
        ledger.returned("a", clock())
    PoolLog("orders", "aiohttp").log_timeout([ledger], clock())
    assert caplog.records[0].getMessage().endswith("10 % shop.py:7 in f4, 50 % others")


def test_who_holds_a_connection_now_matters_more_than_who_did(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(Limits(1, 1, 0), clock)
    ledger.served("a", clock(), clock(), who("before"))
    ledger.returned("a", clock())
    ledger.served("a", clock(), clock(), who("now"))
    PoolLog("orders", "aiohttp").log_timeout([ledger], clock())
    assert caplog.records[0].getMessage().endswith("; held by 1 x shop.py:7 in now (oldest 0.0 s)")


def test_a_line_that_names_nobody_does_not_use_up_the_minute(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool_log, ledger = PoolLog("orders", "asyncpg"), Ledger(Limits(1, 1, 0), clock)
    for _ in range(2):
        pool_log.log_timeout([ledger], clock())
    ledger.served("a", clock(), clock(), who("pay"))
    for _ in range(2):
        pool_log.log_timeout([ledger], clock())
    ends = [record.getMessage().partition("waiting; ")[2] for record in caplog.records]
    assert ["held by nobody", "held by 1 x shop.py:7 in pay (oldest 0.0 s)"] == ends


def test_a_caller_does_not_wait_while_another_logs(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool_log, ledger = PoolLog("orders", "asyncpg"), Ledger(Limits(1, 1, 0), clock)
    with pool_log._free:
        pool_log.log_timeout([ledger], clock())
    assert [] == caplog.records
    pool_log.log_timeout([ledger], clock())
    assert 1 == len(caplog.records)


def test_two_time_outs_at_the_same_time_are_logged_once(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool_log, ledger = PoolLog("orders", "asyncpg"), Ledger(Limits(1, 1, 0), clock)

    class Overtaken:
        """A lock that another thread acquires and releases just before this one."""

        def __init__(self, lock: Any) -> None:
            self.acquire, self.release = lock.acquire, lock.release
            self.lock = lock

        def overtake(self, blocking: bool) -> bool:
            pool_log._free = self.lock
            pool_log.log_timeout([ledger], clock())
            return bool(self.lock.acquire(blocking))

    overtaken: Any = Overtaken(pool_log._free)
    overtaken.acquire = overtaken.overtake
    pool_log._free = overtaken
    pool_log.log_timeout([ledger], clock())
    assert 1 == len(caplog.records)
    assert not pool_log._free.locked()


class At:
    """Finds every holder at one place."""

    def __init__(self, place: Site) -> None:
        self._place = place

    def site(self, who: Borrower) -> Site:
        return self._place


def test_the_readme_shows_the_line_as_it_is(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = Function(None, APPLICATION, "poolscope/demo/service.py", "_insert_order", "")
    line, order = line_of("with engine.begin()"), NamedOperation("POST /orders")
    now_at = At(Site(function, line_of("connection.execute(COMMIT_ORDER)")))
    monkeypatch.setattr(readings_of_holders, "_whereabouts", lambda: now_at)
    asks = Borrower(function, line, "borrower_key", "Task-1", order)
    ledger = Ledger(Limits(3, 3, 0), clock)
    for number in range(3):
        ledger.served(number, clock(), clock(), asks)
    for number in range(28):
        ledger.waiting(number, clock())
    clock.advance(0.1)
    PoolLog("orders", "sqlalchemy").log_timeout([ledger], clock())
    readme = Path(__file__).parents[2] / "README.md"
    assert f"\n{caplog.records[0].getMessage()}\n" in readme.read_text()


def line_of(text: str) -> int:
    """Return the number of the first line of the demo's service that contains the text."""
    lines = Path(service.__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)
