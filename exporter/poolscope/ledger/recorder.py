"""
Applies events one at a time, and never blocks the thread that records one for long.

Pools are used from many threads; the garbage collector may run a finalizer that returns a
connection at any allocation, even while this very code is on the stack; and a signal handler may
raise at any bytecode. So an event is first put into a queue, in one step, and then whoever gets the
lock applies the queue in order. Why this holds:

- No event is lost or counted twice. It leaves the queue in the same call of C code that makes its
  changes final (`changes`). If it is interrupted before that, whoever comes next takes back what it
  has changed, and applies it again.
- Nothing is wedged. The lock is the entry of a dictionary, and its value is an object of the
  caller. So it is taken inside of the `try` whose `except` gives it back: the entry itself tells
  whether it was taken. If a second exception interrupts that `except`, nobody refers to the
  owner's object any more, and the next one who waits removes it.
- The queue is bounded, and no caller is stuck. Who finds the lock taken leaves its event to the
  owner, and waits for room only if there are more than `MAX_PENDING`; never inside of the owner's
  own thread. An owner that makes no progress for `MAX_NAPS` naps (a debugger has stopped its
  thread) is waited for once. Beyond `MOST_PENDING` events, further ones are dropped, and counted as
  internal errors.
- A reader needs no lock: `copies` copies what is final in one call of C code.

Without the GIL a call of C code is not one step for other threads. There the lock alone protects a
reader, so a counter may fall for a moment if its owner does not run for `READER_NAPS` naps.
"""

from __future__ import annotations

import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import repeat
from threading import get_ident
from typing import Concatenate, Final, ParamSpec, TypeAlias, TypeVar

from poolscope.errors import count_error, report
from poolscope.ledger.changes import Action, Changes
from poolscope.ledger.references import COUNTS_ARE_EXACT, references
from poolscope.process.forks import forks

P = ParamSpec("P")
R = TypeVar("R", bound="Recorder")

Lock: TypeAlias = dict[str, tuple[float]]
"""
The entry `OWNER` is there while the lock is taken: a tuple that only its owner has, with the
identifier of the owner's thread where that can be interrupted for long.
"""

OWNER: Final = "owner"
REMOVER: Final = "remover"
"""The entry of who removes an owner that is gone."""

MAX_PENDING: Final = 1000
"""Who adds an event beyond this many waits until others are applied. An event takes 250 bytes."""

MOST_PENDING: Final = 100 * MAX_PENDING
"""Beyond this many, events are dropped; only a thread that has stopped for good lets it come."""

MAX_APPLIED: Final = 10 * MAX_PENDING
"""How many events a caller applies before it goes on, however many others add."""

NAP: Final = 0.0005
"""Seconds of one nap of a caller that waits."""

MAX_NAPS: Final = 1000
"""How often a caller naps until there is room in the queue."""

READER_NAPS: Final = 200
"""How often a reader naps until it gets the lock; then it reads what is final without the lock."""


class DormantLock(dict[str, tuple[float]]):
    """
    Replaces the lock of a recorder in a forked child, until the first event is recorded there.

    wake: starts the recorder, if that has not been done, and returns its lock.
    """

    def __init__(self, wake: Callable[[], Lock]) -> None:
        super().__init__()
        self._wake = wake

    def setdefault(self, key: str, me: tuple[float], /) -> tuple[float]:
        """Wake the recorder, and try its lock. The caller then finds the lock in the recorder."""
        try:
            waking = super().setdefault(key, me)
            if waking is not me:
                # Another thread is waking it, or this one is, and a finalizer has interrupted it.
                return waking
            lock = self._wake()
            del self[key]
        except BaseException:
            if self.get(key) is me:
                del self[key]
            raise
        return lock.setdefault(key, me)


