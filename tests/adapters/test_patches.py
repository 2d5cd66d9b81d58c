"""A method that a watch has replaced is restored, unless another has replaced it since."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import pytest

from poolscope.adapters.patches import is_patched_by, replace_method, restore_method, wrap_method
from poolscope.watching.watches import Watches


def test_a_wrapper_of_somebody_else_stays(watches: Watches, sqlite: Any) -> None:
    engine = sqlite()
    calls = []

    def wrap_method(pool: Any) -> Callable[[], Any]:
        original = pool.connect

        def connect() -> Any:
            calls.append(pool)
            return original()

        pool.connect = connect
        return connect

    inner = wrap_method(engine.pool)
    watch = watches.watch(engine, registry=None)
    outer = wrap_method(engine.pool)
    watch.unwatch()
    assert engine.pool.connect is outer
    engine.connect().close()
    assert 2 == len(calls)
    assert inner is not outer


@pytest.mark.parametrize("bound", [True, False])
def test_a_wrapper_from_before_the_watch_is_restored(
    watches: Watches, bound: bool, sqlite: Any
) -> None:
    engine = sqlite()
    pool: Any = engine.pool
    own: Any = types.MethodType(lambda pool: type(pool).connect(pool), pool)
    pool.connect = own = own if bound else functools.partial(own)
    watch = watches.watch(engine, registry=None)
    assert pool.connect is not own
    engine.connect().close()
    watch.unwatch()
    assert own is vars(pool)["connect"]
    assert 1 == watch.snapshot().acquired


class Pool:
    def connect(self) -> str:
        return "connected"


class Proxy:
    """Stands for the method that it wraps in everything, also in its class, as wrapt's proxies."""

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped

    @property  # type: ignore[misc]  # an attribute of any object
    def __class__(self) -> Any:
        return type(self.wrapped)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def __call__(self, *args: Any) -> Any:
        return self.wrapped(*args)


def copy_of(method: Any) -> Any:
    @functools.wraps(method)
    def outer() -> Any:
        return method()

    return outer


class Owner:
    calls = 0

    def hook(self, pool: Any, *, wraps: bool) -> None:
        if wraps:
            wrap_method(pool, "connect", self.wrap, self)
        else:
            replace_method(pool, "connect", Owner.instead, self)

    def wrap(self, original: Any) -> Any:
        def connect(self: Owner) -> Any:
            self.calls += 1
            return original()

        return connect

    def instead(self, _: Pool, original: Any) -> Any:
        self.calls += 1
        return original()


@pytest.mark.parametrize("wraps", [True, False])
def test_a_replaced_method_is_restored_by_its_owner_only(wraps: bool) -> None:
    pool, owner = Pool(), Owner()
    owner.hook(pool, wraps=wraps)
    assert is_patched_by(pool, "connect", owner)
    restore_method(pool, "connect", Owner())
    assert ("connected", 1) == (pool.connect(), owner.calls)
    restore_method(pool, "connect", owner)
    assert ("connected", 1) == (pool.connect(), owner.calls)
    assert {} == vars(pool)


@pytest.mark.parametrize("wraps", [True, False])
@pytest.mark.parametrize("outer", [copy_of, Proxy])
def test_a_wrapper_that_looks_like_ours_is_not_removed(outer: Any, wraps: bool) -> None:
    pool: Any = Pool()
    owner = Owner()
    owner.hook(pool, wraps=wraps)
    pool.connect = theirs = outer(pool.connect)
    assert not is_patched_by(pool, "connect", owner)
    restore_method(pool, "connect", owner)
    assert theirs is pool.connect
    assert ("connected", 1) == (pool.connect(), owner.calls)


@pytest.mark.parametrize("wraps", [True, False])
def test_two_owners_that_end_in_turn_leave_the_method_as_it_was(wraps: bool) -> None:
    pool = Pool()
    first, second = Owner(), Owner()
    for owner in (first, second):
        owner.hook(pool, wraps=wraps)
    assert ("connected", 1, 1) == (pool.connect(), first.calls, second.calls)
    for owner in (second, first):
        restore_method(pool, "connect", owner)
    assert {} == vars(pool)
