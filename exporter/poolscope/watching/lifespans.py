"""`poolscope.lifespan`: pools that are watched from the start of a block, and closed at its end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, NamedTuple

from poolscope.errors import logger
from poolscope.watching.adapter import Adapter, adapter_for
from poolscope.watching.proxies import behind_proxies
from poolscope.watching.watch import Watch
from poolscope.watching.watchable import Watchable
from poolscope.watching.watches import Watches

CANCELLED: Final = 0.0
"""The time limit once somebody wants the end at once: connections that are out are cut off."""


class OpenPool(NamedTuple):
    """A pool that is to be closed."""

    target: Any
    adapter: Adapter
    watch: Watch


class Errors:
    """
    What was raised while pools were closed.

    One that is no `Exception`, such as a cancellation, is raised before all others.
    """

    def __init__(self) -> None:
        self._failed: list[tuple[str, Exception]] = []
        self._ends: BaseException | None = None

    def add(self, pool: OpenPool, error: BaseException) -> None:
        if not isinstance(error, Exception):
            self._ends = self._ends or error
            return
        name = f"pool {pool.watch.name!r} ({pool.watch.kind})"
        self._failed.append((name, error))
        logger().error("%s: closing it has failed", name, exc_info=error)

    def raise_first(self, of_block: BaseException | None) -> None:
        """
        Raise the first one; the others become notes of it.

        of_block: what is raised already, which then has all of them as notes.
        """
        failed = self._failed
        raised = of_block
        if of_block is None and self._ends is None and failed:
            raised, failed = failed[0][1], failed[1:]
        raised = self._ends or raised
        if raised is None:
            return
        for name, error in failed:
            raised.add_note(f"{name}: closing it has failed: {type(error).__name__}: {error}")
        if raised is not of_block:
            raise raised


class Lifespan:
    """
    Watches pools from the start of a block, and closes them at its end, the last one first.

    A context manager, sync and async; `poolscope.lifespan` says more.
    """

    def __init__(
        self,
        watches: Watches,
        pools: Sequence[Watchable],
        named: Mapping[str, Watchable],
        timeout: float | None,
    ) -> None:
        _check_timeout(timeout)
        self._watches = watches
        self._timeout = timeout
        targets = [*((None, target) for target in pools), *named.items()]
        self._targets = [(name, behind_proxies(target)) for name, target in targets]
        self._adapters = [adapter_for(target) for _, target in self._targets]
        self._open: list[OpenPool] = []
        self._in_block = False

    def __enter__(self) -> tuple[Watch, ...]:
        for (name, target), adapter in zip(self._targets, self._adapters, strict=True):
            if adapter.needs_loop(target):
                what = "" if name is None else f" {name!r}"
                raise TypeError(
                    f"the {adapter.KIND} pool{what} is closed in an event loop; write `async with "
                    "poolscope.lifespan(...)`"
                )
        return self._begin()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        errors = Errors()
        for pool in self._ended():
            with _one_by_one(pool):
                try:
                    pool.adapter.close(pool.target)
                except Exception as error:
                    errors.add(pool, error)
                except BaseException as error:
                    errors.add(pool, error)
                    _close_again(pool, errors)
        errors.raise_first(exc)

    async def __aenter__(self) -> tuple[Watch, ...]:
        return self._begin()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        errors, timeout = Errors(), self._timeout
        for pool in self._ended():
            with _one_by_one(pool):
                try:
                    await pool.adapter.close_in_loop(pool.target, timeout)
                except Exception as error:
                    errors.add(pool, error)
                except BaseException as error:
                    errors.add(pool, error)
                    timeout = CANCELLED
                    await _close_the_rest(pool, errors)
        errors.raise_first(exc)

    def _begin(self) -> tuple[Watch, ...]:
        """Watch all pools, or none of them."""
        if self._in_block:
            raise RuntimeError("the block of this lifespan() has begun already; make another one")
        for name, target in self._targets:
            self._watches.check(target, name)
        begun: list[Watch] = []
        try:
            for (name, target), adapter in zip(self._targets, self._adapters, strict=True):
                is_new = adapter.find(target) is None
                watch = self._watches.watch(target, name)
                if is_new:
                    begun.append(watch)
                self._open.append(OpenPool(target, adapter, watch))
        except BaseException:
            self._open.clear()
            for watch in begun:
                watch.unwatch()
            raise
        self._in_block = True
        return tuple(pool.watch for pool in self._open)

    def _ended(self) -> list[OpenPool]:
        """The block ends: return the pools to close, in this order."""
        pools, self._open, self._in_block = self._open, [], False
        return pools[::-1]


@contextmanager
def _one_by_one(pool: OpenPool) -> Iterator[None]:
    """Have the log name each connection that is still out when the pool is closed."""
    watched = pool.adapter.find(pool.target)
    if watched is None:  # the application has unwatched it
        yield
        return
    watched.closes_in_order = True
    try:
        yield
    finally:
        watched.closes_in_order = False


def _close_again(pool: OpenPool, errors: Errors) -> None:
    """Close what is left of a pool whose closing was interrupted."""
    try:
        pool.adapter.close(pool.target)
    except BaseException as error:
        errors.add(pool, error)


async def _close_the_rest(pool: OpenPool, errors: Errors) -> None:
    """Close what is left of a pool whose closing was cancelled."""
    try:
        await pool.adapter.close_in_loop(pool.target, CANCELLED)
    except BaseException as error:
        errors.add(pool, error)


def _check_timeout(timeout: object) -> None:
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be seconds or None, not {type(timeout).__name__}")
    if not 0 <= timeout < math.inf:
        raise ValueError(f"timeout must be at least 0 s, not {timeout}; None waits without a limit")
