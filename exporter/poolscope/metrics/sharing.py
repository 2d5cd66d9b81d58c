"""
One rendering at a time, which all who wait for the same one share.

A rendering of a thousand pools takes most of a second of CPU time. A hundred at once would take it
from the application for minutes, and each would hold its text in memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

MOST_WAITING: Final = 16
"""How many different selections by `name[]` may wait for their turn; a further one is refused."""


class BusyError(Exception):
    """Too many different selections wait already."""


class Outcome(Generic[T]):
    """What came of the work: a result, or the error that each who waits for it gets."""

    def __init__(self, result: T | None, error: Exception | None = None) -> None:
        self._result = result
        self._error = error
        self._traceback: TracebackType | None = error.__traceback__ if error else None

    def get(self) -> T:
        """Return the result, or raise the error, whose traceback is that of the work alone."""
        if self._error is not None:
            raise self._error.with_traceback(self._traceback)
        result: Any = self._result
        return result  # type: ignore[no-any-return]  # None only if the work returned it


class _Job(Generic[T]):
    """
    Work that waits for its turn, or goes on.

    waiters: a function for each who waits for the outcome, which is called with it, by an object
        that stands for the waiter. A waiter that goes away takes nothing from the others.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self.make = make
        self.waiters: dict[object, Callable[[Outcome[T]], object]] = {}


class _Line(Generic[T]):
    """
    The jobs of one process: after a fork, nobody in the child works on those of the parent.

    lock: held for a moment only, so that an event loop may wait for it, too. turn: held by whoever
        works. has_worker: whether a thread works on all that waits.
    """

    def __init__(self) -> None:
        self.pid: Final = os.getpid()
        self.lock: Final = threading.Lock()
        self.turn: Final = threading.Lock()
        self.waiting: dict[Hashable, _Job[T]] = {}
        self.limited: set[Hashable] = set()
        self.running: tuple[Hashable, _Job[T]] | None = None
        self.has_worker = False

    def leave(self, key: Hashable, waiter: object) -> None:
        with self.lock:
            if self.running is not None:
                self.running[1].waiters.pop(waiter, None)
            job = self.waiting.get(key)
            if job is not None:
                job.waiters.pop(waiter, None)
                if not job.waiters:
                    self._take(key)

    def begin(self) -> _Job[T] | None:
        """Return the job that has waited longest, which now goes on. The caller has the turn."""
        with self.lock:
            self._put_back()  # what another thread had begun when it was interrupted
            key = next(iter(self.waiting), None)
            self.running = None if key is None else (key, self._take(key))
            return None if self.running is None else self.running[1]

    def end(self, outcome: Outcome[T] | None) -> None:
        """Tell all who wait for the job; without an outcome, it waits for another turn."""
        with self.lock:
            if outcome is None:
                self._put_back()
            elif self.running is not None:
                for tell in self.running[1].waiters.values():
                    with suppress(RuntimeError):  # the waiter's event loop is closed
                        tell(outcome)
                self.running = None

    def _put_back(self) -> None:
        if self.running is not None:
            (key, job), self.running = self.running, None
            if job.waiters:
                self.waiting.setdefault(key, _Job(job.make)).waiters.update(job.waiters)

    def _take(self, key: Hashable) -> _Job[T]:
        self.limited.discard(key)
        return self.waiting.pop(key)


