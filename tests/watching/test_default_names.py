"""The name of a pool whose watch was given none."""

from __future__ import annotations

from typing import Any

import aiohttp
import asyncpg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from poolscope.watching.watches import Watches


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
        ("options", "name"),
        [
            ({"pool_logging_name": "billing"}, "billing"),
            ({"logging_name": "reports"}, "reports"),
            ({"pool_logging_name": "billing", "logging_name": "reports"}, "billing"),
            ({"pool_logging_name": ""}, "orders@db.example"),
        ],
    )
    @pytest.mark.parametrize("make", [sqlalchemy.create_engine, create_async_engine])
    def test_an_engine_is_named_by_its_own_logging_names_first(
        self, watches: Watches, make: Any, options: dict[str, Any], name: str
    ) -> None:
        driver = "psycopg" if make is sqlalchemy.create_engine else "asyncpg"
        engine = make(f"postgresql+{driver}://user:secret@db.example/orders", **options)
        watch = watches.watch(engine, registry=None)
        assert name == watch.name
        # The pool that replaces this one has the same name.
        engine = getattr(engine, "sync_engine", engine)
        engine.dispose(close=False)
        assert name == watches.watch(engine, registry=None).name

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
    async def test_an_asyncpg_pool_is_named_by_its_arguments(
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
