"""`watch`: what it takes, what it refuses, what it leaves behind."""

from __future__ import annotations

import functools
import gc
import os
import re
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

import aiohttp
import asyncpg
import pytest
import sqlalchemy
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy.ext.asyncio import create_async_engine

import poolscope
from poolscope.adapters import versions
from poolscope.adapters.sqlalchemy.hooks import hooks_by_pool
from poolscope.watching.watches import Watches


class TestBadInput:
    @pytest.mark.parametrize(
        "target",
        [42, None, "postgresql://secret@host/db", object(), sqlalchemy, sqlalchemy.MetaData()],
        ids=lambda target: type(target).__name__,
    )
    def test_what_is_no_pool_is_refused_by_its_type(self, watches: Watches, target: Any) -> None:
        with pytest.raises(TypeError) as error:
            watches.watch(target)
        message = str(error.value)
        assert f"cannot watch an object of type {self.type_name(target)};" in message
        for supported in ("Engine", "AsyncEngine", "asyncpg.Pool", "ClientSession", "connector"):
            assert supported in message
        assert "secret" not in message

    def type_name(self, target: object) -> str:
        cls = type(target)
        return cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"

    @pytest.mark.parametrize("name", [7, b"orders", ["orders"]])
    def test_a_name_that_is_no_string_is_refused(
        self, watches: Watches, name: Any, sqlite: Any
    ) -> None:
        engine = sqlite()
        before = dict(vars(engine.pool))
        with pytest.raises(TypeError, match=r"name must be a string, not an object of type \w+"):
            watches.watch(engine, name)
        assert before == vars(engine.pool)

    def test_an_empty_name_is_refused(self, watches: Watches, sqlite: Any) -> None:
        with pytest.raises(ValueError, match="name must not be empty"):
            watches.watch(sqlite(), "")

    def test_a_second_name_for_one_pool_is_refused_and_the_first_goes_on(
        self, watches: Watches, sqlite: Any
    ) -> None:
        engine = sqlite()
        watch = watches.watch(engine, "orders", registry=None)
        before = dict(vars(engine.pool))
        with pytest.raises(ValueError, match=r"watched as 'orders' already, .* as 'billing' too"):
            watches.watch(engine.pool, "billing", registry=None)
        assert before == vars(engine.pool)
        engine.connect().close()
        assert 1 == watch.snapshot().acquired

    async def test_a_closed_session_is_refused(self, watches: Watches) -> None:
        session = aiohttp.ClientSession()
        await session.close()
        with pytest.raises(ValueError, match="this aiohttp session is closed"):
            watches.watch(session)

    async def test_a_closed_connector_is_refused(self, watches: Watches) -> None:
        connector = aiohttp.TCPConnector()
        await connector.close()
        with pytest.raises(ValueError, match="this aiohttp connector is closed"):
            watches.watch(connector)

    async def test_a_closed_asyncpg_pool_is_refused(self, watches: Watches) -> None:
        pool = asyncpg.create_pool(min_size=0)
        await pool
        await pool.close()
        before = type(pool)
        with pytest.raises(ValueError, match="this asyncpg pool is closed"):
            watches.watch(pool)
        assert type(pool) is before

    @pytest.mark.parametrize(
        ("library", "installed", "oldest"),
        [("sqlalchemy", "1.4.54", "2.0"), ("asyncpg", "0.28.0", "0.29"), ("aiohttp", "3.8", "3.9")],
    )
    async def test_an_unsupported_version_is_refused_and_the_pool_is_untouched(
        self,
        watches: Watches,
        monkeypatch: pytest.MonkeyPatch,
        library: str,
        installed: str,
        oldest: str,
        sqlite: Any,
    ) -> None:
        makers: dict[str, Callable[[], Any]] = {
            "sqlalchemy": sqlite,
            "asyncpg": lambda: asyncpg.create_pool(min_size=0),
            "aiohttp": aiohttp.TCPConnector,
        }
        target = makers[library]()
        before = self.shape(target)
        monkeypatch.setattr(f"{library}.__version__", installed)
        with pytest.raises(RuntimeError) as error:
            watches.watch(target, registry=None)
        expected = rf"poolscope supports \w+ {oldest} and later, but {installed} is installed"
        assert re.fullmatch(expected, str(error.value))
        assert before == self.shape(target)
        if library == "aiohttp":
            await target.close()

    def shape(self, target: Any) -> object:
        return type(target), dict(
            vars(getattr(target, "pool", target)) if hasattr(target, "__dict__") else {}
        )

    @pytest.mark.parametrize(
        ("installed", "oldest", "supported"),
        [
            ("2.0.0b1", "2.0", True),
            ("2.10", "2.9", True),
            ("1.4.99", "2.0", False),
            ("2", "2.0", False),
            ("unknown", "2.0", True),
        ],
    )
    def test_versions_are_compared_by_their_numbers(
        self, installed: str, oldest: str, supported: bool
    ) -> None:
        if supported:
            versions.require("it", installed, oldest)
        else:
            with pytest.raises(RuntimeError):
                versions.require("it", installed, oldest)

    def test_a_registry_that_has_such_a_metric_already_refuses_and_the_pool_is_untouched(
        self, watches: Watches, sqlite: Any
    ) -> None:
        registry = CollectorRegistry()
        Gauge("connpool_waiting", "of somebody else", registry=registry)
        engine = sqlite()
        before = dict(vars(engine.pool))
        with pytest.raises(ValueError, match="connpool_waiting"):
            watches.watch(engine, registry=registry)
        assert before == vars(engine.pool)
        assert watches.snapshots() == []


