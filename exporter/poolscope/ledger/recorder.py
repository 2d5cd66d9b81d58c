"""
Applying events one at a time, without ever blocking the one that brings an event.

Pools are used from many threads, and the garbage collector may run a finaliser that returns a
connection at any allocation, also while this very code is on the stack. Whoever finds the
recorder taken leaves the event in a queue, and whoever has taken it applies what is in the queue
before and after.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

from poolscope.errors import internal_errors

if TYPE_CHECKING:
    from poolscope.ledger.cells import Cells

P = ParamSpec("P")
R = TypeVar("R", bound="Recorder")

READER_TIMEOUT: Final = 0.1
"""
Seconds that a reader waits for recorders. Only a reader that interrupted one on the same
thread (a signal handler, a finaliser) ever waits that long; it then reads without the lock.
"""


class DormantLock:
    """
    Stands in the place of a recorder's lock until somebody takes it for the first time.

    wake: makes the recorder ready, unless it is, and returns its lock.
    """

    def __init__(self, wake: Callable[[], threading.Lock]) -> None:
        self._wake = wake
        self._waking = threading.Lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        # Another thread wakes it, or this one does and was interrupted by a finaliser.
        if not self._waking.acquire(False):
            return False
        try:
            lock = self._wake()
        finally:
            self._waking.release()
        return lock.acquire(blocking, timeout)

    def release(self) -> None:
        """Nobody ever has it."""

    def locked(self) -> bool:
        return False


class Recorder:
    """
    Has a lock that is only tried by those who bring events, and a queue of pending events.

    changing: where other processes see that an event is applied: one cell, odd meanwhile; None
        if there are none.
    """

    __slots__ = ("_lock", "_pending", "changing")

    def __init__(self) -> None:
        self.changing: Cells | None = None
        self._pending: Final[list[Callable[[], None]]] = []
        self.reset()

    def reset(self) -> None:
        """Start anew, as in the child of a fork, where the lock may be held for ever."""
        self._lock: threading.Lock | DormantLock = threading.Lock()
        self._pending.clear()

    @property
    def pending(self) -> Collection[object]:
        """What is not applied yet."""
        return self._pending

    @property
    def dormant(self) -> bool:
        """Whether nothing was recorded yet in this process, the child of a fork."""
        return isinstance(self._lock, DormantLock)

    @contextmanager
    def reading_lock(self) -> Iterator[None]:
        """Have the lock while reading, with all events applied; see READER_PATIENCE."""
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

    def flush(self) -> None:
        """Bring everything up to date, before it is read; the caller has the lock."""

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
            # Odd, also where what began before did not end.
            changing[0] = changing[0] // 2 * 2 + 1
        return changing

    def _changed(self, changing: Cells | None) -> None:
        if changing is not None:
            changing[0] += 1

    def _drain(self) -> None:
        """Apply what is pending, unless someone else has the lock, who will."""
        while self._pending and self._lock.acquire(False):
            try:
                self._apply_pending()
            finally:
                self._lock.release()


def recorded(
    apply: Callable[Concatenate[R, P], None],
) -> Callable[Concatenate[R, P], None]:
    """Decorate an event: apply it now if the ledger is free, else leave it to who has it."""

    def record(self: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
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
        # Also after an own event: one may have been left while the lock was ours.
        if self._pending:
            self._drain()

    functools.update_wrapper(record, apply)
    return record


def recorded_if_awake(
    apply: Callable[Concatenate[R, P], None],
) -> Callable[Concatenate[R, P], None]:
    """Decorate an event that changes nothing where nothing has happened: it wakes nobody."""
    record = recorded(apply)

    def note(self: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if not self.dormant:
            record(self, *args, **kwargs)

    functools.update_wrapper(note, apply)
    return note
