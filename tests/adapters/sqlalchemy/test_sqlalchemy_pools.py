"""SQLAlchemy: every class of pool."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import pool

from poolscope.watching.watches import Watches
from support.engines import counted


class TestClassesOfPools:
    @pytest.mark.parametrize(
        ("cls", "options", "limits"),
        [
            (pool.QueuePool, {"pool_size": 3, "max_overflow": 4}, (7, 3)),
            (pool.QueuePool, {"pool_size": 3, "max_overflow": -1}, (float("inf"), 3)),
            (pool.QueuePool, {"pool_size": 0}, (float("inf"), float("inf"))),
            (pool.NullPool, {}, (float("inf"), 0)),
            (pool.StaticPool, {}, (float("inf"), 1)),
            (pool.SingletonThreadPool, {"pool_size": 3}, (float("inf"), 3)),
            (pool.AssertionPool, {}, (1, 1)),
        ],
    )
    def test_limits_are_the_pools_own(
        self, engines: Any, watches: Watches, cls: Any, options: Any, limits: Any
    ) -> None:
        watch = watches.watch(engines(poolclass=cls, **options), registry=None)
        snapshot = watch.snapshot()
        assert (*limits, 0) == (snapshot.limit, snapshot.idle_limit, snapshot.idle_floor)

    def test_a_pool_of_an_unknown_class_has_no_known_limit(self, watches: Watches) -> None:
        class Own(pool.NullPool.__base__):  # type: ignore[misc, name-defined]  # Pool
            def _do_get(self) -> Any:
                return self._create_connection()

            def _do_return_conn(self, record: Any) -> None:
                record.close()

        engine = sqlalchemy.create_engine("sqlite://", poolclass=Own)
        watch = watches.watch(engine, registry=None)
        with engine.connect():
            assert (1, 0, 1) == counted(watch)
        assert (0, 0, 1) == counted(watch)
        assert float("inf") == watch.snapshot().limit

    @pytest.mark.parametrize(
        ("cls", "idle_afterwards"),
        [
            (pool.QueuePool, 1),
            (pool.NullPool, 0),
            (pool.StaticPool, 1),
            (pool.SingletonThreadPool, 1),
            (pool.AssertionPool, 1),
        ],
    )
    def test_every_class_of_pool_is_counted(
        self, engines: Any, watches: Watches, cls: Any, idle_afterwards: int
    ) -> None:
        engine = engines(poolclass=cls)
        watch = watches.watch(engine, registry=None)
        for turn in range(1, 4):
            with engine.connect():
                opened = 1 if idle_afterwards else turn
                assert (1, 0, opened) == counted(watch)
            assert (0, idle_afterwards, opened) == counted(watch)
        snapshot = watch.snapshot()
        assert (3, 3 - snapshot.opened) == (snapshot.acquired, snapshot.reused)

    def test_nested_checkouts_of_a_thread_share_its_one_connection(
        self, engines: Any, watches: Watches
    ) -> None:
        engine = engines(poolclass=pool.SingletonThreadPool)
        watch = watches.watch(engine, registry=None)
        with engine.connect():
            with engine.connect():
                assert (1, 0, 1) == counted(watch)
            assert (1, 0, 1) == counted(watch)
        assert (0, 1, 1) == counted(watch)
        assert 2 == watch.snapshot().acquired

    def test_each_thread_has_a_connection_of_its_own(self, engines: Any, watches: Watches) -> None:
        engine = engines(poolclass=pool.SingletonThreadPool, pool_size=5)
        watch = watches.watch(engine, registry=None)
        here, there = threading.Barrier(4), threading.Barrier(4)

        def use() -> None:
            with engine.connect():
                here.wait()
                there.wait()

        with ThreadPoolExecutor(3) as threads:
            for _ in range(3):
                threads.submit(use)
            here.wait()
            assert (3, 0, 3) == counted(watch)
            there.wait()
        assert 3 == watch.snapshot().acquired

    def test_a_second_checkout_of_an_assertion_pool_is_an_error(
        self, engines: Any, watches: Watches
    ) -> None:
        engine = engines(poolclass=pool.AssertionPool)
        watch = watches.watch(engine, registry=None)
        with engine.connect():
            with pytest.raises(AssertionError, match="already checked out"):
                engine.connect()
            assert (1, 0, 1) == counted(watch)
        assert (1, 1) == (watch.snapshot().acquired, watch.snapshot().failed)

    @pytest.mark.parametrize("cls", [pool.StaticPool, pool.SingletonThreadPool, pool.NullPool])
    def test_open_connections_are_found_in_every_class_of_pool(
        self, engines: Any, watches: Watches, cls: Any
    ) -> None:
        engine = engines(poolclass=cls)
        with engine.connect():
            watch = watches.watch(engine, registry=None)
            assert (1, 0, 1) == counted(watch)
        assert 0 == watch.snapshot().in_use

    @pytest.mark.filterwarnings("ignore:.* was deleted while still open:ResourceWarning")
    def test_a_static_pool_drops_a_connection_that_was_softly_invalidated(
        self, engines: Any, watches: Watches, collect: None
    ) -> None:
        engine = engines(poolclass=pool.StaticPool)
        watch = watches.watch(engine, registry=None)
        proxied = engine.raw_connection()
        proxied.invalidate(soft=True)
        proxied.close()
        assert (0, 1, 1) == counted(watch)
        del proxied
        engine.connect().close()
        gc.collect()
        assert (0, 1, 2) == counted(watch)
