"""The classes that asyncpg pools and their holders have while they are watched."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolscope.asyncpg import PoolHooks

# By id: a pool takes no weak reference. An entry goes when the pool is collected.
watched: dict[int, PoolHooks] = {}


class Unwatched:
    """Stands for the hooks of a pool that has none any more."""

    def clock(self) -> float:
        return 0.0

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _ignored


def _ignored(*args: object) -> None:
    """Do nothing with what happens to a pool that is not watched."""


_unwatched = Unwatched()


def hooks_of(pool: object) -> PoolHooks | Unwatched:
    return watched.get(id(pool), _unwatched)


_attempts = itertools.count()


class Holders(list[Any]):
    """The holders of a pool that is being opened: each is watched before it connects."""

    def __init__(self, hooks: PoolHooks) -> None:
        self._hooks = hooks

    def append(self, holder: Any) -> None:
        self._hooks.put_over_holder(holder)
        super().append(holder)


@functools.cache
def watched_pool_class(base: Any) -> Any:
    """Return a subclass of a pool's class that reports to the hooks of the pool, if it has any."""

    class Pool(base):  # type: ignore[misc]  # any subclass that the application has
        __slots__ = ()

        async def _acquire(self, timeout: float | None) -> Any:
            hooks = hooks_of(self)
            started = hooks.clock()
            hooks.asked(started, timeout)
            try:
                proxy = await super()._acquire(timeout)
            except BaseException as error:
                hooks.finished(error, started)
                raise
            hooks.finished(None, started)
            return proxy

        async def _async__init__(self) -> Any:
            try:
                return await super()._async__init__()
            finally:
                hooks_of(self).maybe_closed(self)

        async def _initialize(self) -> None:
            hooks_of(self).expect_holders(self)
            await super()._initialize()

        async def close(self) -> None:
            try:
                await super().close()
            finally:
                hooks_of(self).maybe_closed(self)

        def terminate(self) -> None:
            try:
                super().terminate()
            finally:
                hooks_of(self).maybe_closed(self)

        def __del__(self) -> None:
            hooks_of(self).collected()
            if hasattr(base, "__del__"):
                super().__del__()

    return _disguised(Pool, base)


@functools.cache
def watched_holder_class(base: Any) -> Any:
    """Return a subclass of a holder's class that reports to the hooks of its pool, if any."""

    class Holder(base):  # type: ignore[misc]  # as above
        __slots__ = ()

        async def acquire(self) -> Any:
            hooks = hooks_of(self._pool)
            hooks.acquiring(self)
            try:
                proxy = await super().acquire()
            except BaseException:
                hooks.not_acquired(self)
                raise
            hooks.acquired(self)
            return proxy

        async def connect(self) -> None:
            hooks = hooks_of(self._pool)
            attempt, started = next(_attempts), hooks.clock()
            hooks.connecting(self, attempt, started)
            try:
                await super().connect()
            except BaseException:
                hooks.not_connected(attempt, started)
                raise
            hooks.connected(self, attempt, started)

        async def release(self, timeout: float | None) -> None:
            # Nobody need have the proxy while this lasts: its caller may be cancelled.
            hooks = hooks_of(self._pool)
            hooks.releasing(self, True)
            try:
                await super().release(timeout)
            finally:
                hooks.releasing(self, False)

        async def close(self) -> None:
            try:
                await super().close()
            finally:
                hooks_of(self._pool).checked(self)

        def terminate(self) -> None:
            try:
                super().terminate()
            finally:
                hooks_of(self._pool).checked(self)

        def _release(self) -> None:
            # Before the pool has it: a caller may be waiting for it.
            if self._in_use is not None:
                hooks_of(self._pool).released(self)
            super()._release()

        def _release_on_close(self) -> None:
            hooks_of(self._pool).lost(self)
            super()._release_on_close()

    return _disguised(Holder, base)


def _disguised(cls: Any, base: Any) -> Any:
    """Give a subclass the names of its base, so that logs and `repr` read as before."""
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(cls, name, getattr(base, name))
    return cls
