"""What users get for tests of their own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest
import sqlalchemy

from poolscope.testing import FakeClock, assert_no_connections_out
from poolscope.watching.watches import Watches


@pytest.fixture
def engine(sqlite: Callable[[], sqlalchemy.Engine]) -> sqlalchemy.Engine:
    return sqlite()


def test_time_is_the_tests_own(engine: sqlalchemy.Engine) -> None:
    clock = FakeClock()
    watch = Watches(clock).watch(engine, registry=None)
    with engine.connect():
        clock.advance(5.0)
        assert (5.0, 5.0) == (
            watch.snapshot().oldest_hold_seconds,
            watch.snapshot().in_use_seconds,
        )


def test_a_connection_that_is_out_is_named(engine: sqlalchemy.Engine) -> None:
    clock = FakeClock()
    watch = Watches(clock).watch(engine, "orders", registry=None)
    assert_no_connections_out(watch)
    with engine.connect():
        clock.advance(2.5)
        (hold,) = watch.holders()
        with pytest.raises(AssertionError) as error:
            assert_no_connections_out(watch)
    expected = (
        "connections are still in use:\n"
        "  orders (sqlalchemy): 1 in use, 0 opening, 0 waiting\n"
        f"  orders (sqlalchemy): held for 2.5 s by MainThread, from {hold.site}"
    )
    assert expected == str(error.value)
    assert str(hold.site).endswith(" in test_a_connection_that_is_out_is_named")
    assert_no_connections_out(watch)


class TestWithNothingInUse:
    def test_a_connection_that_is_being_opened_is_out(self) -> None:
        said: list[str] = []

        def creator() -> sqlite3.Connection:
            with pytest.raises(AssertionError) as error:
                assert_no_connections_out(watch)
            said.append(str(error.value))
            return sqlite3.connect(":memory:")

        pool = sqlalchemy.QueuePool(creator)  # type: ignore[arg-type]  # as good as any of DBAPI
        watch = Watches(FakeClock()).watch(pool, "orders", registry=None)
        pool.connect().close()
        expected = "  orders (sqlalchemy): 0 in use, 1 opening, 0 waiting"
        assert [f"connections are still in use:\n{expected}"] == said

    def test_a_caller_who_waits_is_one_too_many(self, engine: sqlalchemy.Engine) -> None:
        watch = Watches(FakeClock()).watch(engine, "orders", registry=None)
        (ledger,) = watch._pool.ledgers
        ledger.waiting("somebody", watch._pool.clock())
        with pytest.raises(AssertionError) as error:
            assert_no_connections_out(watch)
        expected = "  orders (sqlalchemy): 0 in use, 0 opening, 1 waiting"
        assert f"connections are still in use:\n{expected}" == str(error.value)


def test_without_arguments_it_is_about_the_whole_process(engine: sqlalchemy.Engine) -> None:
    import poolscope

    with poolscope.watch(engine, "whole process", registry=None):
        assert_no_connections_out()
        with engine.connect(), pytest.raises(AssertionError, match="whole process"):
            assert_no_connections_out()
