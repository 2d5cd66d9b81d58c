"""A service with forty lines that take connections, three of which leak: those and no others."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp
import asyncpg
import pytest
import uvloop
from sqlalchemy.ext.asyncio import create_async_engine

from poolscope import Watch
from poolscope.watching.watches import Watches
from support.web import Server

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres
    from poolscope.testing import FakeClock

SITES: Final = 40
LEAKS: Final = {7: "forget", 21: "fail", 33: "keep"}
ROUNDS: Final = 3

pytestmark = [
    pytest.mark.usefixtures("collect"),
    # What the libraries say of connections that were dropped.
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",
        "ignore::sqlalchemy.exc.SAWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]


class Way(NamedTuple):
    """How a site takes a connection (its last line is the one that asks), and gives it back."""

    take: tuple[str, ...]
    give: str


SELECT = 'text("SELECT 1")'
WAYS: Final = {
    "asyncpg": Way(("c = await pool.acquire()",), "await pool.release(c)"),
    "aiohttp": Way(("c = await pool.get(pool.url)",), "c.close()"),
    "async engine": Way(("c = await pool.connect()",), "await c.close()"),
    "async orm": Way(("c = AsyncSession(pool)", f"await c.execute({SELECT})"), "await c.close()"),
    "threads": Way(("c = pool.connect()",), "c.close()"),
    "orm": Way(("c = Session(pool)", f"c.execute({SELECT})"), "c.close()"),
}

HEAD = """\
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

class Cart(Exception):
    pass
"""


def write(way: Way) -> tuple[str, set[str]]:
    """Return the text of the service, and the sites that leak."""
    lines, leaks = HEAD.splitlines(), set()
    kind = "async def" if "await" in way.take[-1] else "def"
    for number in range(SITES):
        lines += ["", f"{kind} site_{number:02}(pool, kept):"]
        lines += [f"    {line}" for line in way.take]
        leak = LEAKS.get(number)
        if leak:
            leaks.add(f"service.py:{len(lines)} in site_{number:02}")
        lines.append(
            {
                None: f"    try:\n        kept[-1]\n    finally:\n        {way.give}",
                "forget": "    assert c is not None",
                "fail": f"    raise Cart\n    {way.give}",
                "keep": "    kept.append(c)",
            }[leak]
        )
        lines = "\n".join(lines).splitlines()
    return "\n".join(lines) + "\n", leaks


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[[str], tuple[ModuleType, set[str]]]]:
    """Makes the service for a way to use a pool."""

    def make(way: str) -> tuple[ModuleType, set[str]]:
        text, leaks = write(WAYS[way])
        path = tmp_path / "service.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("service", path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules["service"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module, leaks

    yield make
    sys.modules.pop("service", None)


def calls(module: ModuleType) -> list[Any]:
    """Return the sites in the order in which they are called: the correct ones several times."""
    numbers = [n for turn in range(ROUNDS) for n in range(SITES) if turn == 0 or n not in LEAKS]
    return [getattr(module, f"site_{number:02}") for number in numbers]


def named(watch: Watch, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> dict[str, set[Any]]:
    """Return the sites that holders, findings and the log name, after more than a minute."""
    gc.collect()
    clock.advance(61.0)
    findings = [finding for finding in watch.findings() if finding.rule == "abandoned"]
    holds = [hold for hold in watch.holders() if hold.overdue or hold.abandoned]
    records: list[Any] = [record for record in caplog.records if record.name == "poolscope"]
    return {
        "holders and findings": {hold.site for hold in holds}.union(*(f.sites for f in findings)),
        "log": {record.poolscope["site"] for record in records},
    }


async def run(module: ModuleType, pool: Any, kept: list[Any]) -> None:
    """Call all sites, eight at a time, each in a task of its own."""
    room = asyncio.Semaphore(8)

    async def call(site: Any) -> None:
        async with room:
            with suppress(module.Cart):
                await site(pool, kept)

    await asyncio.gather(*(call(site) for site in calls(module)))


async def on_asyncpg(module: ModuleType, dsn: str, kept: list[Any], look: Any) -> Any:
    pool = await asyncpg.create_pool(dsn, min_size=0, max_size=12)
    end = look(pool)
    await run(module, pool, kept)
    result = end()
    pool.terminate()
    return result


async def on_engine(module: ModuleType, url: str, kept: list[Any], look: Any) -> Any:
    engine = create_async_engine(url, pool_size=12)
    end = look(engine)
    await run(module, engine, kept)
    result = end()
    for connection in kept[1:]:
        await connection.close()
    await engine.dispose()
    return result


async def on_aiohttp(module: ModuleType, _: str, kept: list[Any], look: Any) -> Any:
    server = Server()
    await server.start()
    async with aiohttp.ClientSession() as session:
        session.url = f"{server.url}/much/cart"
        end = look(session)
        await run(module, session, kept)
        result = end()
    await server.stop()
    return result


ON: Final[dict[str, Callable[..., Any]]] = {
    "asyncpg": on_asyncpg,
    "aiohttp": on_aiohttp,
    "async engine": on_engine,
    "async orm": on_engine,
}


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("way", ON)
def test_on_a_loop(
    way: str,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    service: Any,
    postgres: EmbeddedPostgres,
    watches: Watches,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    module, leaks = service(way)

    def look(pool: Any) -> Callable[[], Any]:
        watch = watches.watch(pool, registry=None)
        return lambda: named(watch, clock, caplog)

    url = postgres.dsn if way == "asyncpg" else postgres.sqlalchemy_url("asyncpg")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        result = runner.run(ON[way](module, url, [None], look))
    assert {"holders and findings": leaks, "log": leaks} == result


@pytest.mark.parametrize("way", ["threads", "orm"])
def test_in_threads(
    way: str,
    service: Any,
    engines: Any,
    watches: Watches,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    module, leaks = service(way)
    engine = engines(pool_size=12)
    watch = watches.watch(engine, registry=None)
    kept: list[Any] = [None]

    def call(site: Any) -> None:
        with suppress(module.Cart):
            site(engine, kept)

    with ThreadPoolExecutor(8) as threads:
        for _ in threads.map(call, calls(module)):
            pass
    assert {"holders and findings": leaks, "log": leaks} == named(watch, clock, caplog)
    assert SITES * ROUNDS - len(LEAKS) * (ROUNDS - 1) == watch.snapshot().acquired
    kept.pop().close()
    assert 1 == watch.snapshot().leaks_recovered


def test_the_service_is_what_it_should_be() -> None:
    text, leaks = write(WAYS["orm"])
    assert SITES == text.count("\ndef site_")
    assert 3 == len(leaks)
