"""The class of a watched object, and what the application does with the object's attributes."""

from __future__ import annotations

import copy
import gc
import pickle
import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import MagicMock, patch

import pytest

from poolscope.adapters.classes import HOOKS, bound, stock_of, unwatch_object, watch_object
from poolscope.watching.watches import Watches


class Pool:
    """A pool of the application."""

    size = 1

    def connect(self) -> str:
        """Connect."""
        return "connected"

    def unlike(self) -> type:
        return type(self)


class SlottedPool(Pool):
    __slots__ = ("extra",)


class Hooks:
    calls = 0


def counted(base: Any) -> Any:
    stock = stock_of(base, "connect")

    def connect(self: Any, *args: Any, **named: Any) -> Any:
        hooks = vars(self).get(HOOKS)
        if hooks is not None:
            hooks.calls += 1
        if base.connect is stock:
            return stock(self, *args, **named)
        return bound(base, "connect", self)(*args, **named)

    return connect


def shown_size(base: Any) -> Any:
    return property(lambda self: -1)


METHODS = {"connect": counted}


def watched(pool: Any, methods: Mapping[str, Any] = METHODS) -> Hooks:
    hooks = Hooks()
    setattr(pool, HOOKS, hooks)
    watch_object(pool, methods)
    return hooks


@pytest.mark.parametrize("cls", [Pool, SlottedPool])
def test_the_method_of_one_object_calls_the_hooks(cls: type[Pool]) -> None:
    pool, other = cls(), cls()
    hooks = watched(pool)
    assert ("connected", "connected", 1) == (pool.connect(), other.connect(), hooks.calls)
    assert (cls, cls.__name__, cls.__doc__) == (pool.__class__, type(pool).__name__, pool.__doc__)
    unwatch_object(pool)
    assert ("connected", 1) == (pool.connect(), hooks.calls)
    assert (cls, {}) == (type(pool), vars(pool))


def test_objects_of_a_class_share_a_subclass_that_is_freed_with_them(collect: None) -> None:
    cls = type("Short", (Pool,), {})
    pool, other = cls(), cls()
    watched(pool)
    watched(other)
    assert type(pool) is type(other)
    reference = weakref.ref(cls)
    del cls, pool, other
    gc.collect()
    gc.collect()
    assert reference() is None


def test_an_object_can_be_watched_with_other_methods() -> None:
    pool = Pool()
    hooks = watched(pool, {})
    assert ("connected", 0) == (pool.connect(), hooks.calls)
    watch_object(pool, METHODS, {"size": shown_size})
    assert ("connected", 1, -1) == (pool.connect(), hooks.calls, pool.size)
    assert Pool is type(pool).__base__
    unwatch_object(pool)
    assert (Pool, 1) == (type(pool), pool.size)


def test_an_object_that_is_not_watched_is_left_alone() -> None:
    pool = Pool()
    unwatch_object(pool)
    assert (Pool, {}) == (type(pool), vars(pool))


def test_the_application_can_change_the_class() -> None:
    class Other(Pool):
        def connect(self) -> str:
            return f"other {super().connect()}"

    pool = Pool()
    hooks = watched(pool)
    pool.__class__ = Other
    assert ("other connected", 0) == (pool.connect(), hooks.calls)
    unwatch_object(pool)
    assert (Other, {}) == (type(pool), vars(pool))


def test_an_object_of_the_subclass_that_nobody_watches_works() -> None:
    pool = Pool()
    watched(pool)
    assert "connected" == pool.unlike()().connect()


@pytest.mark.parametrize("cls", [Pool, SlottedPool])
@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        *(
            lambda pool, protocol=protocol: pickle.loads(pickle.dumps(pool, protocol))  # noqa: S301  # made here
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
)
def test_a_copy_is_not_watched(cls: type[Pool], copied: Callable[[Any], Any]) -> None:
    pool: Any = cls()
    pool.extra = [1]
    hooks = watched(pool)
    other = copied(pool)
    assert (cls, [1], "connected", 0) == (type(other), other.extra, other.connect(), hooks.calls)
    assert not hasattr(other, HOOKS)


