"""Pools and event loops: a loop that is closed too early, two loops at once, and a fork."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry

from contract.pools import AsyncEngine, AsyncpgPool, PoolUnderTest, Session
from poolscope import Watch
from poolscope.demo.postgres import EmbeddedPostgres
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE

POOLS: Final = (AsyncEngine, AsyncpgPool, Session)

every_pool = pytest.mark.parametrize("cls", POOLS, ids=lambda cls: cls.__name__)


def numbers(watch: Watch) -> tuple[int, int, int, int, int]:
    """Return in use, idle, opened, closed and acquired."""
    now = watch.snapshot()
    return now.in_use, now.idle, now.opened, now.closed, now.acquired


async def use(pool: PoolUnderTest, postgres: EmbeddedPostgres, watches: Watches) -> Any:
    """Open two connections and return one; return the watch and the one in use."""
    await pool.open(postgres)
    watch = watches.watch(pool.target, registry=None)
    idle, out = [await pool.acquire() for _ in range(2)]
    await pool.release(idle)
    return watch, out


# Connections that are closed with their loop, or collected after it, cause warnings.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore:.*garbage collector:sqlalchemy.exc.SAWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("collect")
@every_pool
def test_a_loop_is_closed_with_a_pool_open(
    cls: type[PoolUnderTest],
    postgres: EmbeddedPostgres,
    watches: Watches,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # A log of SQLAlchemy's errors would keep the frames, which keep the pool.
    caplog.set_level(logging.CRITICAL + 1, "sqlalchemy.pool")
    loop, pool = asyncio.new_event_loop(), cls()
    watch, out = loop.run_until_complete(use(pool, postgres, watches))
    loop.close()
    # The server has the connections for as long as the pool is referenced.
    assert (1, 1, 2, 0, 2) == numbers(watch)
    del pool, out, loop
    gc.collect()
    assert (0, 0, 2, 2, 2) == numbers(watch)
    assert 0 == watch.snapshot().instances


@every_pool
def test_two_loops_in_two_threads_with_pools_of_one_name(
    cls: type[PoolUnderTest], postgres: EmbeddedPostgres, watches: Watches
) -> None:
    registry = CollectorRegistry()
    out, read = (threading.Barrier(3, timeout=PATIENCE) for _ in range(2))

    async def work() -> None:
        pool = cls()
        await pool.open(postgres)
        watches.watch(pool.target, name="shared", registry=registry)
        for _ in range(50):
            await pool.release(await pool.acquire())
        held = await pool.acquire()
        await asyncio.to_thread(out.wait)
        await asyncio.to_thread(read.wait)
        await pool.release(held)
        await pool.close()
        await pool.clean_up()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, {"pool": "shared", "kind": cls.kind, **labels})

    threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(2)]
    for thread in threads:
        thread.start()
    out.wait()
    now = [value("connpool_connections", state=state) for state in ("in_use", "idle", "opening")]
    assert [2.0, 0.0, 0.0] == now
    assert (2.0, 4.0) == (value("connpool_instances"), value("connpool_limit"))
    read.wait()
    for thread in threads:
        thread.join()
    assert 102.0 == value("connpool_acquires_total", outcome="ok")
    assert value("connpool_opened_total", outcome="ok") == value("connpool_closed_total")


FORKING: Final = """
import asyncio, os, sys
from pathlib import Path
from contract import pools
from contract.test_loops_and_forks import numbers, use
from poolscope.demo.postgres import EmbeddedPostgres
from poolscope.watching.watches import Watches

cls, postgres, watches = getattr(pools, sys.argv[1]), EmbeddedPostgres(Path(sys.argv[2])), Watches()
parents, pool = asyncio.new_event_loop(), cls()
watch, out = parents.run_until_complete(use(pool, postgres, watches))
child = os.fork()
if child == 0:
    try:
        assert (0, 0, 0, 0, 0) == numbers(watch), numbers(watch)
        own = asyncio.new_event_loop().run_until_complete(use(cls(), postgres, watches))
        assert (1, 1, 2, 0, 2) == numbers(own[0]), numbers(own[0])
        assert (0, 0, 0, 0, 0) == numbers(watch), numbers(watch)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)
assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert (1, 1, 2, 0, 2) == numbers(watch), numbers(watch)

async def end():
    await pool.release(out)
    assert (0, 2, 2, 0, 2) == numbers(watch), numbers(watch)
    await pool.close()
    await pool.clean_up()

parents.run_until_complete(end())
assert (0, 0, 2, 2, 2) == numbers(watch), numbers(watch)
parents.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@every_pool
def test_a_fork_with_a_live_pool(cls: type[PoolUnderTest], postgres: EmbeddedPostgres) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING, cls.__name__, str(postgres.socket_dir)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
