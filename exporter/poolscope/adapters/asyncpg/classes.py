"""
The methods that asyncpg pools and their holders have while they are watched.

Neither has attributes of its own, so the hooks are found by the id of the pool.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from typing import Any, Final

from poolscope.adapters.asyncpg.attempts import pending_attempts
from poolscope.adapters.asyncpg.recording import PoolRecording, find_hooks, give_back
from poolscope.adapters.classes import bound, stock_of
from poolscope.watching.pool_log import CUT_OFF, WAITED_FOR, Fate


class NullHooks:
    """
    The hooks of a pool that is no longer watched: they ignore everything.

    Each method is one of `PoolRecording`.
    """

    def clock(self) -> float:
        return 0.0

    def expect_holders(self, pool: Any) -> None: ...
    def watch_holder(self, holder: Any) -> None: ...
    def connecting(self, holder: Any, attempt: int, now: float) -> None: ...
    def connected(self, holder: Any, attempt: int, started: float) -> None: ...
    def not_connected(self, holder: Any, attempt: int, started: float) -> None: ...
    def check_closed(self, holder: Any) -> None: ...
    def lost(self, holder: Any) -> None: ...
    def not_acquired(self, holder: Any) -> None: ...
    def closing(self, pool: Any, fate: Fate) -> None: ...
    def maybe_closed(self, pool: Any) -> None: ...
    def collected(self) -> None: ...


_null_hooks = NullHooks()


def hooks_of(pool: object) -> PoolRecording | NullHooks:
    """Return the hooks of a pool; a type checker sees that a method is one of both classes."""
    return find_hooks(id(pool), _null_hooks)


_attempts = itertools.count()


class HolderList(list[Any]):
    """
    The holders of a pool; each is watched before it connects.

    Unlike the pool it takes weak references, and so it is how the hooks find the pool.
    """

    def __init__(self, hooks: PoolRecording, holders: Iterable[Any] = ()) -> None:
        super().__init__(holders)
        self._hooks = hooks

    def append(self, holder: Any) -> None:
        self._hooks.watch_holder(holder)
        super().append(holder)


def _pool_acquire(base: Any) -> Any:
    stock = stock_of(base, "_acquire")

    def _acquire(self: Any, timeout: float | None) -> Any:
        acquire = stock if base._acquire is stock else functools.partial(_call, base, "_acquire")
        hooks = find_hooks(id(self))
        if hooks is None:
            return acquire(self, timeout)
        return hooks.acquire(self, timeout, acquire)

    return _acquire


def _async_init(base: Any) -> Any:
    async def _async__init__(self: Any) -> Any:
        try:
            return await bound(base, "_async__init__", self)()
        finally:
            try:
                hooks_of(self).maybe_closed(self)
            except BaseException:
                # It may have come before the hook; a second time changes nothing.
                hooks_of(self).maybe_closed(self)
                raise

    return _async__init__


def _initialize(base: Any) -> Any:
    async def _initialize(self: Any) -> None:
        hooks_of(self).expect_holders(self)
        await bound(base, "_initialize", self)()

    return _initialize


def _pool_close(base: Any) -> Any:
    async def close(self: Any) -> None:
        hooks_of(self).closing(self, WAITED_FOR)
        try:
            await bound(base, "close", self)()
        finally:
            try:
                hooks_of(self).maybe_closed(self)
            except BaseException:
                # It may have come before the hook; a second time changes nothing.
                hooks_of(self).maybe_closed(self)
                raise

    return close


def _pool_terminate(base: Any) -> Any:
    def terminate(self: Any) -> None:
        hooks_of(self).closing(self, CUT_OFF)
        try:
            bound(base, "terminate", self)()
        finally:
            try:
                hooks_of(self).maybe_closed(self)
            except BaseException:
                # It may have come before the hook; a second time changes nothing.
                hooks_of(self).maybe_closed(self)
                raise

    return terminate


def _pool_del(base: Any) -> Any:
    def __del__(self: Any) -> None:  # noqa: N807  # a method of the class that is made
        hooks_of(self).collected()
        if hasattr(base, "__del__"):
            base.__del__(self)

    return __del__


def _holder_acquire(base: Any) -> Any:
    stock = stock_of(base, "acquire")

    def acquire(self: Any) -> Any:
        try:
            original = stock if base.acquire is stock else functools.partial(_call, base, "acquire")
            # Most attempts were already recorded by the pool's fast path.
            hooks = find_hooks(id(self._pool)) if pending_attempts else None
            awaitable = original(self) if hooks is None else hooks.serve(self, original)
            return awaitable  # noqa: RET504  # an exception may come after the call
        except BaseException as error:
            hooks_of(self._pool).not_acquired(self)
            give_back(self, error)
            raise

    return acquire


def _holder_connect(base: Any) -> Any:
    async def connect(self: Any) -> None:
        hooks = hooks_of(self._pool)
        attempt, started = next(_attempts), hooks.clock()
        try:
            hooks.connecting(self, attempt, started)
            await bound(base, "connect", self)()
            hooks.connected(self, attempt, started)
        except BaseException:
            try:
                hooks.not_connected(self, attempt, started)
            except BaseException:
                # Another exception has come meanwhile; a second time changes nothing.
                hooks.not_connected(self, attempt, started)
                raise
            raise

    return connect


def _holder_close(base: Any) -> Any:
    async def close(self: Any) -> None:
        try:
            await bound(base, "close", self)()
        finally:
            try:
                hooks_of(self._pool).check_closed(self)
            except BaseException:
                # It may have come before the hook; a second time changes nothing.
                hooks_of(self._pool).check_closed(self)
                raise

    return close


def _holder_terminate(base: Any) -> Any:
    def terminate(self: Any) -> None:
        try:
            bound(base, "terminate", self)()
        finally:
            try:
                hooks_of(self._pool).check_closed(self)
            except BaseException:
                # It may have come before the hook; a second time changes nothing.
                hooks_of(self._pool).check_closed(self)
                raise

    return terminate


def _holder_release(base: Any) -> Any:
    def _release(self: Any) -> None:
        try:
            # Recorded before the pool has it back, because a waiting caller may take it at once.
            hooks = find_hooks(id(self._pool)) if self._in_use is not None else None
            if hooks is not None:
                hooks.released(self)
        except BaseException:
            try:
                # It may have come before the hook; a second time changes nothing.
                hooks = find_hooks(id(self._pool)) if self._in_use is not None else None
                if hooks is not None:
                    hooks.released(self)
            finally:
                # Whatever happens here, or the pool would lose the connection.
                base._release(self)
            raise
        base._release(self)

    return _release


def _holder_release_on_close(base: Any) -> Any:
    def _release_on_close(self: Any) -> None:
        try:
            hooks_of(self._pool).lost(self)
        except BaseException:
            try:
                # It may have come before the hook; a second time changes nothing.
                hooks_of(self._pool).lost(self)
            finally:
                base._release_on_close(self)
            raise
        base._release_on_close(self)

    return _release_on_close


POOL_METHODS: Final = {
    "_acquire": _pool_acquire,
    "_async__init__": _async_init,
    "_initialize": _initialize,
    "close": _pool_close,
    "terminate": _pool_terminate,
    "__del__": _pool_del,
}
HOLDER_METHODS: Final = {
    "acquire": _holder_acquire,
    "connect": _holder_connect,
    "close": _holder_close,
    "terminate": _holder_terminate,
    "_release": _holder_release,
    "_release_on_close": _holder_release_on_close,
}


async def _call(base: Any, name: str, target: Any, *args: Any) -> Any:
    """Call what was patched over a method; it may raise at once, which is followed as the rest."""
    return await bound(base, name, target)(*args)
