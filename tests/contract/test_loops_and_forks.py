"""Pools and event loops: a loop that is closed too early, two loops at once, and a fork."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
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
import asyncio, ctypes, os, sys, traceback
from pathlib import Path
from contract import pools
from contract.test_loops_and_forks import numbers, use
from poolscope.demo.postgres import EmbeddedPostgres
from poolscope.fleet.folder import Folder
from poolscope.watching.watches import Watches

_, name, socket_dir, fork, folder, inherits = sys.argv
# With PyDLL, only the thread that has the GIL forks, as in uWSGI.
fork = os.fork if fork == "python" else ctypes.PyDLL(None).fork
folder, cls, postgres = Path(folder), getattr(pools, name), EmbeddedPostgres(Path(socket_dir))
watches = Watches(folder=Folder(folder))
parents, pool = asyncio.new_event_loop(), cls()
watch, out = parents.run_until_complete(use(pool, postgres, watches))

own = []  # so that nothing is collected

def files():
    return {path: path.read_bytes() for path in folder.glob(f"{os.getpid()}-*")}

def count():
    now = watch.snapshot()
    return now.instances, now.limit

def mistakes():
    found = [each for each in watch.findings() if each.rule == "shared-across-fork"]
    return [site.split(" in ")[1] for each in found for site in each.sites]

def in_a_child(check):
    before = files()
    child = fork()
    if child == 0:
        try:
            check()
        except BaseException as error:
            traceback.print_exception(error)
            os._exit(1)
        os._exit(0)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # It has not written into the files of its parent.
    assert 2 == len(before) and before == files()
    assert (1, 1, 2, 0, 2) == numbers(watch), numbers(watch)
    assert (1, 2) == count(), count()
    assert [] == mistakes()

def begins():
    assert (0, 0, 0, 0, 0) == numbers(watch), numbers(watch)
    assert (0, 0) == count(), count()

def with_a_pool_of_its_own():
    begins()
    own[:] = asyncio.new_event_loop().run_until_complete(use(cls(), postgres, watches))
    assert (1, 1, 2, 0, 2) == numbers(own[0]), numbers(own[0])
    begins()
    assert [] == mistakes()

async def acquire():
    return await pool.acquire()

def with_inherited_connections():
    own.append(parents.run_until_complete(acquire()))
    assert (1, 0, 1, 0, 1) == numbers(watch), numbers(watch)
    assert (1, 2) == count(), count()
    assert 1 == len(mistakes()), mistakes()
    assert 2 == len(files())

def that_returns_its_parents():
    parents.run_until_complete(pool.release(out))
    assert (0, 1, 1, 0, 0) == numbers(watch), numbers(watch)
    assert 1 == len(mistakes()), mistakes()

if inherits:
    in_a_child(with_inherited_connections)
    in_a_child(that_returns_its_parents)
    os._exit(0)  # its loop may be broken, because the children have used its selector

in_a_child(with_a_pool_of_its_own)

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
@pytest.mark.parametrize("inherits", ["", "and its connections"])
@pytest.mark.parametrize("fork", ["python", "c"])
@every_pool
def test_a_fork_with_a_live_pool(
    cls: type[PoolUnderTest], fork: str, inherits: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    arguments = cls.__name__, str(postgres.socket_dir), fork, str(tmp_path / "pools"), inherits
    done = subprocess.run(
        [sys.executable, "-c", FORKING, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr), done.stderr
