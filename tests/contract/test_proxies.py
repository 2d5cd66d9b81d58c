"""What stands for a pool, as tracers put it in the place of one, is watched as the pool itself."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

import poolscope
from contract.pools import PoolUnderTest
from poolscope.watching.watches import Watches
from support.web import Server


class Proxy:
    """As the proxies of wrapt: it looks like what it wraps, and passes everything on."""

    def __init__(self, wrapped: Any) -> None:
        object.__setattr__(self, "__wrapped__", wrapped)

    @property  # type: ignore[misc]  # an attribute of any object
    def __class__(self) -> Any:
        return object.__getattribute__(self, "__wrapped__").__class__

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "__wrapped__"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "__wrapped__"), name, value)

    def __hash__(self) -> int:
        return hash(object.__getattribute__(self, "__wrapped__"))

    def __eq__(self, other: object) -> bool:
        return bool(object.__getattribute__(self, "__wrapped__") == other)


async def test_what_stands_for_a_pool_is_watched_as_the_pool(
    pool: PoolUnderTest, watches: Watches
) -> None:
    watch = watches.watch(Proxy(Proxy(pool.target)), registry=None)
    held = await pool.acquire()
    assert 1 == watch.snapshot().in_use
    assert watch is watches.watch(pool.target, registry=None)
    await pool.release(held)
    assert (0, 1) == (watch.snapshot().in_use, watch.snapshot().acquired)


async def test_a_connector_behind_a_proxy_is_watched(
    sessions: Any, server: Server, watches: Watches
) -> None:
    """A tracer of Datadog gives each session such a connector."""
    session = sessions()
    connector = session._connector
    session._connector = Proxy(connector)
    watch = watches.watch(session, registry=None)
    async with session.get(f"{server.url}/stream/orders") as response:
        (hold,) = watch.holders()
        server.tell("orders")
        await response.read()
    assert "in test_a_connector_behind_a_proxy_is_watched" in str(hold.site)
    assert watch is watches.watch(connector, registry=None)
    watch.unwatch()
    assert type(connector) is aiohttp.TCPConnector
    assert [] == [name for name in vars(connector) if name.startswith("_poolscope")]


async def test_a_lifespan_closes_what_a_proxy_stands_for(pool: PoolUnderTest) -> None:
    async with poolscope.lifespan(orders=Proxy(pool.target)):
        await pool.release(await pool.acquire())
    if pool.ends:
        with pytest.raises(Exception, match="clos"):
            await pool.acquire()
