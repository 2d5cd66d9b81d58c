"""
Pauses of this process: times in which it did not run at all.

A process that was stopped (SIGSTOP, a paused container, AWS Lambda between two invocations) has
held its connections without doing anything, so that time says nothing about its code. But a process
that sleeps looks the same from within: no event, and hardly any CPU time. What tells them apart is
something that was due and did not come:

- The thread of `start_http_server` wakes up twice a second, whatever else the process does.
- Whoever reads the numbers regularly, as a scraper does, would have come.

So a pause is a time in which all that comes regularly has missed its time, and in which the process
used hardly any CPU time. Where nothing comes regularly, there are no pauses.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import Thread, get_ident
from typing import Final, NamedTuple

Clock = Callable[[], float]
"""Returns seconds, as `time.monotonic` does."""

SHORTEST: Final = 1.0
"""Seconds; a shorter time is no pause."""

BEATS: Final = 6
"""How many intervals must be known before the next one counts as due."""

MISSED: Final = 3.0
"""What was due is missed after this many times the longest known interval."""

TOGETHER: Final = 0.05
"""Seconds; what follows within this time is part of the same beat, as the pools of one scrape."""

BURST: Final = 0.5
"""Seconds of CPU time for what the process did before it was stopped, and after it woke up."""

MOST_CPU: Final = 0.01
"""The share of a pause that it may have used besides, as CPU time."""

REMEMBERED: Final = 10
"""How many pauses are remembered."""


class Pause(NamedTuple):
    """The clock at which a pause began and ended."""

    start: float
    end: float


class Rhythm:
    """
    What comes regularly.

    last: the clock when it came last; thread: on which thread.
    """

    def __init__(self) -> None:
        self.last = 0.0
        self.thread = 0
        self._intervals: deque[float] = deque(maxlen=BEATS)

    def beat(self, now: float) -> None:
        interval = now - self.last
        if self.last and interval > TOGETHER:
            self._intervals.append(interval)
        self.last, self.thread = now, get_ident()

    @property
    def is_regular(self) -> bool:
        return len(self._intervals) == BEATS

    def is_missed(self, now: float) -> bool:
        """Whether it should have come by now."""
        return now - self.last >= max(SHORTEST, MISSED * max(self._intervals))

    def forget(self) -> None:
        self._intervals.clear()


class Pauses:
    """
    Notices pauses. Any thread may call any method, also in a finalizer: no lock is taken.

    cpu: the CPU time of this process, in seconds.
    """

    def __init__(self, clock: Clock = time.monotonic, cpu: Clock = time.process_time) -> None:
        self.clock: Final = clock
        self.known: tuple[Pause, ...] = ()
        self._cpu: Final = cpu
        self._looks = Rhythm()
        self._ticks = Rhythm()
        self._ticker: Callable[[], bool] = bool
        # The clock and the CPU time when the process was last seen running.
        self._seen = clock(), cpu()

    def tick_on(self, thread: Thread) -> None:
        """`tick` is called on this thread from now on, for as long as the thread lives."""
        self._ticks.forget()
        self._ticker = thread.is_alive

    def tick(self) -> None:
        """The thread that wakes up regularly is awake."""
        now = self.clock()
        self._judge(now, [self._looks])
        self._ticks.beat(now)
        self._see(now)

    def look(self) -> None:
        """The numbers are read."""
        now = self.clock()
        self._judge(now, [self._looks])
        self._looks.beat(now)
        self._see(now)

    def look_back(self) -> None:
        """
        A hold ends that was long.

        If its thread is the one that reads the numbers, it may have had no time for that meanwhile.
        """
        now = self.clock()
        reads_itself = get_ident() == self._looks.thread and not _in_event_loop()
        self._judge(now, [] if reads_itself else [self._looks])
        if reads_itself:
            self._looks.beat(now)
            self._see(now)

    def forked(self) -> None:
        """In a forked child, nothing of what came to its parent comes."""
        self._looks.forget()
        self._ticks.forget()
        self._see(self.clock())

    def has_forked(self) -> None:
        """Nothing changes in the parent of a fork."""

    def _see(self, now: float) -> None:
        self._seen = now, self._cpu()

    def _judge(self, now: float, rhythms: list[Rhythm]) -> None:
        """
        Note a pause if there was one since the process was last seen.

        rhythms: what may have been due, besides the ticks.
        """
        start, cpu = self._seen
        if self._ticker():
            rhythms = [*rhythms, self._ticks]
        regular = [rhythm for rhythm in rhythms if rhythm.is_regular]
        if (
            regular
            and now - start >= SHORTEST
            and all(rhythm.is_missed(now) for rhythm in regular)
            and self._cpu() - cpu <= BURST + MOST_CPU * (now - start)
        ):
            self.known = (*self.known, Pause(start, now))[-REMEMBERED:]
            self._see(now)


def _in_event_loop() -> bool:
    # Imported here because it imports asyncio, which importing poolscope must not.
    from asyncio import _get_running_loop

    return _get_running_loop() is not None


_of_process: list[Pauses] = []


def pauses() -> Pauses:
    """Return the pauses of this process, as the system's clocks show them."""
    if not _of_process:
        _of_process.append(Pauses())
    return _of_process[0]
