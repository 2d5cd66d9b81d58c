"""SQLAlchemy: one test for each fault that would make counting events go wrong."""

from __future__ import annotations

import ast
import gc
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
import sqlalchemy
from sqlalchemy import event, exc

from poolscope import Watch
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

# Connections that were not closed are collected here, all before the test ends.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.* was deleted while still open:ResourceWarning"),
    pytest.mark.usefixtures("collect"),
]


@pytest.fixture
def engine(engines: Any) -> sqlalchemy.Engine:
    engine: sqlalchemy.Engine = engines(pool_size=2, max_overflow=1, pool_timeout=0.0)
    return engine


@pytest.fixture
def watch(engine: sqlalchemy.Engine, watches: Watches) -> Watch:
    return watches.watch(engine, registry=None)


def counted(watch: Watch) -> tuple[int, int, int, int]:
    """Return in use and idle, opened and closed."""
    snapshot = watch.snapshot()
    return snapshot.in_use, snapshot.idle, snapshot.opened, snapshot.closed


def fail(*args: Any) -> None:
    raise ZeroDivisionError


@contextmanager
def collecting() -> Iterator[None]:
    """Collect garbage at almost every allocation of every thread, also in the recorder."""
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.freeze()  # so that a collection is quick
    gc.set_threshold(5, 2, 2)
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


