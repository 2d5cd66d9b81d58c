"""
A thread that checks out and in, while another one raises exceptions in it, as the time limits of
task queues do.

Prints, unwatched and watched: how many exceptions were sent, how many did not reach the thread's
own code, and, for a watched pool, what is in use and pending at the end, and how many uses were not
counted. The pools are a StaticPool and a NullPool: those with a queue keep its lock for ever when
they are interrupted, watched or not.

Run it as `python -m benchmarks.interrupted [SECONDS]`.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
import time
from typing import Any

from sqlalchemy.pool import NullPool, Pool, StaticPool

from benchmarks.busy_threads import show
from benchmarks.sqlalchemy_cycle import Connection
from poolscope.watching.watches import Watches


class TimeLimitError(Exception):
    """What the application expects."""


class Worker:
    """Uses a pool until it is told to stop, and counts the exceptions that reach it."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.reached = self.uses = 0
        self.stopping = False

    def run(self) -> None:
        while not self.stopping:
            try:
                self.use()
            except TimeLimitError:
                self.reached += 1

    def use(self) -> None:
        while not self.stopping:
            connection = self.pool.connect()
            try:
                self.uses += 1
            finally:
                connection.close()


def run(kind: type[Pool], seconds: float, watched: bool) -> dict[str, float]:
    """Return what was seen of one run."""
    make: Any = Connection
    pool = kind(make)
    watch = Watches().watch(pool, registry=None) if watched else None
    worker = Worker(pool)
    thread = threading.Thread(target=worker.run)
    thread.start()
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    identifier, error = ctypes.c_ulong(thread.ident or 0), ctypes.py_object(TimeLimitError)
    sent, until = 0, time.monotonic() + seconds
    while time.monotonic() < until and thread.is_alive():
        raise_in(identifier, error)
        sent += 1
        time.sleep(0.0005)
    worker.stopping = True
    thread.join()
    seen: dict[str, float] = {
        "sent": sent,
        "did not arrive": sent - worker.reached,
        "uses": worker.uses,
    }
    if watch is not None:
        snapshot = watch.snapshot()
        ledger = watch._pool.ledgers[0]
        seen["in use according to poolscope"] = snapshot.in_use
        seen["pending"] = len(ledger.pending)
        seen["uses that were not counted"] = worker.uses - snapshot.acquired
    return seen


def main() -> None:
    # SQLAlchemy logs each exception that comes while it resets a connection.
    logging.getLogger("sqlalchemy").setLevel(logging.CRITICAL + 1)
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    kind: type[Pool]
    for kind in (StaticPool, NullPool):
        for watched in (False, True):
            seen = run(kind, seconds, watched)
            numbers = ", ".join(f"{name} {value:g}" for name, value in seen.items())
            show(f"{kind.__name__}, {'watched' if watched else 'unwatched'}: {numbers}")


if __name__ == "__main__":
    main()
