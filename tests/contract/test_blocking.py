"""A watch in a running event loop does nothing there that blocks, as blockbuster judges it."""

from __future__ import annotations

import _thread
import threading
from pathlib import Path
from typing import Any

import blockbuster
import pytest

from contract.pools import PoolUnderTest
from poolscope.errors import internal_errors
from poolscope.fleet.folder import DIR_VARIABLE
from poolscope.process.off_loop import off_loop
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches


@pytest.fixture(params=["private", "shared"])
def shared(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether POOLSCOPE_DIR names a folder, which does not exist yet."""
    is_shared: bool = request.param == "shared"
    if is_shared:
        monkeypatch.setenv(DIR_VARIABLE, str(folder))
    return is_shared


def names(folder: Path) -> list[str]:
    """Return the names of the files in the folder; none if it does not exist."""
    return [path.name for path in folder.iterdir()] if folder.exists() else []


async def test_no_step_of_a_watch_blocks(
    clock: FakeClock, pool: PoolUnderTest, shared: bool, folder: Path
) -> None:
    connection, errors = await pool.acquire(), internal_errors.count
    watches = Watches(clock)
    known = set(threading.enumerate())
    with blockbuster.blockbuster_ctx():
        watch = watches.watch(pool.target, "orders", registry=None)
        snapshot, holders, findings = watch.snapshot(), watch.holders(), watch.findings()
    assert known >= set(threading.enumerate())
    assert (1, 1) == (snapshot.in_use, len(holders))
    assert "not-shared" not in {finding.rule for finding in findings}
    assert [".pool", ".process"] * shared == sorted(Path(name).suffix for name in names(folder))
    await pool.release(connection)
    with blockbuster.blockbuster_ctx():
        assert 0 == watch.snapshot().in_use
        watch.unwatch()
    assert errors == internal_errors.count


@pytest.mark.usefixtures("shared")
async def test_a_refusal_of_its_own_files_makes_a_pool_private(
    clock: FakeClock,
    pool: PoolUnderTest,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(work: Any) -> Any:
        raise blockbuster.BlockingError("os.mkdir")

    monkeypatch.setattr("poolscope.fleet.folder.off_loop", refuse)
    watch = Watches(clock).watch(pool.target, "orders", registry=None)
    connection = await pool.acquire()
    assert 1 == watch.snapshot().in_use
    await pool.release(connection)
    messages = [record.getMessage() for record in caplog.records if record.name == "poolscope"]
    assert all("POOLSCOPE_DIR cannot be used" in message for message in messages)
    assert len(messages) <= 1


async def test_an_error_off_the_loop_reaches_who_asked_for_the_work() -> None:
    def fail() -> None:
        raise ZeroDivisionError(threading.get_ident())

    with pytest.raises(ZeroDivisionError) as error:
        off_loop(fail)
    assert error.value.args != (threading.get_ident(),)


async def test_without_a_further_thread_the_work_is_done_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    assert threading.get_ident() == off_loop(threading.get_ident)


def test_without_a_running_loop_the_work_is_done_here() -> None:
    assert threading.get_ident() == off_loop(threading.get_ident)
