"""A caller that times out leaves a line in the log that says who holds the connections."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.errors import ErrorLog
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.logs import without_places


@pytest.fixture
def watch(pool: PoolUnderTest, watches: Watches) -> Watch:
    return watches.watch(pool.target, "orders", leak_after=None, registry=None)


def said(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.name == "poolscope"]


async def test_the_first_time_out_in_a_minute_logs_who_holds_the_connections(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    held = [await pool.acquire() for _ in range(2)]
    clock.advance(3.0)
    for _ in range(2):
        with pytest.raises(pool.timeout):
            await pool.acquire_soon()
    (record,) = said(caplog)
    site = watch.holders()[0].site
    assert logging.WARNING == record.levelno
    assert (
        f"pool 'orders' ({pool.kind}): an attempt to get a connection timed out; 2 of 2 in use, "
        f"0 opening, 0 waiting; held by 2 x {site} (oldest 3.0 s)"
    ) == without_places(record.getMessage())
    assert {
        "event": "timeout",
        "pool": "orders",
        "kind": pool.kind,
        "in_use": 2,
        "opening": 0,
        "waiting": 0,
        "limit": 2.0,
        "holders": [{"site": site, "operation": None, "count": 2, "oldest_seconds": 3.0}],
    } == without_places(record.poolscope)
    clock.advance(60.0)
    with pytest.raises(pool.timeout):
        await pool.acquire_soon()
    assert 2 == len(said(caplog))
    for connection in held:
        await pool.release(connection)


async def test_a_log_that_fails_does_not_affect_the_caller(
    pool: PoolUnderTest, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise ZeroDivisionError

    errors = ErrorLog()
    monkeypatch.setattr("poolscope.errors.internal_errors", errors)
    monkeypatch.setattr(logging.getLogger("poolscope"), "warning", fail)
    held = [await pool.acquire() for _ in range(2)]
    with pytest.raises(pool.timeout):
        await pool.acquire_soon()
    assert (2, 1, 1) == (watch.snapshot().in_use, watch.snapshot().timed_out, errors.count)
    for connection in held:
        await pool.release(connection)