class TestListenersThatFail:
    def test_a_close_that_a_listener_prevents_is_not_counted(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        connection = engine.connect()
        event.listen(engine, "close", fail)
        with pytest.raises(ZeroDivisionError):
            connection.invalidate()
        event.remove(engine, "close", fail)
        # SQLAlchemy 2.1 takes the record back, to reconnect at its next use; 2.0 leaves it in use.
        in_use, idle, opened, closed = counted(watch)
        assert (1, 1, 0) == (in_use + idle, opened, closed)

    def test_a_connection_that_another_caller_has_opened_meanwhile_is_not_closed(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        engine.connect().invalidate()  # leaves a record without a connection
        give_back, others = engine.pool._do_return_conn, []

        def overtaken(record: Any) -> None:
            give_back(record)
            event.remove(engine, "checkout", fail)
            thread = threading.Thread(target=lambda: others.append(engine.connect()))
            thread.start()
            thread.join()

        engine.pool._do_return_conn = overtaken  # type: ignore[method-assign]
        event.listen(engine, "checkout", fail)
        with pytest.raises(ZeroDivisionError):
            engine.connect()
        assert (1, 0, 3, 2) == counted(watch)
        engine.pool._do_return_conn = give_back  # type: ignore[method-assign]
        others.pop().close()
        gc.collect()
        assert (0, 1, 3, 2) == counted(watch)

    def test_a_check_in_that_fails_leaves_the_connection_in_use_until_it_is_collected(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        proxied = engine.raw_connection()
        event.listen(engine, "checkin", fail)
        with pytest.raises(ZeroDivisionError):
            proxied.close()
        event.remove(engine, "checkin", fail)
        assert (1, 0, 1, 0) == counted(watch)
        del proxied
        gc.collect()
        assert (0, 0, 1, 1) == counted(watch)

    def test_a_close_that_was_prevented_is_forgotten_with_the_watch(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        engine.connect().close()
        kept = engine.pool.connect  # and with it the hooks
        event.listen(engine, "close", fail)
        with pytest.raises(ZeroDivisionError) as error:
            engine.dispose()
        event.remove(engine, "close", fail)
        watch.unwatch()
        del error
        gc.collect()  # no hook is called for the record that is collected
        assert (0, 0) == counted(watch)[:2]
        assert kept is not engine.pool.connect

    def test_a_reset_that_fails_closes_the_connection(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        connection = engine.connect()
        event.listen(engine, "reset", fail)
        connection.close()
        event.remove(engine, "reset", fail)
        assert (0, 0, 1, 1) == counted(watch)

    def test_a_listener_that_refuses_a_connection_has_it_replaced(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        engine.connect().close()
        refusals = iter([exc.DisconnectionError(), exc.InvalidatePoolError()])

        @event.listens_for(engine, "checkout")
        def refuse(*args: Any) -> None:
            for refusal in refusals:
                raise refusal

        with pytest.raises(exc.InvalidRequestError, match="closed"):
            engine.connect()
        assert (0, 0, 3, 3) == counted(watch)
        engine.connect().close()
        snapshot = watch.snapshot()
        assert (2, 1, 0) == (snapshot.acquired, snapshot.failed, snapshot.reused)


class TestPoolsThatAreReplaced:
    def test_the_idle_connections_of_a_dropped_pool_are_closed(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        engine.connect().close()
        engine.dispose(close=False)
        gc.collect()
        assert (0, 0, 1, 1) == counted(watch)

    def test_a_waiter_of_a_replaced_pool_still_waits(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        pool: Any = engine.pool
        held, got = [engine.connect() for _ in range(3)], []
        pool._timeout = PATIENCE
        waiter = threading.Thread(target=lambda: got.append(engine.connect()))
        waiter.start()
        while not pool._pool.not_empty._waiters:
            assert waiter.is_alive()
        engine.dispose()
        snapshot = watch.snapshot()
        assert (3, 1, 1, 3.0) == (
            snapshot.in_use, snapshot.waiting, snapshot.instances, snapshot.limit,
        )  # fmt: skip
        held.pop().close()
        waiter.join()
        assert (3, 0, 3, 0) == counted(watch)
        assert (0, 4, 1) == (
            watch.snapshot().waiting, watch.snapshot().acquired, watch.snapshot().waited,
        )  # fmt: skip
        for connection in held + got:
            connection.close()


class TestWatchedLate:
    def test_a_record_without_a_connection_is_not_counted(
        self, engine: sqlalchemy.Engine, watches: Watches
    ) -> None:
        out, idle, invalid = (engine.connect() for _ in range(3))
        idle.close()
        invalid.invalidate()
        watch = watches.watch(engine, registry=None)
        assert (1, 1, 2, 0) == counted(watch)
        out.close()
        assert (0, 1, 2, 1) == counted(watch)


class TestTheGarbageCollector:
    def test_a_connection_that_it_returns_was_abandoned(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        engine.connect().close()
        opened = [engine.connect()]
        opened.clear()
        gc.collect()
        now = watch.snapshot()
        assert (0, 0, 1, 0) == (now.in_use, now.abandoned, now.leaks_abandoned, now.leaks_recovered)
        with engine.connect() as connection:
            connection.invalidate()
        engine.raw_connection().detach()
        gc.collect()
        assert 1 == watch.snapshot().leaks_abandoned

    def test_a_closed_connection_that_it_returns_was_abandoned_too(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        opened = [engine.raw_connection()]
        event.listen(engine, "reset", fail)
        opened.clear()
        gc.collect()
        event.remove(engine, "reset", fail)
        now = watch.snapshot()
        assert (0, 1, 1) == (now.in_use, now.closed, now.leaks_abandoned)

    def test_a_connection_that_was_in_use_before_the_watch_was_abandoned_too(
        self, engine: sqlalchemy.Engine, watches: Watches
    ) -> None:
        opened = [engine.connect()]
        watch = watches.watch(engine, registry=None)
        opened.clear()
        gc.collect()
        assert 1 == watch.snapshot().leaks_abandoned

    def test_a_finalizer_that_runs_inside_the_recorder_neither_blocks_nor_is_lost(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        lost = [engine.connect()]
        with watch._pool.ledgers[0].reading_lock():  # as if at an allocation of the recorder's own
            lost.clear()
            gc.collect()
            assert 1 == engine.pool.checkedin()  # type: ignore[attr-defined]  # a QueuePool
        assert (0, 1, 1, 0) == counted(watch)

    def test_many_threads_lose_connections_while_garbage_is_collected(
        self, engines: Any, watches: Watches
    ) -> None:
        engine = engines(pool_size=4, max_overflow=4, pool_timeout=0.02)
        watch = watches.watch(engine, registry=None)
        threads, turns = 32, 40

        def end(connection: sqlalchemy.Connection, way: int) -> None:
            if way == 0:
                connection.invalidate()
            elif way == 1:
                connection.detach()
            elif way == 2:
                cycle: list[object] = [connection]
                cycle.append(cycle)  # so that only the garbage collector finds it
            elif way != 3:
                connection.close()

        def use(seed: int) -> tuple[int, int]:
            """Return how many attempts it has made, and how many connections it has dropped."""
            chance, attempts, had = random.Random(seed), 0, 0  # noqa: S311 - not for secrets
            dropped = 0
            while had < turns:
                attempts += 1
                way = chance.randrange(8)
                try:
                    end(engine.connect(), way)
                except exc.TimeoutError:
                    continue
                had += 1
                dropped += way in (2, 3)
                if way == 2:
                    gc.collect()  # unless another thread was faster
            return attempts, dropped

        with collecting(), ThreadPoolExecutor(threads) as executor:
            attempts, dropped = map(sum, zip(*executor.map(use, range(threads)), strict=True))
        gc.collect()
        snapshot = watch.snapshot()
        assert threads * turns == snapshot.acquired == attempts - snapshot.timed_out
        assert dropped == snapshot.leaks_abandoned
        assert (0, 0, 0, 0) == (
            snapshot.in_use, snapshot.waiting, snapshot.opening, snapshot.failed,
        )  # fmt: skip
        idle = sum(record.dbapi_connection is not None for record in engine.pool._pool.queue)
        assert idle == snapshot.idle == snapshot.opened - snapshot.closed


@pytest.mark.parametrize("already", [True, False])
def test_nothing_is_logged_while_others_wait_for_the_queue(
    engines: Any, watches: Watches, clock: FakeClock, caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest, already: bool,
) -> None:  # fmt: skip
    """
    A thread that holds the log's lock may wait for the queue's: a finalizer that returns a
    connection runs at any point, also while a thread writes to the log.
    """
    engine = engines(pool_size=1, max_overflow=0, pool_timeout=0.01)
    watches.watch(engine, registry=None, leak_after=60.0)
    queue: Any = engine.pool._pool
    logged: list[tuple[str, bool]] = []

    def note(record: Any) -> bool:
        logged.append((record.poolscope["event"], queue.mutex._is_owned()))
        return True

    def get_late(*args: Any) -> Any:
        clock.advance(61.0)  # the connection becomes overdue only now
        return get(*args)

    caplog.set_level("INFO")
    caplog.handler.addFilter(note)
    request.addfinalizer(lambda: caplog.handler.removeFilter(note))  # used by later tests
    with engine.connect():
        if already:
            clock.advance(61.0)
        get = queue.get
        queue.get = get_late
        with pytest.raises(exc.TimeoutError):
            engine.connect()
        queue.get = get
    engine.connect().close()
    overdue = [("overdue", False)] if already else []
    assert [*overdue, ("timeout", False), ("recovered", False)] == logged


FORK: Final = """
import gc, os, sys, warnings
import poolscope, sqlalchemy

warnings.filterwarnings("ignore", ".* was deleted while still open", ResourceWarning)
engine = sqlalchemy.create_engine(sys.argv[1])
watch = poolscope.watch(engine)
numbers = lambda: [getattr(watch.snapshot(), name) for name in (
    "in_use", "idle", "opened", "closed", "acquired", "instances")]
held = engine.connect()
engine.connect().close()
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    seen = [numbers()]
    engine.dispose(close=False)
    seen.append(numbers())
    with engine.connect():
        seen.append(numbers())
    gc.collect()
    seen.append(numbers())
    os.write(writing, repr(seen).encode())
    os._exit(0)
os.close(writing)
with os.fdopen(reading) as pipe:
    print(pipe.read())
os.waitpid(child, 0)
seen = [numbers()]
held.close()
print([*seen, numbers()])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_after_a_fork_parent_and_child_have_numbers_of_their_own(
    postgres: EmbeddedPostgres,
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FORK, postgres.sqlalchemy_url("psycopg")],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    child, parent = map(ast.literal_eval, run.stdout.splitlines())
    #        in use, idle, opened, closed, acquired, instances
    assert [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [1, 0, 1, 0, 1, 1],
        [0, 1, 1, 0, 1, 1],
    ] == child
    assert [[1, 1, 2, 0, 2, 1], [0, 2, 2, 0, 2, 1]] == parent