class TestNames:
    @pytest.mark.parametrize(
        ("url", "name"),
        [
            ("postgresql+psycopg://user:secret@db.example:5433/orders", "orders@db.example:5433"),
            ("postgresql+psycopg://user:secret@db.example/orders", "orders@db.example"),
            ("postgresql+psycopg://user:secret@/orders?password=secret", "orders"),
            ("postgresql+psycopg://user:secret@db.example", "postgresql@db.example"),
            ("sqlite:////var/lib/app/orders.db", "orders.db"),
            ("sqlite://", "sqlite"),
        ],
    )
    def test_an_engine_is_named_by_what_it_connects_to(
        self, watches: Watches, url: str, name: str
    ) -> None:
        assert name == watches.watch(sqlalchemy.create_engine(url), registry=None).name

    def test_an_async_engine_is_named_as_an_engine_is(self, watches: Watches) -> None:
        engine = create_async_engine("postgresql+asyncpg://user:secret@db.example/orders")
        assert "orders@db.example" == watches.watch(engine, registry=None).name

    def test_a_bare_pool_is_named_by_its_logging_name_or_its_class(
        self, watches: Watches, sqlite: Any
    ) -> None:
        named = sqlalchemy.QueuePool(lambda: None, logging_name="orders")  # type: ignore[arg-type]  # never called
        assert "orders" == watches.watch(named, registry=None).name
        assert "QueuePool" == watches.watch(sqlite().pool, registry=None).name

    @pytest.mark.parametrize(
        ("arguments", "name"),
        [
            ({"dsn": "postgresql://user:secret@db.example:5433/orders"}, "orders@db.example:5433"),
            ({"dsn": "postgres://user:secret@/orders?host=/run/pg&password=secret"}, "orders"),
            ({"dsn": "postgres://u:secret@a:1,b:2/orders"}, "asyncpg"),
            (
                {"host": "db.example", "database": "orders", "password": "secret"},
                "orders@db.example",
            ),
            ({"host": "/run/postgresql", "database": "orders"}, "orders"),
            ({"dsn": "postgres://u:secret@old/x", "host": "new", "database": "y"}, "y@new"),
            ({}, "asyncpg"),
        ],
    )
    async def test_an_asyncpg_pool_is_named_by_what_it_was_told(
        self, watches: Watches, arguments: dict[str, Any], name: str
    ) -> None:
        pool = asyncpg.create_pool(**arguments)
        assert name == watches.watch(pool, registry=None).name

    async def test_a_session_is_named_by_its_base_url(self, watches: Watches) -> None:
        async with (
            aiohttp.ClientSession("https://api.example") as based,
            aiohttp.ClientSession() as plain,
        ):
            assert "api.example:443" == watches.watch(based, registry=None).name
            assert "aiohttp" == watches.watch(plain, registry=None).name


