"""What users get for tests of their own."""

from __future__ import annotations

import pytest
import sqlalchemy

from poolscope.testing import FakeClock, assert_no_connections_out
from poolscope.watching.watches import Watches


@pytest.fixture
def engine() -> sqlalchemy.Engine:
    return sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)


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
        "connections are still out:\n"
        "  orders (sqlalchemy): 1 in use, 0 opening, 0 waiting\n"
        f"  orders (sqlalchemy): held for 2.5 s by MainThread, from {hold.site}"
    )
    assert expected == str(error.value)
    assert str(hold.site).endswith(" in test_a_connection_that_is_out_is_named")
    assert_no_connections_out(watch)


def test_without_arguments_it_is_about_the_whole_process(engine: sqlalchemy.Engine) -> None:
    import poolscope

    with poolscope.watch(engine, "whole process", registry=None):
        assert_no_connections_out()
        with engine.connect(), pytest.raises(AssertionError, match="whole process"):
            assert_no_connections_out()
