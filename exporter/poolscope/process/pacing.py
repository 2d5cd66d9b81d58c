"""
Pauses in a scrape, so that the other threads of the service can run.

CPython lets a running thread keep the GIL for `sys.getswitchinterval()` (5 ms) even when others
wait. An event loop that has to wait for the GIL twice in one iteration would be 10 ms late.
"""

from __future__ import annotations

from time import perf_counter, sleep
from typing import Final

PAUSE_EVERY: Final = 0.001
"""Seconds between two pauses, plus the time that one sample or one reading takes."""

PAUSE_SECONDS: Final = 0.00015
"""Seconds: long enough for another thread to wake up and to take the GIL before this one."""


class Pacer:
    """Makes the pauses of one thread with long work. Call it only while holding no lock."""

    def __init__(self) -> None:
        self._since = perf_counter()

    def yield_gil(self) -> None:
        """Sleep briefly if the last pause was at least `PAUSE_EVERY` seconds ago."""
        if perf_counter() - self._since >= PAUSE_EVERY:
            sleep(PAUSE_SECONDS)
            self._since = perf_counter()
