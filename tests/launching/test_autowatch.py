"""`autowatch` watches each pool that is made, whoever makes it, and changes nothing else."""

from __future__ import annotations

import copy
import gc
import inspect
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import aiohttp
import asyncpg
import asyncpg.pool
import prometheus_client
import pytest
import sqlalchemy
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import create_async_engine

from poolscope.adapters.aiohttp import trace_config
from poolscope.launching.autowatch import Autowatch
from poolscope.launching.names import names_from
from poolscope.launching.settings import Settings
from poolscope.watching.watch import Watch
from poolscope.watching.watches import Watches

URL = "postgresql+psycopg://user:secret@db:5432/orders"


@pytest.fixture
def told() -> list[str]:
    """The names of the watches that were told of, at that moment."""
    return []


@pytest.fixture
def auto(watches: Watches, told: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Autowatch]:
    monkeypatch.setattr(prometheus_client, "REGISTRY", CollectorRegistry())
    autowatch = Autowatch(watches, lambda watch: told.append(watch.name))
    autowatch.begin(Settings())
    yield autowatch
    autowatch.end()


def names(watches: Watches) -> list[str]:
    return sorted(snapshot.name for snapshot in watches.snapshots())


@pytest.mark.usefixtures("auto")
class TestSQLAlchemy:
    def test_an_engine_and_its_pool_are_one(self, watches: Watches) -> None:
        engine = sqlalchemy.create_engine(URL)
        assert ["orders@db:5432"] == names(watches)
        assert "orders@db:5432" == watches.watch(engine.pool).name

    def test_an_async_engine(self, watches: Watches) -> None:
        engine = create_async_engine("postgresql+asyncpg://db/orders")
        assert ["orders@db"] == names(watches)
        assert "orders@db" == watches.watch(engine).name

    @pytest.mark.parametrize(
        "pool_class",
        [
            sqlalchemy.pool.QueuePool,
            sqlalchemy.pool.NullPool,
            sqlalchemy.pool.StaticPool,
            sqlalchemy.pool.SingletonThreadPool,
            sqlalchemy.pool.AssertionPool,
        ],
    )
    def test_a_pool_of_any_class(self, watches: Watches, pool_class: Any) -> None:
        pool = pool_class(lambda: None)
        assert [pool_class.__name__] == names(watches)
        engine = sqlalchemy.create_engine("sqlite://", poolclass=pool_class)
        assert [pool_class.__name__, "sqlite"] == names(watches)
        del pool, engine

    def test_a_subclass_of_a_pool(self, watches: Watches) -> None:
        class Own(sqlalchemy.pool.QueuePool):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self.own = True

        engine = sqlalchemy.create_engine("sqlite://", poolclass=Own, pool_size=3)
        assert ["sqlite"] == names(watches)
        pool = Own(lambda: None)
        assert ["Own", "sqlite"] == names(watches)
        assert 3 == engine.pool.size()  # type: ignore[attr-defined]  # of a QueuePool
        assert pool.own

    def test_what_dispose_makes_is_the_engines(self, watches: Watches, sqlite: Any) -> None:
        engine = sqlite()
        engine.dispose()
        engine.dispose()
        assert ["sqlite"] == names(watches)
        engine.connect().close()
        assert 1 == watches.snapshots()[0].acquired

    def test_an_engine_with_other_options_is_the_same(self, watches: Watches, sqlite: Any) -> None:
        engine = sqlite()
        engine.execution_options(isolation_level="AUTOCOMMIT").connect().close()
        assert [1] == [snapshot.acquired for snapshot in watches.snapshots()]

    def test_an_engine_of_mocks_is_left_alone(self, watches: Watches) -> None:
        made = [
            sqlalchemy.Engine(sqlalchemy.pool.NullPool(Mock()), Mock(), Mock()),
            sqlalchemy.Engine(Mock(), Mock(), sqlalchemy.make_url("sqlite://")),
        ]
        assert ["NullPool"] == names(watches)
        del made

    def test_unwatched_stays_unwatched(self, watches: Watches, sqlite: Any) -> None:
        engine = sqlite()
        watches.watch(engine).unwatch()
        engine.dispose()
        engine.connect().close()
        assert [] == names(watches)


@pytest.mark.usefixtures("auto")
class TestAsyncpg:
    async def test_a_pool(self, watches: Watches) -> None:
        pool = asyncpg.create_pool("postgresql://user:secret@db:5432/orders")
        assert ["orders@db:5432"] == names(watches)
        assert 10 == watches.watch(pool).snapshot().limit