class Shared(Generic[T]):
    """
    Does one piece of work at a time, such as a rendering of metrics, each for all who wait for it.

    Whoever asks for what is being worked on gets the outcome of the next time, together with all
    who ask meanwhile. So what anybody gets was begun after it was asked for, and shows all that had
    happened by then.
    """

    def __init__(self) -> None:
        # Made when it is needed, because gevent may replace the locks after the import.
        self._of_process: _Line[T] | None = None

    def result(self, key: Hashable, make: Callable[[], T], *, limited: bool = False) -> T:
        """
        Return what `make` returns, or what one returns that was given with an equal key.

        It is called on the thread of one of those who wait. Raises what it raises; BusyError if
        this key is `limited`, and as many others wait as may.
        """
        line, waiter = self._line(), _Waiter[T]()
        is_first = _join(line, waiter, key, make, waiter.tell, limited)
        try:
            if is_first:
                while waiter.outcome is None:
                    with line.turn:
                        if waiter.outcome is None:
                            _work(line)
            else:
                waiter.told.wait()
        except BaseException:
            line.leave(key, waiter)
            if is_first and line.waiting:
                # This thread was interrupted, and perhaps others wait for what it was to do.
                _start_worker(line)
            raise
        return waiter.outcome.get()  # type: ignore[union-attr]  # it was told

    def submit(
        self,
        waiter: object,
        key: Hashable,
        make: Callable[[], T],
        tell: Callable[[Outcome[T]], object],
        *,
        limited: bool = False,
    ) -> None:
        """
        Do as `result` does, but on a thread of its own, which calls `tell` with the outcome.

        The waiter, any object, may `leave` meanwhile. Raises BusyError, and RuntimeError if no
        thread can be started.
        """
        line = self._line()
        _join(line, waiter, key, make, tell, limited)
        try:
            _start_worker(line)
        except BaseException:
            line.leave(key, waiter)
            raise

    def leave(self, waiter: object, key: Hashable) -> None:
        """The waiter goes away. What nobody waits for is not begun."""
        self._line().leave(key, waiter)

    def _line(self) -> _Line[T]:
        line = self._of_process
        if line is None or line.pid != os.getpid():
            line = self._of_process = _Line()
        return line


class _Waiter(Generic[T]):
    """A thread that waits."""

    def __init__(self) -> None:
        self.told: Final = threading.Event()
        self.outcome: Outcome[T] | None = None

    def tell(self, outcome: Outcome[T]) -> None:
        self.outcome = outcome
        self.told.set()


def _join(
    line: _Line[T],
    waiter: object,
    key: Hashable,
    make: Callable[[], T],
    tell: Callable[[Outcome[T]], object],
    limited: bool,
) -> bool:
    """Have the waiter wait for the job with the key; return whether it is the first one."""
    with line.lock:
        is_first = key not in line.waiting
        if is_first:
            if limited:
                if len(line.limited) >= MOST_WAITING:
                    raise BusyError(f"{MOST_WAITING} others wait")
                line.limited.add(key)
            line.waiting[key] = _Job(make)
        line.waiting[key].waiters[waiter] = tell
        return is_first


def _start_worker(line: _Line[Any]) -> None:
    with line.lock:
        if line.has_worker:
            return
        line.has_worker = True
    try:
        # A new thread each time, as one from before a fork does not exist in the child; and a
        # daemon, so that a collector that never returns does not keep the application from ending.
        name = "poolscope-metrics"
        threading.Thread(target=_work_on_all, args=(line,), name=name, daemon=True).start()
    except BaseException:
        line.has_worker = False
        raise


def _work_on_all(line: _Line[Any]) -> None:
    while True:
        with line.turn:
            with line.lock:
                line.has_worker = bool(line.waiting)
                if not line.has_worker:
                    return
            _work(line, BaseException)


def _work(line: _Line[Any], caught: type[BaseException] = Exception) -> None:
    """
    Do the job that has waited longest, and tell the outcome to all who wait for it.

    caught: what all of them get if the work raises it. What is not caught, as KeyboardInterrupt,
        belongs to this thread alone: then the job waits for another turn.
    The caller has the turn.
    """
    job = line.begin()
    if job is None:
        return
    outcome: Outcome[Any] | None = None
    try:
        outcome = Outcome(job.make())
    except caught as error:
        if not isinstance(error, Exception):  # a collector that calls sys.exit
            error = RuntimeError(f"the metrics could not be made: {error!r}")
        outcome = Outcome(None, error)
    finally:
        line.end(outcome)
