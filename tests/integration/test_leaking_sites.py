"""Of forty call sites, three leak connections: exactly these are reported."""

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
    # The libraries warn of connections that were not returned.
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",
        "ignore::sqlalchemy.exc.SAWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]


class Usage(NamedTuple):
    """The code that acquires a connection, in its last line, and the code that returns it."""

    acquire: tuple[str, ...]
    release: str


SELECT = 'text("SELECT 1")'
USAGES: Final = {
    "asyncpg": Usage(("c = await pool.acquire()",), "await pool.release(c)"),
    "aiohttp": Usage(("c = await pool.get(pool.url)",), "c.close()"),
    "async engine": Usage(("c = await pool.connect()",), "await c.close()"),
    "async orm": Usage(("c = AsyncSession(pool)", f"await c.execute({SELECT})"), "await c.close()"),
    "threads": Usage(("c = pool.connect()",), "c.close()"),
    "orm": Usage(("c = Session(pool)", f"c.execute({SELECT})"), "c.close()"),
}

HEAD = """\
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

class Cart(Exception):
    pass
"""


def write(usage: Usage) -> tuple[str, set[str]]:
    """Return the source of the service, and the call sites that leak."""
    lines, leaks = HEAD.splitlines(), set()
    kind = "async def" if "await" in usage.acquire[-1] else "def"
    for number in range(SITES):
        lines += ["", f"{kind} site_{number:02}(pool, kept):"]
        lines += [f"    {line}" for line in usage.acquire]
        leak = LEAKS.get(number)
        if leak:
            leaks.add(f"service.py:{len(lines)} in site_{number:02}")
        lines.append(
            {
                None: f"    try:\n        kept[-1]\n    finally:\n        {usage.release}",
                "forget": "    assert c is not None",
                "fail": f"    raise Cart\n    {usage.release}",
                "keep": "    kept.append(c)",
            }[leak]
        )
        lines = "\n".join(lines).splitlines()
    return "\n".join(lines) + "\n", leaks


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[[str], tuple[ModuleType, set[str]]]]:
    """Returns a function that makes the service for a kind of usage."""

    def make(usage: str) -> tuple[ModuleType, set[str]]:
        text, leaks = write(USAGES[usage])
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


def sites_in_order(module: ModuleType) -> list[Any]:
    """Return the sites in the order of their calls: all once, then the correct ones again."""
    numbers = [n for turn in range(ROUNDS) for n in range(SITES) if turn == 0 or n not in LEAKS]
    return [getattr(module, f"site_{number:02}") for number in numbers]


def reported_sites(
    watch: Watch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> dict[str, set[Any]]:
    """Return the sites in the holders, findings and log, when more than a minute has passed."""
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
    """Call all sites, eight at a time, each in a separate task."""
    semaphore = asyncio.Semaphore(8)

    async def call(site: Any) -> None:
        async with semaphore:
            with suppress(module.Cart):
                await site(pool, kept)

    await asyncio.gather(*(call(site) for site in sites_in_order(module)))


async def on_asyncpg(module: ModuleType, dsn: str, kept: list[Any], watch: Any) -> Any:
    pool = await asyncpg.create_pool(dsn, min_size=0, max_size=12)
    report = watch(pool)
    await run(module, pool, kept)
    result = report()
    pool.terminate()
    return result


async def on_engine(module: ModuleType, url: str, kept: list[Any], watch: Any) -> Any:
    engine = create_async_engine(url, pool_size=12)
    report = watch(engine)
    await run(module, engine, kept)
    result = report()
    for connection in kept[1:]:
        await connection.close()
    await engine.dispose()
    return result


async def on_aiohttp(module: ModuleType, _: str, kept: list[Any], watch: Any) -> Any:
    server = Server()
    await server.start()
    async with aiohttp.ClientSession() as session:
        session.url = f"{server.url}/much/cart"
        report = watch(session)
        await run(module, session, kept)
        result = report()
    await server.stop()
    return result


RUN_ON: Final[dict[str, Callable[..., Any]]] = {
    "asyncpg": on_asyncpg,
    "aiohttp": on_aiohttp,
    "async engine": on_engine,
    "async orm": on_engine,
}


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("usage", RUN_ON)
def test_exactly_the_leaking_sites_of_tasks_are_reported(
    usage: str,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    service: Any,
    postgres: EmbeddedPostgres,
    watches: Watches,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    module, leaks = service(usage)

    def watch(pool: Any) -> Callable[[], Any]:
        watched = watches.watch(pool, registry=None)
        return lambda: reported_sites(watched, clock, caplog)

    url = postgres.dsn if usage == "asyncpg" else postgres.sqlalchemy_url("asyncpg")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        result = runner.run(RUN_ON[usage](module, url, [None], watch))
    assert {"holders and findings": leaks, "log": leaks} == result


@pytest.mark.parametrize("usage", ["threads", "orm"])
def test_exactly_the_leaking_sites_of_threads_are_reported(
    usage: str,
    service: Any,
    engines: Any,
    watches: Watches,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    module, leaks = service(usage)
    engine = engines(pool_size=12)
    watch = watches.watch(engine, registry=None)
    kept: list[Any] = [None]

    def call(site: Any) -> None:
        with suppress(module.Cart):
            site(engine, kept)

    with ThreadPoolExecutor(8) as threads:
        for _ in threads.map(call, sites_in_order(module)):
            pass
    assert {"holders and findings": leaks, "log": leaks} == reported_sites(watch, clock, caplog)
    assert SITES * ROUNDS - len(LEAKS) * (ROUNDS - 1) == watch.snapshot().acquired
    kept.pop().close()
    assert 1 == watch.snapshot().leaks_recovered


def test_the_service_has_forty_sites_and_three_leaks() -> None:
    text, leaks = write(USAGES["orm"])
    assert SITES == text.count("\ndef site_")
    assert 3 == len(leaks)