class Recorder(ABC):
    """
    A queue of events, and a lock that recording only tries and never waits for.

    changes: those of the event that is being applied.
    mark: `mark[0]` is 0 in a forked child until all that is of its parent was reset; see `forks`.
    """

    __slots__ = ("_lock", "_pending", "_stopped_owner", "changes", "mark")

    def __init__(self) -> None:
        self.mark: Final = forks().mark
        self._pending: Final[list[functools.partial[None]]] = []
        self.changes: Final = Changes()
        self.reset()

    def reset(self) -> None:
        """Make a new lock and an empty queue; in a forked child the old lock may never be freed."""
        self._lock: Lock = {}
        # The `id` of the owner that was waited for in vain.
        self._stopped_owner = 0
        self._pending.clear()
        self.changes.clear()

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

    # What a subclass defines

    @abstractmethod
    def flush(self) -> None:
        """Bring all numbers up to date before they are read. The caller has the lock."""

    @abstractmethod
    def _begin_change(self) -> None:
        """Take back an interrupted change, and note the numbers. The caller has the lock."""

    @abstractmethod
    def _commit(self, last: Iterable[Action] = ()) -> None:
        """Make a change final, and do `last` in the same step. The caller has the lock."""

    def _is_crowded(self) -> bool:
        """Whether callers should wait before they add more."""
        return len(self._pending) > MAX_PENDING

    # Recording

    def _record(self, event: functools.partial[None]) -> None:
        if not self.mark[0] and not self.follow_fork():
            return
        if len(self._pending) >= MOST_PENDING:
            count_error("Recorder.MOST_PENDING")
            return
        self._pending.append(event)
        self._drain()
        if self._is_crowded():
            self._make_room()

    def _drain(self) -> None:
        """Apply the pending events, unless another caller has the lock: then that one will."""
        # Again if another caller has added an event after the last one was applied.
        for _ in repeat(None, MAX_APPLIED):
            if not (self._pending and self._with_lock(self._apply_pending)):
                return

    def catch_up(self) -> None:
        """Apply the pending events and call `flush`, unless another caller has the lock."""
        self._with_lock(self._catch_up)
        self._drain()

    def _with_lock(self, run: Callable[[], bool]) -> bool:
        """Return what `run` returns, called with the lock; False if another caller has it."""
        me = (get_ident(),)
        try:
            if self._lock.setdefault(OWNER, me) is not me:
                return False
            went_on = run()
            del self._lock[OWNER]
        except BaseException:
            try:
                self._give_back(me)
            except RecursionError:
                # The stack had no room for that. Whoever is next takes back what was not final.
                if self._lock.get(OWNER) is me:
                    del self._lock[OWNER]
            raise
        return went_on

    def _give_back(self, me: tuple[float]) -> None:
        """After an exception, take back what was not final, and free the lock if `me` has it."""
        if self._lock.get(OWNER) is me:
            if self.changes.steps:
                self.changes.roll_back()
            del self._lock[OWNER]

    def _catch_up(self) -> bool:
        went_on = self._apply_pending()
        self.flush()
        return went_on

    def _apply_pending(self) -> bool:
        """
        Apply the pending events in order; return False if that needs more room than there is.

        The caller has the lock.
        """
        pending = self._pending
        applied = ((pending.pop, 0),)
        for _ in repeat(None, MAX_APPLIED):
            if not pending:
                break
            self._begin_change()
            try:
                pending[0]()
            except Exception as error:
                report(pending[0].func.__qualname__, error)  # which raises it if it is not ours
                self.changes.roll_back()
                if isinstance(error, (RecursionError, MemoryError)):
                    return False  # the next caller may have more room
                pending.pop(0)
            else:
                self._commit(applied)
        return True

    # Waiting

    def _make_room(self) -> None:
        """Wait until others have applied most of the pending events, or apply them."""
        for _ in range(MAX_NAPS):
            self.catch_up()
            if not self._is_crowded() or self._is_inside() or self._is_stopped():
                return
            self._remove_lost_owner()
            time.sleep(NAP)
        if OWNER in self._lock:
            self._stopped_owner = id(self._lock.get(OWNER))

    def _is_inside(self) -> bool:
        """Whether this very thread has the lock: it has been interrupted, and cannot go on."""
        return self._lock.get(OWNER, (0,))[0] == get_ident()

    def _is_stopped(self) -> bool:
        """Whether the owner of the lock was waited for in vain before."""
        return id(self._lock.get(OWNER)) == self._stopped_owner

    def _remove_lost_owner(self) -> None:
        """Free the lock if its owner was interrupted so often that it could not."""
        lock, me = self._lock, (get_ident(),)
        try:
            if not COUNTS_ARE_EXACT or lock.setdefault(REMOVER, me) is not me:
                return
            if OWNER in lock and references(lambda: lock.get(OWNER)) == 1:
                del lock[OWNER]
            del lock[REMOVER]
        except BaseException:
            if lock.get(REMOVER) is me:
                del lock[REMOVER]
            raise

    @contextmanager
    def reading_lock(self) -> Iterator[bool]:
        """
        Apply all events, and have the lock while reading; yield whether that was possible.

        If not, another thread that has the lock does not run, or this one was interrupted while it
        had the lock.
        """
        if self.dormant:
            yield False
            return
        me = (get_ident(),)
        try:
            locked = self._wait_for_lock(me)
            if locked:
                self._catch_up()
            yield locked
            if locked:
                del self._lock[OWNER]
        except BaseException:
            self._give_back(me)
            raise
        self._drain()

    def _wait_for_lock(self, me: tuple[float]) -> bool:
        """Take the lock for `me`; return False if its owner keeps it for too long."""
        for _ in range(READER_NAPS):
            if self._lock.setdefault(OWNER, me) is me:
                return True
            self._remove_lost_owner()
            if self._is_inside():
                return False
            if OWNER in self._lock:
                time.sleep(NAP)
        return self._lock.setdefault(OWNER, me) is me


def recorded(
    apply: Callable[Concatenate[R, P], None],
) -> Callable[Concatenate[R, P], None]:
    """Decorate an event: it is applied now if the lock is free, or else by the lock's owner."""

    def record(self: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        self._record(functools.partial(apply, self, *args, **kwargs))

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