@pytest.mark.usefixtures("auto")
class TestAiohttp:
    async def test_sessions_of_one_connector_are_one_pool(self, watches: Watches) -> None:
        async with (
            aiohttp.ClientSession("http://api.example") as first,
            aiohttp.ClientSession(connector=first.connector, connector_owner=False),
        ):
            assert ["aiohttp"] == names(watches)

    async def test_the_name_of_a_trace_config_counts_more(self, watches: Watches) -> None:
        config = trace_config(lambda session: asked.append(watches.watch(session, "payments")))
        asked: list[Watch] = []
        async with aiohttp.ClientSession(trace_configs=[config]) as session:
            assert ["aiohttp"] == names(watches)
            for _ in range(2):
                for signal in config.on_request_start:
                    await signal(session, SimpleNamespace(), Mock())
            assert ["payments"] == names(watches)
            assert 1 == len(asked)

    async def test_a_session_with_a_closed_connector(
        self, watches: Watches, caplog: pytest.LogCaptureFixture
    ) -> None:
        """aiohttp takes it, and so does whoever watches."""
        connector = aiohttp.TCPConnector()
        await connector.close()
        for _ in range(2):
            session = aiohttp.ClientSession(connector=connector)
            assert session.closed
        assert [] == names(watches)
        assert 1 == caplog.text.count("not all pools of aiohttp are watched")


class TestNames:
    def test_the_first_pattern_that_matches(self, auto: Autowatch, watches: Watches) -> None:
        auto.begin(Settings(names_from(["orders@*=orders", "*=all"])))
        made = [sqlalchemy.create_engine(URL), sqlalchemy.create_engine("sqlite://")]
        assert ["all", "orders"] == names(watches)
        del made

    def test_none_that_matches(self, auto: Autowatch, watches: Watches) -> None:
        auto.begin(Settings(names_from({"billing*": "billing"})))
        engine = sqlalchemy.create_engine(URL)
        assert "orders@db:5432" == watches.watch(engine).name

    @pytest.mark.parametrize("wrong", ["orders", ["orders"], [("a",)], [(1, "a")], [("", "a")]])
    def test_what_is_wrong(self, wrong: Any) -> None:
        with pytest.raises((TypeError, ValueError), match=r"names|pattern|PATTERN=NAME"):
            names_from(wrong)