@pytest.mark.parametrize(
    ("patched", "result"),
    [
        (lambda pool: "function", "function"),
        (MagicMock(return_value="mock"), "mock"),
        (staticmethod(lambda: "static"), "static"),
        (classmethod(lambda cls: cls.__name__), "Child"),
        (property(lambda pool: lambda: "property"), "property"),
    ],
)
@pytest.mark.parametrize("early", [True, False])
def test_what_is_put_into_the_class_is_called_as_without_a_watch(
    patched: Any, result: str, early: bool
) -> None:
    Child: Any = type("Child", (Pool,), {})  # noqa: N806  # a class
    pool = Child()
    if early:
        Child.connect = patched
    hooks = watched(pool)
    Child.connect = patched
    assert (result, 1) == (pool.connect(), hooks.calls)
    del Child.connect
    assert ("connected", 2) == (pool.connect(), hooks.calls)


def test_an_attribute_from_before_the_watch_is_counted_and_restored() -> None:
    pool: Any = Pool()
    pool.connect = mine = MagicMock(return_value="mine")
    hooks = watched(pool)
    assert ("mine", 1) == (pool.connect(1, word=2), hooks.calls)
    pool.connect.assert_called_once_with(1, word=2)
    pool.connect.return_value = "other"
    assert ("other", 2, mine.__class__) == (pool.connect(), hooks.calls, pool.connect.__class__)
    assert mine is copy.copy(pool).connect
    kept = pool.connect
    unwatch_object(pool)
    assert (mine, "other", 2) == (pool.connect, kept(), hooks.calls)
    del pool
    assert "other" == kept()


def test_an_attribute_that_calls_the_class_is_counted_once() -> None:
    pool: Any = Pool()
    pool.connect = types.MethodType(lambda self: type(self).connect(self), pool)
    hooks = watched(pool)
    watch_object(pool, METHODS)
    assert ("connected", 1) == (pool.connect(), hooks.calls)


def test_an_attribute_from_during_the_watch_stays() -> None:
    pool: Any = Pool()
    hooks = watched(pool)
    inner = pool.connect
    pool.connect = mine = lambda: f"my {inner()}"
    watch_object(pool, METHODS, {"size": shown_size})
    assert ("my connected", 1) == (pool.connect(), hooks.calls)
    unwatch_object(pool)
    assert (mine, "my connected", 1) == (pool.connect, pool.connect(), hooks.calls)


def test_a_patch_of_the_object_that_ends_after_the_watch() -> None:
    pool: Any = Pool()
    hooks = watched(pool)
    with patch.object(pool, "connect", return_value="patched"):
        assert "patched" == pool.connect()
        unwatch_object(pool)
        assert "patched" == pool.connect()
    assert ("connected", 0, {}) == (pool.connect(), hooks.calls, vars(pool))


def test_a_covered_attribute_makes_no_cycle(collect: None) -> None:
    gc.disable()
    try:
        pool: Any = Pool()
        pool.connect = MagicMock()
        watched(pool)
        reference = weakref.ref(pool)
        del pool
        assert reference() is None
    finally:
        gc.enable()


def test_a_class_without_the_method_has_none() -> None:
    with pytest.raises(AttributeError, match="connect"):
        bound(object, "connect", object())


def test_an_object_of_a_built_in_class_cannot_be_watched() -> None:
    with pytest.raises(TypeError):
        watch_object([], {})


def test_a_wrapper_of_the_application_counts_and_stays(watches: Watches, sqlite: Any) -> None:
    pool: Any = sqlite().pool
    calls = []

    def wrap() -> Callable[[], Any]:
        original = pool.connect

        def connect() -> Any:
            calls.append(pool)
            return original()

        pool.connect = connect
        return connect

    inner = wrap()
    watch = watches.watch(pool, registry=None)
    outer = wrap()
    pool.connect().close()
    assert (2, 1) == (len(calls), watch.snapshot().acquired)
    watch.unwatch()
    assert pool.connect is outer
    pool.connect().close()
    assert (4, 1) == (len(calls), watch.snapshot().acquired)
    assert inner is not outer
