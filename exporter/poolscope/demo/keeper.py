"""
Ends what the demo has started, if the demo itself is killed and cannot.

It runs as a script, in a process of its own, and imports the standard library alone, so that it
starts fast. Its standard input is a pipe whose other end only the demo has: it ends with the demo,
however that ends. The processes that the demo starts belong to the process group of this one, but
for PostgreSQL, which writes its process id to a file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Final

DATA: Final = "postgres"
"""The folder of PostgreSQL in that of the demo."""

# Signals with the seconds to wait after each. SIGINT is a fast shutdown, which disconnects clients;
# SIGQUIT an immediate one, which writes no checkpoint; SIGKILL is the last resort.
SHUTDOWN_SIGNALS: Final = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 0.0))

LONGEST_SECONDS: Final = 60.0
"""After which all is killed that is still there."""


def stop_postgres(data: Path) -> None:
    """Stop the server whose files are in `data`, and wait until it has ended."""
    # Not with pg_ctl: Ctrl-C in a terminal would interrupt that process.
    for number, seconds in SHUTDOWN_SIGNALS:
        pid = _pid(data)
        if pid is None:
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        _wait_until_gone(data, seconds)


def _pid(data: Path) -> int | None:
    """Return the process id of the server, from the file that the server removes last."""
    with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
        return int((data / "postmaster.pid").read_text().split("\n")[0])
    return None


def _wait_until_gone(data: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while _pid(data) is not None and time.monotonic() < until:
        time.sleep(0.01)


def keep(folder: Path) -> None:
    """Wait until the demo has ended; then end what it has left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    if not folder.exists():
        return  # the demo has cleaned up itself
    os.killpg(os.getpid(), signal.SIGTERM)
    # What initialises or starts PostgreSQL must end by itself, or shared memory is left behind.
    until = time.monotonic() + LONGEST_SECONDS
    while _is_used(folder) and time.monotonic() < until:
        stop_postgres(folder / DATA)
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(os.getpid(), signal.SIGKILL)


def _is_used(folder: Path) -> bool:
    """Return whether another process has the folder in its command line; Linux says that."""
    name = os.fsencode(folder)
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if file.parent.name != str(os.getpid()) and name in file.read_bytes():
                return True
    return False


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
