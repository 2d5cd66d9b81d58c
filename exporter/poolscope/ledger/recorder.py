"""
Applies events one at a time, and never blocks the thread that records one.

Pools are used from many threads, and the garbage collector may run a finalizer that returns a
connection at any allocation, even while this very code is on the stack. So recording only tries
the lock: if it is held, the event goes into a queue, which the thread that holds the lock applies
before and after its own event.
"""

from __future__ import annotations

import functools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

from poolscope.errors import internal_errors
from poolscope.forks import forks

if TYPE_CHECKING:
    from poolscope.ledger.cells import Cells

P = ParamSpec("P")
R = TypeVar("R", bound="Recorder")

READER_TIMEOUT: Final = 0.1
"""
Seconds that a reader waits for the lock. Only a reader that has interrupted the holder of the lock
on the same thread (a signal handler, a finalizer) waits that long; it then reads without the lock.
"""


class DormantLock:
    """
    Replaces the lock of a recorder in a forked child, until the first event is recorded there.

    wake: starts the recorder, if that has not been done, and returns its lock.
    """

    def __init__(self, wake: Callable[[], threading.Lock]) -> None:
        self._wake = wake
        self._waking = threading.Lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        # If not: another thread is waking it, or this one is and was interrupted by a finalizer.
        if not self._waking.acquire(False):
            return False
        try:
            lock = self._wake()
        finally:
            self._waking.release()
        return lock.acquire(blocking, timeout)

    def release(self) -> None:
        """Do nothing: this lock is never held."""

    def locked(self) -> bool:
        return False


class Recorder(ABC):
    """
    A lock that recording only tries, never waits for, and a queue of pending events.

    changing: the one cell that tells other processes that an event is being applied, by being
        odd; None if no other process reads.
    mark: `mark[0]` is 0 in a forked child until all that is of its parent was reset; see `forks`.
    """

    __slots__ = ("_lock", "_pending", "changing", "mark")

    def __init__(self) -> None:
        self.mark: Final = forks().mark
        self.changing: Cells | None = None
        self._pending: Final[list[Callable[[], None]]] = []
        self.reset()

    def reset(self) -> None:
        """Make a new lock and an empty queue; in a forked child the old lock may never be freed."""
        self._lock: threading.Lock | DormantLock = threading.Lock()
        self._pending.clear()

    @property
    def pending(self) -> Collection[object]:
        """The events that have not been applied yet."""
        return self._pending

    @property
    def dormant(self) -> bool:
        """Whether this process is a forked child that has not recorded anything."""
        return isinstance(self._lock, DormantLock)

    def follow_fork(self) -> bool:
        """In a forked child, reset all that is of its parent; return whether that is done."""
        forks().follow()
        return bool(self.mark[0])

    @contextmanager
    def reading_lock(self) -> Iterator[None]:
        """Apply all events, and hold the lock while reading; see `READER_TIMEOUT`."""
        if self.dormant:
            yield
            return
        locked = self._lock.acquire(timeout=READER_TIMEOUT)
        try:
            if locked:
                self._apply_pending()
                self.flush()
            yield
        finally:
            if locked:
                self._lock.release()
        if self._pending:
            self._drain()

    @abstractmethod
    def flush(self) -> None:
        """Bring all numbers up to date before they are read. The caller holds the lock."""

    def _apply_pending(self) -> None:
        while self._pending:
            changing = self._change()
            try:
                self._pending.pop(0)()
            except Exception:
                internal_errors.report("Ledger.pending")
            finally:
                self._changed(changing)

    def _change(self) -> Cells | None:
        changing = self.changing
        if changing is not None:
            # Odd, even if an earlier change was interrupted and never ended.
            changing[0] = changing[0] // 2 * 2 + 1
        return changing

    def _changed(self, changing: Cells | None) -> None:
        if changing is not None:
            changing[0] += 1

    def _drain(self) -> None:
        """Apply the pending events, unless another thread holds the lock: then that one will."""
        while self._pending and self._lock.acquire(False):
            try:
                self._apply_pending()
            finally:
                self._lock.release()


def recorded(
    apply: Callable[Concatenate[R, P], None],
) -> Callable[Concatenate[R, P], None]:
    """Decorate an event: apply it now if the lock is free, or queue it for the lock's holder."""

    def record(self: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if not self.mark[0] and not self.follow_fork():
            return
        if self._lock.acquire(False):
            try:
                if self._pending:
                    self._apply_pending()
                if self.changing is None:
                    apply(self, *args, **kwargs)
                else:
                    changing = self._change()
                    try:
                        apply(self, *args, **kwargs)
                    finally:
                        self._changed(changing)
            finally:
                self._lock.release()
        else:
            self._pending.append(functools.partial(apply, self, *args, **kwargs))
        # After an event of our own too: another may have been queued while we held the lock.
        if self._pending:
            self._drain()

    functools.update_wrapper(record, apply)
    return record


def recorded_if_awake(
    apply: Callable[Concatenate[R, P], None],
) -> Callable[Concatenate[R, P], None]:
    """Decorate an event like `recorded`, but ignore it while the recorder is dormant."""
    record = recorded(apply)

    def record_if_awake(self: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if (self.mark[0] or self.follow_fork()) and not self.dormant:
            record(self, *args, **kwargs)

    functools.update_wrapper(record_if_awake, apply)
    return record_if_awake