class TestOneWatchForOnePool:
    def test_watching_again_returns_the_watch_that_there_is(
        self, watches: Watches, sqlite: Any
    ) -> None:
        engine = sqlite()
        watch = watches.watch(engine, "orders", registry=None)
        same: list[Any] = [
            watches.watch(engine, "orders"),
            watches.watch(engine),
            watches.watch(engine.pool, "orders"),
            watches.watch(engine.execution_options(isolation_level="AUTOCOMMIT"), "orders"),
        ]
        assert [watch] * 4 == same
        engine.dispose()
        assert watch is watches.watch(engine, "orders")
        assert 1 == len(watches.snapshots())

    def test_an_async_engine_is_its_sync_engine(self, watches: Watches) -> None:
        engine = create_async_engine("postgresql+asyncpg://db.example/orders")
        watch = watches.watch(engine, registry=None)
        assert watch is watches.watch(engine.sync_engine)

    async def test_a_session_is_its_connector(self, watches: Watches) -> None:
        async with aiohttp.ClientSession() as session:
            watch = watches.watch(session, registry=None)
            connector = session.connector
            assert connector is not None
            assert watch is watches.watch(connector)

    def test_after_unwatch_it_can_be_watched_under_another_name(
        self, watches: Watches, sqlite: Any
    ) -> None:
        engine = sqlite()
        watches.watch(engine, "orders", registry=None).unwatch()
        assert "billing" == watches.watch(engine, "billing", registry=None).name

    def test_pools_that_share_a_name_are_added_up(self, watches: Watches, sqlite: Any) -> None:
        registry = CollectorRegistry()
        engines = [sqlite() for _ in range(3)]
        for engine in engines:
            watches.watch(engine, "shards", registry=registry)
        out = [engine.connect() for engine in engines[:2]]
        assert 2 == value(registry, "connpool_connections", state="in_use")
        assert 45 == value(registry, "connpool_limit")
        assert 3 == value(registry, "connpool_instances")
        assert 3 == value(registry, "connpool_instances_created_total")
        for connection in out:
            connection.close()


def value(registry: CollectorRegistry, sample: str, **labels: str) -> float | None:
    """Return the value of a sample of the pool `shards`."""
    labels = {"pool": "shards", "kind": "sqlalchemy", **labels}
    return registry.get_sample_value(sample, labels)