class TestHarmless:
    def test_the_methods_look_like_the_originals(
        self, watches: Watches, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        classes = (
            sqlalchemy.Engine,
            sqlalchemy.pool.QueuePool,
            asyncpg.pool.Pool,
            aiohttp.ClientSession,
        )

        def looks() -> list[Any]:
            return [
                (
                    inspect.signature(cls),
                    cls.__init__.__name__,
                    cls.__init__.__qualname__,
                    cls.__init__.__module__,
                    cls.__init__.__doc__,
                    inspect.getsource(cls.__init__),
                    inspect.getfullargspec(cls.__init__),
                )
                for cls in classes
            ]

        before, methods = looks(), [cls.__init__ for cls in classes]
        auto = Autowatch(watches, id)
        auto.begin()
        auto.begin()
        assert before == looks()
        auto.end()
        assert methods == [cls.__init__ for cls in classes]

    @pytest.mark.usefixtures("auto")
    async def test_errors_are_those_of_the_library(self, watches: Watches) -> None:
        with pytest.raises(TypeError, match=r"__init__\(\) missing 1 required positional"):
            sqlalchemy.pool.QueuePool()  # type: ignore[call-arg]  # on purpose
        with pytest.raises(TypeError, match="Invalid argument"):
            sqlalchemy.create_engine("sqlite://", wrong=True)
        with pytest.raises(ValueError, match="max_size"):
            asyncpg.create_pool(min_size=3, max_size=1)
        assert [] == names(watches)

    @pytest.mark.usefixtures("auto", "collect")
    def test_a_pool_is_collected_at_once(self, watches: Watches) -> None:
        gc.disable()
        try:
            make: Any = sqlalchemy.pool.QueuePool
            pool = make(lambda: None)
            reference = weakref.ref(pool)
            del pool
            assert reference() is None
            assert [] == names(watches)
        finally:
            gc.enable()

    @pytest.mark.usefixtures("auto")
    def test_classes_are_pickled_and_copied(self) -> None:
        for cls in (sqlalchemy.Engine, sqlalchemy.pool.QueuePool, aiohttp.ClientSession):
            assert cls is pickle.loads(pickle.dumps(cls))  # noqa: S301 - our own
            assert cls is copy.deepcopy(cls)

    @pytest.mark.usefixtures("auto")
    @pytest.mark.makes_hooks_fail
    def test_an_error_of_ours_is_not_the_applications(
        self, watches: Watches, monkeypatch: pytest.MonkeyPatch, sqlite: Any
    ) -> None:
        def fail(*_: object) -> None:
            raise LookupError

        monkeypatch.setattr(watches, "watch_made", fail)
        with sqlite().connect() as connection:
            assert connection.closed is False

    def test_another_patch_of_the_method_goes_on(
        self, auto: Autowatch, watches: Watches, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []
        ours = sqlalchemy.Engine.__init__

        def patched(self: Any, *args: Any, **kwargs: Any) -> None:
            seen.append(self)
            ours(self, *args, **kwargs)

        monkeypatch.setattr(sqlalchemy.Engine, "__init__", patched)
        engine = sqlalchemy.create_engine("sqlite://")
        assert [engine] == seen
        assert ["sqlite"] == names(watches)

    @pytest.mark.usefixtures("auto")
    def test_threads(self, watches: Watches) -> None:
        made: list[Any] = []
        threads = [
            threading.Thread(target=lambda: made.append(sqlalchemy.create_engine(URL)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ["orders@db:5432"] * 8 == names(watches)


@pytest.mark.usefixtures("auto")
def test_the_first_pool_is_told(told: list[str]) -> None:
    first = sqlalchemy.create_engine(URL)
    second = sqlalchemy.create_engine("sqlite://")
    assert ["orders@db:5432"] == told
    del first, second


def run(program: str, *, code: int = 0, **environment: str) -> str:
    """Run a program in a fresh interpreter, and return what it prints."""
    inherited = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        env={**inherited, **environment},
    )
    assert (code, "") == (done.returncode, done.stderr)
    return done.stdout


class TestInAFreshInterpreter:
    def test_it_imports_nothing(self) -> None:
        program = """
            import sys, poolscope
            poolscope.autowatch()
            print(sorted({"sqlalchemy", "asyncpg", "aiohttp", "asyncio"} & sys.modules.keys()))
        """
        assert "[]\n" == run(program)

    @pytest.mark.parametrize("begin", ["import poolscope.auto", "poolscope.autowatch()"])
    @pytest.mark.parametrize("is_first", [True, False], ids=["before", "after the library"])
    def test_before_and_after_the_library(self, begin: str, is_first: bool) -> None:
        lines = [begin, "from sqlalchemy import create_engine, Engine"]
        program = "\n".join(
            [
                "import poolscope",
                *(lines if is_first else lines[::-1]),
                "engine = create_engine('sqlite:///:memory:')",
                "print(poolscope.snapshots()[0].name)",
                "import sqlalchemy.engine.base as base",
                "print(type(base.__loader__).__name__, type(base.__spec__.loader).__name__)",
            ]
        )
        assert ":memory:\nSourceFileLoader SourceFileLoader\n" == run(program)

    def test_names_of_the_environment(self) -> None:
        program = """
            import poolscope.auto, sqlalchemy
            made = [sqlalchemy.create_engine("sqlite:////tmp/orders.db") for _ in range(2)]
            print({snapshot.name for snapshot in poolscope.snapshots()})
        """
        assert "{'the orders'}\n" == run(program, POOLSCOPE_NAMES="x=y 'orders*=the orders'")

    def test_it_goes_on_in_a_forked_child(self) -> None:
        program = """
            import os, poolscope.auto, sqlalchemy
            parents = sqlalchemy.create_engine("sqlite:////tmp/parents.db")
            child = os.fork()
            if child:
                os.waitpid(child, 0)
            else:
                childs = sqlalchemy.create_engine("sqlite:////tmp/childs.db")
            print(sorted(snapshot.name for snapshot in poolscope.snapshots()), flush=True)
        """
        assert "['childs.db', 'parents.db']\n['parents.db']\n" == run(program)

    def test_a_module_that_was_removed_and_is_imported_anew(self) -> None:
        program = """
            import sys, poolscope.auto, sqlalchemy
            for name in [name for name in sys.modules if name.startswith("asyncpg")]:
                del sys.modules[name]
            import asyncpg
            for name in [name for name in sys.modules if name.startswith("asyncpg")]:
                del sys.modules[name]
            import asyncpg.pool
            print(hasattr(asyncpg.pool.Pool.__init__, "__wrapped__"))
        """
        assert "True\n" == run(program)
