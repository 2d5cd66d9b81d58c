"""The info of a pool, and what a forked child does not inherit from its parent."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import aiohttp
import asyncpg
import pytest
import sqlalchemy
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import create_async_engine

from poolscope import Watch
from poolscope.readings.report import Info
from poolscope.watching.watches import Watches


class TestInfo:
    def test_info_of_engines_and_their_pools(self, watches: Watches) -> None:
        url = "postgresql+{}://u@db/d"
        targets: list[Any] = [
            sqlalchemy.create_engine(url.format("psycopg")),
            create_async_engine(url.format("asyncpg")),
            sqlalchemy.QueuePool(lambda: None),  # type: ignore[arg-type]
        ]
        version = sqlalchemy.__version__
        assert [
            Info("QueuePool", "psycopg", version),
            Info("AsyncAdaptedQueuePool", "asyncpg", version),
            Info("QueuePool", "", version),
        ] == [watches.watch(target, registry=None)._pool.info for target in targets]

    async def test_info_of_an_asyncpg_pool(self, pools: Any, watches: Watches) -> None:
        watch = watches.watch(pools(), registry=None)
        assert Info("Pool", "asyncpg", asyncpg.__version__) == watch._pool.info

    async def test_info_of_a_session(self, sessions: Any, watches: Watches) -> None:
        watch = watches.watch(sessions(), registry=None)
        assert Info("TCPConnector", "aiohttp", aiohttp.__version__) == watch._pool.info


def passes_in_a_child(check: Callable[[], bool]) -> bool:
    """Run a check in a forked child, and return whether it passes."""
    child = os.fork()
    if child == 0:
        try:
            passed = check()
        except BaseException:
            passed = False
        os._exit(0 if passed else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
class TestAFork:
    @pytest.fixture
    def engine(self, sqlite: Callable[..., sqlalchemy.Engine]) -> sqlalchemy.Engine:
        return sqlite(pool_size=1, max_overflow=0, pool_timeout=0.0)

    @pytest.fixture
    def registry(self) -> CollectorRegistry:
        return CollectorRegistry()

    @pytest.fixture
    def watch(
        self, engine: sqlalchemy.Engine, watches: Watches, registry: CollectorRegistry
    ) -> Watch:
        """A pool whose holder has timed out asking for another connection, which was logged."""
        watch = watches.watch(engine, "orders", registry=registry)
        time_out(engine)
        return watch

    def test_a_child_has_created_each_pool_once(
        self, watch: Watch, registry: CollectorRegistry
    ) -> None:
        labels = {"pool": "orders", "kind": "sqlalchemy"}

        def made() -> float | None:
            return registry.get_sample_value("connpool_instances_created_total", labels)

        assert passes_in_a_child(lambda: made() == 1.0)
        assert 1.0 == made()

    def test_a_child_has_no_findings_yet(self, watch: Watch) -> None:
        def mistakes() -> set[str]:
            return {finding.rule for finding in watch.findings()}

        assert passes_in_a_child(lambda: "nested-acquire" not in mistakes())
        assert "nested-acquire" in mistakes()

    def test_a_child_has_not_logged_anything_yet(
        self, watch: Watch, engine: sqlalchemy.Engine, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.clear()
        time_out(engine)
        assert [] == caplog.records  # it was said a moment ago

        def says_it_again() -> bool:
            engine.dispose(close=False)
            time_out(engine)
            return len(caplog.records) == 1

        assert passes_in_a_child(says_it_again)


def time_out(engine: sqlalchemy.Engine) -> None:
    """Ask for a second connection of a pool whose only one is in use."""
    with engine.connect(), pytest.raises(sqlalchemy.exc.TimeoutError):
        engine.connect()
