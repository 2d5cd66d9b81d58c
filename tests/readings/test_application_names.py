"""The names of connections on the server, and the adapters that set them."""

from __future__ import annotations

import os
from typing import Any

import asyncpg
import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import create_async_engine

from poolscope.readings import application_names
from poolscope.readings.application_names import Application, application_name, parse, shown
from poolscope.watching.watches import Watches

OWN = f"shop:orders:{os.getpid()}"
QUERY = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"


class TestNames:
    @given(service=st.text(min_size=1), pool=st.text(min_size=1))
    def test_a_server_does_not_change_them(self, service: str, pool: str) -> None:
        name = application_name(service, pool)
        assert len(name.encode("ascii")) <= 63
        assert name.isprintable()
        application = parse(name)
        assert application is not None
        assert (shown(pool), os.getpid()) == application[1:]

    @pytest.mark.parametrize("name", ["", "psql", "a:b", "a::1", ":b:1", "a:b:", "a:b:x", "a:b:²"])
    def test_names_of_other_programs_are_not_parsed(self, name: str) -> None:
        assert parse(name) is None

    def test_a_pool_may_have_colons(self) -> None:
        assert Application("my_shop", "orders@db:5432", os.getpid()) == parse(
            application_name("my:shop", "orders@db:5432")
        )


def name_of(engine: sqlalchemy.Engine) -> Any:
    """Return the name that the server has for a connection of the engine."""
    with engine.connect() as connection:
        return connection.scalar(sqlalchemy.text(QUERY))


class TestEngines:
    def test_connections_get_the_name(self, engines: Any, watches: Watches) -> None:
        engine = engines()
        with watches.watch(engine, "orders", registry=None, application_name="shop"):
            assert OWN == name_of(engine)
        engine.dispose()
        assert "" == name_of(engine)

    def test_the_environment_names_the_service(
        self, engines: Any, watches: Watches, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(application_names.APPLICATION_NAME_VARIABLE, "shop")
        engine = engines()
        watches.watch(engine, "orders", registry=None)
        assert OWN == name_of(engine)

    def test_a_name_that_the_application_sets_stays(self, engines: Any, watches: Watches) -> None:
        engine = engines(connect_args={"application_name": "mine"})
        watches.watch(engine, "orders", registry=None, application_name="shop")
        assert ["mine", "mine"] == [name_of(engine), name_of(engine)]

    def test_without_the_option_connections_have_no_name(
        self, engines: Any, watches: Watches
    ) -> None:
        engine = engines()
        watches.watch(engine, "orders", registry=None)
        assert "" == name_of(engine)

    def test_a_forked_child_has_a_name_of_its_own(self, engines: Any, watches: Watches) -> None:
        engine = engines()
        watches.watch(engine, "orders", registry=None, application_name="shop")
        assert OWN == name_of(engine)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            engine.dispose(close=False)
            os.write(writing, name_of(engine).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            assert f"shop:orders:{child}" == answer.read()
        os.waitpid(child, 0)

    async def test_connections_of_an_async_engine_get_the_name(
        self, postgres: Any, watches: Watches
    ) -> None:
        engine = create_async_engine(postgres.sqlalchemy_url("asyncpg"))
        watches.watch(engine, "orders", registry=None, application_name="shop")
        async with engine.connect() as connection:
            assert OWN == await connection.scalar(sqlalchemy.text(QUERY))
        await engine.dispose()

    def test_a_pool_without_an_engine_is_left_alone(self, watches: Watches) -> None:
        pool = sqlalchemy.pool.QueuePool(lambda: asyncpg)
        watches.watch(pool, "orders", registry=None, application_name="shop").unwatch()


class TestAsyncpg:
    async def test_connections_get_the_name(self, pools: Any, watches: Watches) -> None:
        async with pools() as pool:
            watches.watch(pool, "orders", registry=None, application_name="shop")
            assert OWN == await pool.fetchval(QUERY)

    async def test_a_pool_may_be_watched_before_it_is_opened(
        self, pools: Any, watches: Watches
    ) -> None:
        pool = pools(min_size=1)
        watches.watch(pool, "orders", registry=None, application_name="shop")
        async with pool:
            assert OWN == await pool.fetchval(QUERY)

    async def test_a_name_that_the_application_sets_stays(
        self, postgres: Any, pools: Any, watches: Watches
    ) -> None:
        for pool in (
            pools(server_settings={"application_name": "mine"}),
            asyncpg.create_pool(f"{postgres.dsn}&application_name=mine", min_size=0),
        ):
            watches.watch(pool, "orders", registry=None, application_name="shop")
            async with pool:
                assert "mine" == await pool.fetchval(QUERY)

    async def test_other_server_settings_stay(self, pools: Any, watches: Watches) -> None:
        pool = pools(server_settings={"search_path": "shop"})
        watches.watch(pool, "orders", registry=None, application_name="shop")
        async with pool:
            assert OWN == await pool.fetchval(QUERY)
            assert "shop" == await pool.fetchval("SHOW search_path")
