"""A watch is all or nothing: one that fails leaves nothing behind, and the next one works."""

from __future__ import annotations

import gc
import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import CO_GENERATOR
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry

import poolscope
from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.errors import ErrorLog, internal_errors
from poolscope.fleet.folder import Folder
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches

PACKAGE: Final = str(Path(poolscope.__file__).parent)

MOST_STEPS: Final = 1000
"""More than the functions of poolscope that one watch calls."""


class OursError(Exception):
    """What fails inside poolscope."""


class NotOursError(BaseException):
    """What reaches poolscope from outside, as a KeyboardInterrupt does."""


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> ErrorLog:
    """Counts the errors that a test makes on purpose, apart from those of the process."""
    errors = ErrorLog()
    monkeypatch.setattr("poolscope.errors.internal_errors", errors)
    return errors


def is_within(frame: FrameType | None, name: str) -> bool:
    """Whether a function of that name calls the frame, by whatever way."""
    while frame is not None and frame.f_code.co_name != name:
        frame = frame.f_back
    return frame is not None


@contextmanager
def failing(step: int, within: str) -> Iterator[list[str]]:
    """
    Raise an error where poolscope calls its function number `step`.

    Only functions count that are called, by whatever way, by one named `within`. Yields the name of
    the function that has failed, once it has.
    """
    calls = 0
    failed: list[str] = []

    def trace(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        code = frame.f_code
        # A generator is also resumed to be closed, where an error has nobody to go to.
        if failed or not code.co_filename.startswith(PACKAGE) or code.co_flags & CO_GENERATOR:
            return
        if not is_within(frame, within):
            return
        calls += 1
        if calls == step:
            failed.append(code.co_qualname)
            raise OursError

    before = sys.gettrace()
    # A collection may come at any step, and an error in what it calls has nobody to go to.
    gc.disable()
    sys.settrace(trace)
    try:
        yield failed
    finally:
        sys.settrace(before)
        gc.enable()


def files(folder: Path) -> list[str]:
    """Return the files of pools. That of the process stays, as the process lives on."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".process")


def groups(watches: Watches) -> list[tuple[Any, ...]]:
    return [
        (*key, group.created, group.shown, len(group.members))
        for key, group in watches._unregistered._groups.items()
    ]


def shape_of(pool: PoolUnderTest) -> object:
    """Return the class and the attributes of what is watched; asyncpg's pools have only slots."""
    target: Any = pool.target
    target = getattr(target, "sync_engine", target)
    target = getattr(target, "pool", None) or getattr(target, "connector", None) or target
    return type(target), set(getattr(target, "__dict__", ()))


async def use_once(pool: PoolUnderTest) -> None:
    connection = await pool.acquire()
    await pool.release(connection)


async def used(watch: Watch, pool: PoolUnderTest) -> int:
    """Use the pool once; return how many acquires the watch has seen of it."""
    before = watch.snapshot().acquired
    await use_once(pool)
    return watch.snapshot().acquired - before


async def test_whichever_step_fails_nothing_is_left(
    clock: FakeClock,
    pool: PoolUnderTest,
    tmp_path: Path,
    errors: ErrorLog,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    await use_once(pool)
    shape = shape_of(pool)
    for step in range(1, MOST_STEPS):
        watches = Watches(clock, Folder(tmp_path / str(step)))
        watches.watch(pool.target, "orders", registry=None).unwatch()
        before, counted = (files(tmp_path / str(step)), groups(watches)), errors.count
        with failing(step, within="_begin") as failed:
            watch = watches.watch(pool.target, "orders", registry=None)
        if not failed:
            break
        if errors.count == counted or watches.snapshots():
            watch.unwatch()  # the step did without what failed, such as a line of code
            continue
        assert before == (files(tmp_path / str(step)), groups(watches)), failed
        assert shape == shape_of(pool), failed
        assert ("orders", pool.kind, 0, [], []) == (
            watch.name, watch.kind, watch.snapshot().instances, watch.holders(), watch.findings(),
        )  # fmt: skip
        again = watches.watch(pool.target, "orders", registry=None)
        assert again is not watch, failed
        assert 1 == await used(again, pool), failed
        again.unwatch()
    assert 5 < step < MOST_STEPS - 1


def fail_after_hooking(
    monkeypatch: pytest.MonkeyPatch, pool: PoolUnderTest, error: type[BaseException]
) -> None:
    """Let the next watch of the pool fail once all hooks are in."""
    adapter = importlib.import_module(f"poolscope.adapters.{pool.kind}")
    hook = adapter.hook

    def hook_and_fail(target: Any, watched: Any) -> Any:
        hooks = hook(target, watched)
        monkeypatch.setattr(adapter, "hook", hook)
        return HalfHooks(hooks, error)

    monkeypatch.setattr(adapter, "hook", hook_and_fail)


class HalfHooks:
    """Hooks of which nothing can be asked, but which can be removed."""

    def __init__(self, hooks: Any, error: type[BaseException]) -> None:
        self.unhook = hooks.unhook
        self._error = error

    @property
    def config(self) -> Any:
        raise self._error


@pytest.mark.parametrize("error", [OursError, TypeError, ValueError, RuntimeError])
async def test_an_error_of_ours_is_counted_and_the_application_goes_on(
    clock: FakeClock,
    pool: PoolUnderTest,
    folder: Path,
    error: type[Exception],
    errors: ErrorLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await use_once(pool)
    shape, registry = shape_of(pool), CollectorRegistry()
    watches = Watches(clock, Folder(folder))
    fail_after_hooking(monkeypatch, pool, error)
    with watches.watch(pool.target, registry=registry) as watch:
        assert shape == shape_of(pool)
        assert 1 == errors.count
        assert 0 == await used(watch, pool)
        assert ([], []) == (watches.snapshots(), watches.holders())
        assert [] == list(registry.collect())
        assert [] == files(folder)
    again = watches.watch(pool.target, registry=registry)
    assert 1 == await used(again, pool)
    assert 1 == registry.get_sample_value(
        "connpool_instances_created_total", {"pool": again.name, "kind": pool.kind}
    )


async def test_an_exception_that_is_not_ours_passes_through(
    watches: Watches, pool: PoolUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await use_once(pool)
    shape, counted = shape_of(pool), internal_errors.count
    fail_after_hooking(monkeypatch, pool, NotOursError)
    with pytest.raises(NotOursError):
        watches.watch(pool.target, registry=None)
    assert (shape, counted, []) == (shape_of(pool), internal_errors.count, groups(watches))
    assert 1 == await used(watches.watch(pool.target, registry=None), pool)