class TestEnds:
    # What a pool has open that is dropped is left to the garbage collector, which says so.
    @pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
    def test_a_watch_does_not_keep_a_pool_alive(self, watches: Watches, collect: None) -> None:
        registry = CollectorRegistry()
        engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
        watch = watches.watch(engine, "shards", registry=registry)
        engine.connect().close()
        gone = weakref.ref(engine), weakref.ref(engine.pool)
        del engine
        gc.collect()

        assert (None, None) == (gone[0](), gone[1]())
        assert value(registry, "connpool_connections", state="idle") is None
        assert value(registry, "connpool_limit") is None
        assert 1 == value(registry, "connpool_acquires_total", outcome="ok")
        assert 1 == value(registry, "connpool_closed_total")
        snapshot = watch.snapshot()
        assert (0, 0, 0.0, 0) == (
            snapshot.in_use, snapshot.idle, snapshot.limit, snapshot.instances,
        )  # fmt: skip
        assert (1, 1, 1) == (snapshot.acquired, snapshot.opened, snapshot.closed)

    async def test_an_asyncpg_pool_is_not_kept_alive(self, watches: Watches) -> None:
        pool = asyncpg.create_pool(min_size=0)
        watch = watches.watch(pool, registry=None)
        assert 1 == watch.snapshot().instances
        del pool
        gc.collect()
        assert 0 == watch.snapshot().instances
        assert [] == watches.snapshots()

    async def test_a_connector_is_not_kept_alive(self, watches: Watches) -> None:
        connector = aiohttp.TCPConnector()
        watch = watches.watch(connector, registry=None)
        gone = weakref.ref(connector)
        await connector.close()
        del connector
        gc.collect()
        assert gone() is None
        assert 0 == watch.snapshot().instances

    # What a pool has open that is dropped is left to the garbage collector, which says so.
    @pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
    def test_counters_never_fall_when_pools_come_and_go(
        self, watches: Watches, collect: None
    ) -> None:
        registry = CollectorRegistry()
        totals = []
        for turn in range(5):
            engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
            watch = watches.watch(engine, "shards", registry=registry)
            engine.connect().close()
            if turn % 2:
                watch.unwatch()
            del engine, watch
            gc.collect()
            totals.append(value(registry, "connpool_acquires_total", outcome="ok"))
        # After `unwatch` of the last one there are no series, but what they counted is kept.
        assert [1, None, 3, None, 5] == totals

    def test_unwatch_leaves_nothing_behind(
        self, watches: Watches, collect: None, sqlite: Any
    ) -> None:
        registry = CollectorRegistry()
        engine = sqlite()
        before = self.shape(engine)
        with watches.watch(engine, registry=registry) as watch:
            engine.connect().close()
            assert b"connpool_waiting{" in generate_latest(registry)
        assert before == self.shape(engine)
        assert b"connpool" not in generate_latest(registry)
        # The listeners are every pool's, and go with the last watch there is.
        assert bool(hooks_by_pool) == bool(engine.pool.dispatch.close)
        assert bool(hooks_by_pool) == bool(engine.pool.dispatch.invalidate)
        watch.unwatch()  # again, which does nothing
        engine.dispose()
        assert before == self.shape(engine)

    def shape(self, engine: sqlalchemy.Engine) -> object:
        pool: Any = engine.pool
        return sorted(vars(pool)), sorted(vars(pool._pool))

    def test_what_was_put_over_by_somebody_else_stays(self, watches: Watches, sqlite: Any) -> None:
        engine = sqlite()
        calls = []

        def wrap_method(pool: Any) -> Callable[[], Any]:
            original = pool.connect

            def connect() -> Any:
                calls.append(pool)
                return original()

            pool.connect = connect
            return connect

        inner = wrap_method(engine.pool)
        watch = watches.watch(engine, registry=None)
        outer = wrap_method(engine.pool)
        watch.unwatch()
        assert engine.pool.connect is outer
        engine.connect().close()
        assert 2 == len(calls)
        assert inner is not outer

    @pytest.mark.parametrize("bound", [True, False])
    def test_what_was_put_over_before_is_there_again(
        self, watches: Watches, bound: bool, sqlite: Any
    ) -> None:
        engine = sqlite()
        pool: Any = engine.pool
        own: Any = types.MethodType(lambda pool: type(pool).connect(pool), pool)
        pool.connect = own = own if bound else functools.partial(own)
        watch = watches.watch(engine, registry=None)
        assert pool.connect is not own
        engine.connect().close()
        watch.unwatch()
        assert own is vars(pool)["connect"]
        assert 1 == watch.snapshot().acquired


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_child_of_a_fork_starts_from_nothing_and_leaves_the_parent_alone(
    watches: Watches,
    sqlite: Any,
) -> None:
    engine = sqlite()
    watch = watches.watch(engine, registry=None)
    out = engine.connect()
    child = os.fork()
    if child == 0:
        try:
            at_first = watch.snapshot()
            engine.dispose(close=False)
            engine.connect().close()
            then = watch.snapshot()
            right = (at_first.in_use, at_first.idle, at_first.acquired) == (0, 0, 0)
            right &= (then.in_use, then.idle, then.acquired, then.opened) == (0, 1, 1, 1)
        except BaseException:
            right = False
        os._exit(0 if right else 1)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert 1 == watch.snapshot().in_use
    out.close()
    assert (0, 1) == (watch.snapshot().in_use, watch.snapshot().idle)


def test_the_process_has_one_set_of_watches(sqlite: Any) -> None:
    engine = sqlite()
    others = {now.name for now in poolscope.snapshots()}  # that other tests have left there
    with poolscope.watch(engine, "of the process", registry=CollectorRegistry()) as watch:
        names = {now.name for now in poolscope.snapshots()}
        assert {watch.snapshot().name} == names - others
    assert watch.snapshot().name not in {now.name for now in poolscope.snapshots()}
    assert "sqlalchemy" in sys.modules
