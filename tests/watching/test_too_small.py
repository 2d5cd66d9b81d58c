"""Each pool of a name is too small, or not, by itself: the finding `too-small`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy

from poolscope import Watch
from poolscope.fleet.folder import Folder
from poolscope.fleet.segment_reader import PoolFile
from poolscope.readings.buckets import ACQUIRE_BUCKETS
from poolscope.readings.reading import Reading
from poolscope.readings.saturation import LONG_WATCHED, too_small
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches

TENANTS = 20

Make = Callable[[str], sqlalchemy.Engine]


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Make]:
    made: list[sqlalchemy.Engine] = []

    def make(name: str) -> sqlalchemy.Engine:
        engine = sqlalchemy.create_engine(
            f"sqlite:///{tmp_path}/{name}.db",
            poolclass=sqlalchemy.QueuePool,
            pool_size=1,
            max_overflow=0,
            pool_timeout=0.001,
        )
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.dispose()


def exhaust(engine: sqlalchemy.Engine, clock: FakeClock, seconds: float) -> None:
    """Let a caller wait in vain while another one holds the only connection."""
    with engine.connect():
        with pytest.raises(sqlalchemy.exc.TimeoutError):
            engine.connect()
        clock.advance(seconds)


def found(watch: Watch) -> list[str]:
    return [finding.message for finding in watch.findings() if finding.rule == "too-small"]


def test_one_exhausted_pool_of_many_is_found_and_named(
    tenant: Make, watches: Watches, clock: FakeClock
) -> None:
    engines = [tenant(f"shop{number}") for number in range(TENANTS)]
    watch, *_ = [watches.watch(engine, "tenants", registry=None) for engine in engines]
    for engine in engines:
        exhaust(engine, clock, 1.0)
    clock.advance(LONG_WATCHED)
    assert [] == found(watch)
    exhaust(engines[7], clock, 45.0)
    assert ["no connection was free for 13% of the time in the pool of shop7.db"] == found(watch)
    for number in (1, 2, 3, 4):
        exhaust(engines[number], clock, 100.0)
    (message,) = found(watch)
    assert message.endswith(" in the pool of shop4.db, shop3.db, shop2.db and 1 more")


def test_pools_of_the_same_database_are_not_told_apart(
    tenant: Make, watches: Watches, clock: FakeClock
) -> None:
    engines = [tenant("shop") for _ in range(2)]
    watch, *_ = [watches.watch(engine, "shop", registry=None) for engine in engines]
    clock.advance(LONG_WATCHED)
    exhaust(engines[0], clock, 100.0)
    assert ["no connection was free for 25% of the time in one of 2 pools"] == found(watch)


def test_the_pool_of_a_name_alone_is_not_named(
    tenant: Make, watches: Watches, clock: FakeClock
) -> None:
    engine = tenant("shop")
    watch = watches.watch(engine, registry=None)
    clock.advance(LONG_WATCHED)
    exhaust(engine, clock, 100.0)
    assert ["no connection was free for 25% of the time"] == found(watch)


def test_a_pool_that_was_replaced_does_not_count_for_the_new_one(
    tenant: Make, watches: Watches, clock: FakeClock
) -> None:
    engine = tenant("shop")
    watch = watches.watch(engine, registry=None)
    clock.advance(LONG_WATCHED)
    exhaust(engine, clock, 1000.0)
    engine.dispose()
    assert [] == found(watch)
    clock.advance(LONG_WATCHED)
    assert [] == found(watch)


@pytest.mark.parametrize(
    ("rows", "shares"),
    [
        ([(299.0, 299.0, 1.0, 1.0)], []),
        ([(300.0, 30.0, 1.0, 1.0)], []),
        ([(300.0, 33.0, 1.0, 1.0)], [0.11]),
        ([(300.0, 300.0, 0.0, 1.0)], []),  # full, but nobody waits
        ([(300.0, 300.0, 1.0, 0.0)], []),  # closed
        ([(300.0, 33.0, 1.0, 1.0), (300.0, 0.0, 0.0, 1.0)], [0.11]),
        ([(300.0, 33.0, 1.0, 1.0), (300.0, 60.0, 1.0, 1.0)], [0.2, 0.11]),
    ],
)
def test_the_share_of_the_time_is_that_of_each_pool(
    rows: list[tuple[float, float, float, float]], shares: list[float]
) -> None:
    readings = [
        Reading(
            watched_seconds=watched,
            saturated_seconds=full,
            waited=waited,
            gave_up=waited,
            instances=live,
        )
        for watched, full, waited, live in rows
    ]
    named = [(str(number), reading) for number, reading in enumerate(readings)]
    assert shares == [pool.share for pool in too_small(named)]


@pytest.mark.parametrize(
    ("waits", "is_found"),
    [
        ({0.005: 500}, False),
        ({0.05: 500}, False),  # from 10 to 50 ms: that may be less than the goal
        ({0.1: 9}, False),
        ({0.1: 11}, True),
        ({60.0: 11}, True),
        ({math.inf: 11}, True),
    ],
)
def test_short_waits_meet_the_goal_of_poolscope_size(
    waits: dict[float, int], is_found: bool
) -> None:
    counts = [float(waits.get(bound, 0)) for bound in (*ACQUIRE_BUCKETS, math.inf)]
    full = Reading(
        watched_seconds=300.0,
        saturated_seconds=200.0,
        waited=sum(counts),
        acquired=1000.0,
        instances=1.0,
        queue_seconds=(*counts, 1.0),
    )
    for values in (full, full.values()):
        assert is_found == bool(too_small([("shop", values)]))


@pytest.mark.parametrize(("age", "is_found"), [(0.01, False), (0.5, True)])
def test_callers_that_still_wait_count(age: float, is_found: bool) -> None:
    stuck = Reading(
        watched_seconds=300.0,
        saturated_seconds=200.0,
        waited=20.0,
        waiting=20.0,
        acquired=1000.0,
        instances=1.0,
        oldest_wait_seconds=age,
    )
    assert is_found == bool(too_small([("shop", stuck)]))


def test_other_processes_see_the_same(tenant: Make, clock: FakeClock, folder: Path) -> None:
    watches = Watches(clock, Folder(folder))
    engines = [tenant(name) for name in ("books", "toys")]
    watch, *_ = [watches.watch(engine, "tenants", registry=None) for engine in engines]
    clock.advance(LONG_WATCHED)
    exhaust(engines[1], clock, 100.0)
    views = [PoolFile(path, 42).read(clock()) for path in sorted(folder.glob("*.pool"))]
    assert [(0.25, "toys.db")] == list(too_small((view.address, view.values) for view in views))
    assert 1 == len(found(watch))
