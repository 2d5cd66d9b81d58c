"""A caller may use its pool again before its attempt has ended: in a listener of the pool."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import event
from sqlalchemy.pool import QueuePool

from poolscope import Watch
from poolscope.watching.watches import Watches
from support.laws import laws_of_counters


@pytest.fixture
def pool() -> Iterator[QueuePool]:
    """A pool of two connections, one of which is open."""
    pool = QueuePool(
        functools.partial(sqlite3.connect, ":memory:"), pool_size=2, max_overflow=0, timeout=0.01
    )
    pool.connect().close()
    yield pool
    pool.dispose()


@pytest.fixture
def watch(pool: QueuePool) -> Watch:
    return Watches().watch(pool, registry=None)


def once(act: Callable[[], object]) -> Callable[..., None]:
    """Return a listener that acts at its first event only."""
    acts = [act]

    def listener(*_: Any) -> None:
        if acts:
            acts.pop()()

    return listener


def seen(watch: Watch) -> dict[str, float]:
    """Return the numbers that tell one attempt from another, without those that are 0."""
    names = "acquired timed_out waited gave_up reused opened closed in_use idle waiting opening"
    numbers = {name: getattr(watch.snapshot(), name) for name in names.split()}
    return {name: number for name, number in numbers.items() if number}


def broken_laws(watch: Watch) -> list[str]:
    return [law for law, holds in laws_of_counters(watch, 1).items() if not holds]


@pytest.mark.parametrize("name", ["checkout", "checkin", "reset"])
def test_a_listener_that_uses_the_pool_while_a_connection_is_used(
    pool: QueuePool, watch: Watch, name: str
) -> None:
    event.listen(pool, name, once(lambda: pool.connect().close()))
    pool.connect().close()
    assert {"acquired": 2, "reused": 1, "opened": 2, "idle": 2} == seen(watch)
    assert [] == broken_laws(watch)


@pytest.mark.parametrize("name", ["connect", "checkout"])
def test_a_listener_that_uses_the_pool_while_another_connection_is_opened(
    pool: QueuePool, watch: Watch, name: str
) -> None:
    held = pool.connect()
    held.invalidate()
    held.close()
    event.listen(pool, name, once(lambda: pool.connect().close()))
    pool.connect().close()
    # Both attempts have opened a connection.
    assert {"acquired": 3, "reused": 1, "opened": 3, "closed": 1, "idle": 2} == seen(watch)
    assert [] == broken_laws(watch)


def test_a_listener_that_waits_in_vain_while_a_connection_is_opened(
    pool: QueuePool, watch: Watch
) -> None:
    outcomes = []

    def wait_in_vain() -> None:
        with pytest.raises(sqlalchemy.exc.TimeoutError) as raised:
            pool.connect()
        outcomes.append(raised.type)

    held = pool.connect()
    event.listen(pool, "connect", once(wait_in_vain))
    pool.connect().close()
    held.close()
    assert [sqlalchemy.exc.TimeoutError] == outcomes
    expected = {"acquired": 2, "timed_out": 1, "waited": 1, "gave_up": 1, "reused": 1}
    assert {**expected, "opened": 2, "idle": 2} == seen(watch)
    assert [] == broken_laws(watch)


def test_a_listener_that_closes_another_connection_while_one_is_closed(
    pool: QueuePool, watch: Watch
) -> None:
    held = [pool.connect(), pool.connect()]
    event.listen(pool, "close", once(held[1].invalidate))
    held[0].invalidate()
    assert {"acquired": 2, "reused": 1, "opened": 2, "closed": 2} == seen(watch)
    for connection in held:
        connection.close()
    assert {"acquired": 2, "reused": 1, "opened": 2, "closed": 2} == seen(watch)
    assert [] == broken_laws(watch)
