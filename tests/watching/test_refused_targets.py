"""`watch` refuses what it cannot watch, and then leaves the pool as it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import aiohttp
import asyncpg
import pytest
import sqlalchemy
from prometheus_client import CollectorRegistry, Gauge

from poolscope.adapters import versions
from poolscope.watching.watches import Watches


class TestBadInput:
    @pytest.mark.parametrize(
        "target",
        [42, None, "postgresql://secret@host/db", object(), sqlalchemy, sqlalchemy.MetaData()],
        ids=lambda target: type(target).__name__,
    )
    def test_an_object_that_is_not_a_pool_is_refused(self, watches: Watches, target: Any) -> None:
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
    def test_a_name_that_is_not_a_string_is_refused(
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
        with pytest.raises(ValueError, match=r"already watched as 'orders', .* as 'billing' too"):
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
