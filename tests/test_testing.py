"""`poolscope.testing`: helpers for the tests of users."""

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


def test_a_fake_clock_is_moved_by_the_test(engine: sqlalchemy.Engine) -> None:
    clock = FakeClock()
    watch = Watches(clock).watch(engine, registry=None)
    with engine.connect():
        clock.advance(5.0)
        assert (5.0, 5.0) == (
            watch.snapshot().oldest_hold_seconds,
            watch.snapshot().in_use_seconds,
        )


def test_the_error_names_a_connection_in_use(engine: sqlalchemy.Engine) -> None:
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
    assert str(hold.site).endswith(" in test_the_error_names_a_connection_in_use")
    assert_no_connections_out(watch)


class TestWithNothingInUse:
    def test_a_connection_that_is_being_opened_is_an_error(self) -> None:
        messages: list[str] = []

        def creator() -> sqlite3.Connection:
            with pytest.raises(AssertionError) as error:
                assert_no_connections_out(watch)
            messages.append(str(error.value))
            return sqlite3.connect(":memory:")

        pool = sqlalchemy.QueuePool(creator)  # type: ignore[arg-type]  # as good as any of DBAPI
        watch = Watches(FakeClock()).watch(pool, "orders", registry=None)
        pool.connect().close()
        expected = "  orders (sqlalchemy): 0 in use, 1 opening, 0 waiting"
        assert [f"connections are still in use:\n{expected}"] == messages

    def test_a_waiting_caller_is_an_error(self, engine: sqlalchemy.Engine) -> None:
        watch = Watches(FakeClock()).watch(engine, "orders", registry=None)
        (ledger,) = watch._pool.ledgers
        ledger.waiting("a caller", watch._pool.clock())
        with pytest.raises(AssertionError) as error:
            assert_no_connections_out(watch)
        expected = "  orders (sqlalchemy): 0 in use, 0 opening, 1 waiting"
        assert f"connections are still in use:\n{expected}" == str(error.value)


def test_without_arguments_all_pools_of_the_process_are_checked(engine: sqlalchemy.Engine) -> None:
    import poolscope

    with poolscope.watch(engine, "whole process", registry=None):
        assert_no_connections_out()
        with engine.connect(), pytest.raises(AssertionError, match="whole process"):
            assert_no_connections_out()
