"""SQLAlchemy: every class of pool, and everything that can happen to a connection."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy
from prometheus_client import CollectorRegistry
from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import create_async_engine

from poolscope import Watch
from poolscope.adapters.sqlalchemy.records import tracked
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.engines import counted
from support.waiting import eventually

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres


class TestWhatHappensToAConnection:
    @pytest.fixture
    def engine(self, engines: Any) -> sqlalchemy.Engine:
        engine: sqlalchemy.Engine = engines(pool_size=2, max_overflow=1, pool_timeout=0.01)
        return engine

    @pytest.fixture
    def watch(self, engine: sqlalchemy.Engine, watches: Watches) -> Watch:
        return watches.watch(engine, registry=None)

    def test_an_overflow_connection_is_closed_when_it_is_returned(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        held = [engine.connect() for _ in range(3)]
        assert (3, 0, 3) == counted(watch)
        for connection in held:
            connection.close()
        assert (0, 2, 3) == counted(watch)

    def test_a_detached_connection_has_left_the_pool(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        connection = engine.connect()
        connection.detach()
        assert (0, 0, 1) == counted(watch)
        connection.close()
        assert (0, 0, 1) == counted(watch)
        assert 1 == watch.snapshot().closed

    def test_an_invalidated_connection_is_not_idle(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        connection = engine.connect()
        connection.invalidate()
        assert (0, 0, 1) == counted(watch)
        assert 1 == engine.pool.checkedin()  # type: ignore[attr-defined]  # a QueuePool
        connection.close()
        engine.connect().close()
        assert (0, 1, 2) == counted(watch)
        assert 1 == watch.snapshot().invalidated

    def test_a_softly_invalidated_connection_is_replaced_at_its_next_use(
        self, engine: sqlalchemy.Engine, watches: Watches
    ) -> None:
        registry = CollectorRegistry()
        watch = watches.watch(engine, "orders", registry=registry)
        proxied = engine.raw_connection()
        proxied.invalidate(soft=True)
        assert (1, 0, 1) == counted(watch)
        proxied.close()
        assert (0, 1, 1) == counted(watch)
        engine.connect().close()
        assert (0, 1, 2) == counted(watch)
        modes = {
            mode: registry.get_sample_value(
                "connpool_invalidated_total",
                {"pool": "orders", "kind": "sqlalchemy", "mode": mode},
            )
            for mode in ("hard", "soft")
        }
        assert {"hard": 0.0, "soft": 1.0} == modes

    def test_a_reconnect_that_fails_returns_a_connection_that_was_never_in_use(
        self, engine: sqlalchemy.Engine, watch: Watch
    ) -> None:
        engine.connect().close()
        engine.pool._invalidate_time = float("inf")  # what a restart of the server leaves

        def refuse(*args: Any) -> None:
            raise ZeroDivisionError

        event.listen(engine, "do_connect", refuse)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                engine.connect()
            assert 0 == engine.pool.checkedout()  # type: ignore[attr-defined]  # a QueuePool
            assert (0, 0, 1) == counted(watch)
        snapshot = watch.snapshot()
        assert (1, 3, 3, 0) == (
            snapshot.acquired, snapshot.failed, snapshot.open_failed, snapshot.opening,
        )  # fmt: skip

    @pytest.mark.filterwarnings("ignore:.* was deleted while still open:ResourceWarning")
    def test_a_listener_that_fails_leaves_no_connection(
        self, engine: sqlalchemy.Engine, watch: Watch, collect: None
    ) -> None:
        def fail(*args: Any) -> None:
            raise ZeroDivisionError

        engine.connect().close()
        for name in ("checkout", "connect"):
            event.listen(engine, name, fail)
            with pytest.raises(ZeroDivisionError):
                engine.connect()
            event.remove(engine, name, fail)
            assert (0, 0) == counted(watch)[:2]
        assert 2 == watch.snapshot().failed
        engine.connect().close()
        assert (0, 1) == counted(watch)[:2]

    @pytest.mark.filterwarnings("ignore:.* was deleted while still open:ResourceWarning")
    def test_a_connection_that_was_opened_for_an_attempt_that_fails_is_closed_at_once(
        self, engine: sqlalchemy.Engine, watch: Watch, collect: None
    ) -> None:
        @event.listens_for(engine, "connect")
        def fail(*args: Any) -> None:
            raise ZeroDivisionError

        # The traceback keeps the record, so it is not its end that tells.
        with pytest.raises(ZeroDivisionError) as error:
            engine.connect()
        assert (0, 0, 1) == counted(watch)
        assert error.tb

    def test_pre_ping_replaces_what_the_server_has_killed(
        self, engines: Any, watches: Watches, postgres: EmbeddedPostgres
    ) -> None:
        engine = engines(pool_pre_ping=True)
        watch = watches.watch(engine, registry=None)
        with engine.connect() as connection:
            pid = connection.scalar(sqlalchemy.text("SELECT pg_backend_pid()"))
        with psycopg.connect(postgres.dsn) as control:
            control.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
        assert (0, 1, 1) == counted(watch)
        with engine.connect() as connection:
            assert 1 == connection.scalar(sqlalchemy.text("SELECT 1"))
            assert (1, 0, 2) == counted(watch)
        snapshot = watch.snapshot()
        assert (2, 0, 1) == (snapshot.acquired, snapshot.reused, snapshot.invalidated)

    def test_recycling_closes_one_and_opens_one(self, engines: Any, watches: Watches) -> None:
        engine = engines(pool_recycle=60)
        watch = watches.watch(engine, registry=None)

        @event.listens_for(engine, "checkin")
        def grow_old(connection: Any, record: Any) -> None:
            record.starttime -= 61

        for turn in range(1, 4):
            engine.connect().close()
            assert (0, 1, turn) == counted(watch)
        assert 0 == watch.snapshot().reused

    @pytest.mark.filterwarnings("ignore:.* was deleted while still open:ResourceWarning")
    def test_disposing_while_a_connection_is_in_use(
        self, engine: sqlalchemy.Engine, watch: Watch, collect: None
    ) -> None:
        out, other = engine.connect(), engine.connect()
        other.close()
        engine.dispose()
        assert (1, 0, 2) == counted(watch)
        assert (3.0, 1) == (watch.snapshot().limit, watch.snapshot().instances)
        engine.connect().close()
        assert (1, 1, 3) == counted(watch)
        out.close()
        del out, other
        gc.collect()  # the replaced pool goes, and takes its connection with it
        assert (0, 1, 3) == counted(watch)
        assert 2 == watch.snapshot().closed

    def test_disposing_over_and_over_adds_nothing_up(
        self, engine: sqlalchemy.Engine, watch: Watch, collect: None
    ) -> None:
        for turn in range(1, 21):
            engine.connect().close()
            engine.dispose()
            assert (0, 0, turn) == counted(watch)
        gc.collect()
        assert (1, 20) == (watch.snapshot().instances, watch.snapshot().closed)
        assert len(watch._pool.ledgers) == 1
        assert not [key for key, (record, _) in tracked.items() if record() is None]

    def test_a_connection_that_is_collected_is_returned(
        self, engine: sqlalchemy.Engine, watch: Watch, collect: None
    ) -> None:
        for _ in range(3):
            engine.connect()
            gc.collect()
            assert (0, 1, 1) == counted(watch)

    @pytest.mark.parametrize("target", [sqlalchemy.Pool, None])
    @pytest.mark.parametrize("first", [True, False])
    def test_a_connection_that_listeners_get_before_the_caller_is_in_use(
        self, engines: Any, watches: Watches, target: Any, first: bool
    ) -> None:
        engine = engines()
        engine.connect().close()
        target = engine if target is None else target
        seen: list[Any] = []

        def listener(*args: Any) -> None:
            seen.append(counted(watch)[:2])

        if first:
            event.listen(target, "checkout", listener)
        watch = watches.watch(engine, registry=None)
        if not first:
            event.listen(target, "checkout", listener)
        try:
            engine.connect().close()
        finally:
            event.remove(target, "checkout", listener)
        engine.connect().close()
        assert [(1, 0)] == seen
        assert (0, 1) == counted(watch)[:2]

    def test_an_engine_without_overflow_lets_the_next_in(
        self, engine: sqlalchemy.Engine, watch: Watch, clock: FakeClock
    ) -> None:
        held = [engine.connect() for _ in range(3)]
        clock.advance(1.0)
        with pytest.raises(exc.TimeoutError, match="QueuePool limit of size 2 overflow 1 reached"):
            engine.connect()
        snapshot = watch.snapshot()
        assert (1, 1, 0, 1.0) == (
            snapshot.timed_out, snapshot.waited, snapshot.waiting, snapshot.saturated_seconds,
        )  # fmt: skip
        for connection in held:
            connection.close()

    def test_a_negative_timeout_is_refused_as_before(self, engines: Any, watches: Watches) -> None:
        engine = engines(pool_size=1, max_overflow=0, pool_timeout=-1)
        watches.watch(engine, registry=None)
        with engine.connect(), pytest.raises(ValueError, match="positive"):
            engine.connect()


class TestAsync:
    @pytest.fixture
    def engine(self, postgres: EmbeddedPostgres) -> Any:
        return create_async_engine(postgres.sqlalchemy_url("asyncpg"), pool_size=1, max_overflow=0)

    @pytest.fixture
    def watch(self, engine: Any, watches: Watches) -> Watch:
        return watches.watch(engine, registry=None)

    async def test_cancelled_while_connecting(self, engine: Any, watch: Watch) -> None:
        connecting = asyncio.create_task(engine.connect().start())
        await eventually(1, lambda: watch.snapshot().opening)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        snapshot = watch.snapshot()
        assert (0, 0, 0) == (snapshot.in_use, snapshot.idle, snapshot.opening)
        assert (1, 1, 0) == (snapshot.cancelled, snapshot.open_failed, snapshot.opened)
        async with engine.connect() as connection:
            assert 1 == await connection.scalar(sqlalchemy.text("SELECT 1"))
        await engine.dispose()

    async def test_a_connection_that_is_collected_is_counted_where_sqlalchemy_leaves_it(
        self, engine: Any, watch: Watch, collect: None
    ) -> None:
        async with engine.connect():
            assert (1, 0, 1) == counted(watch)
        lost = await engine.connect()
        assert (1, 0, 1) == counted(watch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            del lost
            gc.collect()
        # 2.0 gives it back to the pool, unless it is late enough to terminate it, as 2.1 does.
        records = engine.pool._pool._queue._queue
        kept = sum(record.dbapi_connection is not None for record in records)
        assert (0, kept, 1) == counted(watch)
        await engine.dispose()

    async def test_the_first_connection_is_in_use_while_the_dialect_is_initialized(
        self, engine: Any, watch: Watch
    ) -> None:
        seen = []

        @event.listens_for(engine.sync_engine, "connect")
        def connected(*args: Any) -> None:
            seen.append(counted(watch))

        async with engine.connect():
            pass
        assert [(1, 0, 1)] == seen
        await engine.dispose()
