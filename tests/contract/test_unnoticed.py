"""What an application sees of a watched pool that looks at it closely, or patches its class."""

from __future__ import annotations

import inspect
import weakref
from typing import Any
from unittest.mock import Mock

import pytest

import poolscope.adapters.aiohttp.hooks
import poolscope.adapters.asyncpg.hooks
import poolscope.adapters.sqlalchemy.hooks
from contract.pools import PoolUnderTest
from poolscope.errors import ErrorLog
from poolscope.watching.watches import Watches

METHODS = {"sqlalchemy": "connect", "asyncpg": "_acquire", "aiohttp": "connect"}
"""By kind: the method in which an attempt begins."""


def pool_object(pool: PoolUnderTest) -> Any:
    """Return the library's own pool."""
    return pool.session.connector if hasattr(pool, "session") else getattr(pool, "pool", None)


def look(target: Any) -> dict[str, Any]:
    """Return what a program can find out about an object, but for `type`."""
    cls = target.__class__
    seen: dict[str, Any] = {
        "class": cls,
        "repr": repr(target),
        "attributes": {name for name in dir(target) if "poolscope" not in name},
    }
    for name in dir(cls):
        method = getattr(target, name) if not name.startswith("__") else None
        if inspect.ismethod(method):
            seen[name] = (
                method.__name__,
                method.__qualname__,
                method.__module__,
                method.__doc__,
                method.__self__ is target,
                name.startswith("_") or inspect.iscoroutinefunction(method),
                inspect.signature(method),
            )
    return seen


def test_a_watched_pool_looks_like_an_unwatched_one(pool: PoolUnderTest, watches: Watches) -> None:
    target = pool_object(pool)
    before, cls = look(target), type(target)
    watch = watches.watch(pool.target, registry=None)
    assert type(target) is not cls
    assert before == look(target)
    watch.unwatch()
    assert type(target) is cls
    assert before == look(target)
    assert not [name for name in dir(target) if "poolscope" in name]


def test_a_method_has_the_life_of_its_pool(pool: PoolUnderTest, watches: Watches) -> None:
    watches.watch(pool.target, registry=None)
    method = getattr(pool_object(pool), METHODS[pool.kind])
    if pool.kind == "asyncpg":  # its pools take no weak reference
        with pytest.raises(TypeError):
            weakref.WeakMethod(method)
    else:
        assert weakref.WeakMethod(method)() == method


async def test_a_method_that_is_kept_works_after_the_watch(
    pool: PoolUnderTest, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watches.watch(pool.target, registry=None)
    target, name = pool_object(pool), METHODS[pool.kind]
    kept = getattr(target, name)
    watch.unwatch()
    # As in an application that has wrapped the pool while it was watched.
    patched = type(
        "Patched",
        (type(target),),
        {"__slots__": (), name: lambda _, *args, **named: kept(*args, **named)},
    )
    target.__class__ = patched
    await pool.release(await pool.acquire())
    assert 0 == watch.snapshot().acquired


async def test_a_function_that_is_put_into_the_class_after_the_watch_is_called(
    pool: PoolUnderTest, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watches.watch(pool.target, registry=None)
    target, name = pool_object(pool), METHODS[pool.kind]
    original, called = getattr(target.__class__, name), []

    def patch(self: Any, *args: Any, **kwargs: Any) -> Any:
        called.append(self is target)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(target.__class__, name, patch)
    await pool.release(await pool.acquire())
    assert ([True], 1) == (called, watch.snapshot().acquired)
    monkeypatch.undo()
    await pool.release(await pool.acquire())
    assert ([True], 2) == (called, watch.snapshot().acquired)


async def test_a_mock_that_is_put_into_the_class_after_the_watch_is_called(
    pool: PoolUnderTest, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, name = pool_object(pool), METHODS[pool.kind]
    calls = []
    for watched in (False, True):
        if watched:
            watch = watches.watch(pool.target, registry=None)
        mock = Mock(side_effect=ZeroDivisionError)
        monkeypatch.setattr(target.__class__, name, mock)
        with pytest.raises(ZeroDivisionError):
            await pool.acquire()
        calls.append([(len(call.args), sorted(call.kwargs)) for call in mock.call_args_list])
        monkeypatch.undo()
    assert calls[0] == calls[1]
    assert 1 == watch.snapshot().failed


HOOKS: dict[str, Any] = {
    "sqlalchemy": poolscope.adapters.sqlalchemy.hooks,
    "asyncpg": poolscope.adapters.asyncpg.hooks,
    "aiohttp": poolscope.adapters.aiohttp.hooks,
}
STEPS: dict[str, tuple[str, ...]] = {
    "sqlalchemy": ("watch_object", "existing_records", "namer_of", "PoolHooks._adopt"),
    "asyncpg": ("watch_object", "PoolHooks._adopt"),
    "aiohttp": ("watch_object", "existing", "ConnectorHooks._keep"),
}
"""By kind: the steps of a watch in which it may fail."""


def fail(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError


async def test_a_watch_that_fails_leaves_the_pool_as_it_was(
    pool: PoolUnderTest, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolscope.errors.internal_errors", ErrorLog())
    await pool.release(await pool.acquire())
    target = pool_object(pool)
    before, cls = look(target), type(target)
    for step in STEPS[pool.kind]:
        *where, name = step.split(".")
        owner = getattr(HOOKS[pool.kind], where[0]) if where else HOOKS[pool.kind]
        with monkeypatch.context() as patches:
            patches.setattr(owner, name, fail)
            assert 0 == watches.watch(pool.target, registry=None).snapshot().instances
        assert type(target) is cls
        assert before == look(target)
        assert not [name for name in dir(target) if "poolscope" in name]
    assert [] == watches.snapshots()
    watch = watches.watch(pool.target, registry=None)
    await pool.release(await pool.acquire())
    assert (1, pool.state().idle) == (watch.snapshot().acquired, watch.snapshot().idle)
