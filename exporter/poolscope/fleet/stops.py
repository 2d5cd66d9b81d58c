"""
Which processes are stopped, as another process sees it: by SIGSTOP, or by a debugger.

Linux tells it in /proc, of processes in the same PID namespace or in one below. Elsewhere no stops
are known.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from poolscope.process.pauses import Pause

_FLOCK: Final = struct.Struct("hhqqi4x")
"""`struct flock` of Linux with 64 bits: type, whence, start, length, pid."""

STOPPED: Final = b"Tt"
"""The states of a process that is stopped, or traced."""

REMEMBERED: Final = 3
"""How many stops of a process are remembered."""


def owner_of(file: int) -> int:
    """Return the id, as seen here, of the process that has locked the file; 0 if none is seen."""
    with suppress(OSError, ValueError, struct.error):
        lock = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, lock))
        return max(0, pid) if kind != fcntl.F_UNLCK else 0
    return 0


def is_stopped(pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether the process is stopped; False if that is not to be seen."""
    if pid:
        with suppress(OSError, IndexError):
            # The name of the program, in brackets, may contain anything.
            state = (proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[0]
            return state in (STOPPED[:1], STOPPED[1:])
    return False


class Stops:
    """What is known of the stops of each process, from one look to the next."""

    def __init__(self) -> None:
        self._running: dict[str, float] = {}
        self._stopped: dict[str, float] = {}
        self._ended: dict[str, tuple[Pause, ...]] = {}

    def look(self, name: str, stopped: bool, now: float) -> tuple[Pause, ...]:
        """
        Return the stops of a process, the earliest first; the last one may still go on.

        One counts from the last look at which the process ran to the first at which it runs again.
        """
        if stopped:
            start = self._stopped.setdefault(name, self._running.get(name, now))
            return (*self._ended.get(name, ()), Pause(start, now))
        start = self._stopped.pop(name, now)
        self._running[name] = now
        if start < now:
            self._ended[name] = (*self._ended.get(name, ()), Pause(start, now))[-REMEMBERED:]
        return self._ended.get(name, ())

    def keep(self, names: Collection[str]) -> None:
        """Forget all other processes."""
        for known in (self._running, self._stopped, self._ended):
            for name in known.keys() - names:
                del known[name]
