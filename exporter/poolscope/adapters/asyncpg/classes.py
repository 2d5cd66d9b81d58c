"""The classes that asyncpg pools and their holders have while they are watched."""

from __future__ import annotations

import functools
import itertools
from typing import Any

from poolscope.adapters.asyncpg.attempts import pending_attempts
from poolscope.adapters.asyncpg.recording import PoolRecording, find_hooks


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
    def not_connected(self, attempt: int, started: float) -> None: ...
    def check_closed(self, holder: Any) -> None: ...
    def lost(self, holder: Any) -> None: ...
    def maybe_closed(self, pool: Any) -> None: ...
    def collected(self) -> None: ...


_null_hooks = NullHooks()


def hooks_of(pool: object) -> PoolRecording | NullHooks:
    """Return the hooks of a pool; a type checker sees that a method is one of both classes."""
    return find_hooks(id(pool), _null_hooks)


_attempts = itertools.count()


class HolderList(list[Any]):
    """The holders of a pool that is being opened; each is watched before it connects."""

    def __init__(self, hooks: PoolRecording) -> None:
        self._hooks = hooks

    def append(self, holder: Any) -> None:
        self._hooks.watch_holder(holder)
        super().append(holder)


@functools.cache
def watched_pool_class(base: Any) -> Any:
    """Return a subclass of a pool's class that calls the hooks of the pool, if it has any."""

    acquire: Any = base._acquire

    class Pool(base):  # type: ignore[misc]  # may be a subclass of the application
        __slots__ = ()

        def _acquire(self, timeout: float | None) -> Any:
            hooks = find_hooks(id(self))
            if hooks is None:
                return acquire(self, timeout)
            return hooks.acquire(self, timeout, acquire)

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
    """Return a subclass of a holder's class that calls the hooks of its pool, if it has any."""

    acquire, release = base.acquire, base._release

    class Holder(base):  # type: ignore[misc]  # as above
        __slots__ = ()

        def acquire(self) -> Any:
            # Most attempts were already recorded by the pool's fast path.
            hooks = find_hooks(id(self._pool)) if pending_attempts else None
            return acquire(self) if hooks is None else hooks.serve(self, acquire)

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

        async def close(self) -> None:
            try:
                await super().close()
            finally:
                hooks_of(self._pool).check_closed(self)

        def terminate(self) -> None:
            try:
                super().terminate()
            finally:
                hooks_of(self._pool).check_closed(self)

        def _release(self) -> None:
            # Recorded before the pool has it back, because a waiting caller may take it at once.
            if self._in_use is not None:
                hooks = find_hooks(id(self._pool))
                if hooks is not None:
                    hooks.released(self)
            release(self)

        def _release_on_close(self) -> None:
            hooks_of(self._pool).lost(self)
            super()._release_on_close()

    return _disguised(Holder, base)


def _disguised(cls: Any, base: Any) -> Any:
    """Give a subclass the names of its base, so that logs and `repr` stay as they were."""
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(cls, name, getattr(base, name))
    return cls
