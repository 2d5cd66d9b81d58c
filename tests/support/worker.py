"""
A process with a pool. It reads a command from each line of its input, and answers with a line.

    take        take a connection, and keep it
    take X      the same, for an operation of that name
    wait        start a thread that waits for a connection
    trace N     use a connection often, in the trace of OpenTelemetry with that number
    give        return the connection that was taken last
    lose        drop a connection without returning it
    ask URL     send a request by HTTP to a server that is not there
    use N       take and return a connection N times
    fork        fork; the child, which has the same pool, runs all further commands
    fork in C   the same, without the hooks that Python runs
    block       answer, and then do nothing any more
    load PATH   answer, and then take and return connections until the parent ends; PATH is a
                file of two float64 cells: how many it has begun to take, and how many it has
                taken

The arguments are the name of the pool, and the seconds after which a hold is overdue; POOLSCOPE_DIR
is the folder that it shares.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import mmap
import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import sqlalchemy

import poolscope


def connect() -> Any:
    return sqlite3.connect(":memory:", check_same_thread=False)


def take(pool: sqlalchemy.Pool) -> Any:
    return pool.connect()


def wait(pool: sqlalchemy.Pool) -> None:
    """Try to take a connection until there is one, and return it."""
    while True:
        with contextlib.suppress(sqlalchemy.exc.TimeoutError):
            take(pool).close()
            return


def use_in_trace(pool: sqlalchemy.Pool, number: int) -> None:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

    poolscope.snapshots()  # it finds out that there is OpenTelemetry
    context = SpanContext(number, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    with use_span(NonRecordingSpan(context)):
        for _ in range(100):
            take(pool).close()


def ask(url: str) -> None:
    import aiohttp

    async def get() -> None:
        async with aiohttp.ClientSession() as session:
            poolscope.watch(session, "upstream", registry=None)
            with contextlib.suppress(aiohttp.ClientError):
                await session.get(url)

    asyncio.run(get())


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def load(pool: sqlalchemy.Pool, path: Path) -> None:
    with path.open("r+b") as file:
        tally = memoryview(mmap.mmap(file.fileno(), 16)).cast("d")
    parent = os.getppid()
    while os.getppid() == parent:
        tally[0] += 1
        connection = take(pool)
        tally[1] += 1
        connection.close()


def main(name: str, leak_after: float) -> None:
    pool = sqlalchemy.pool.QueuePool(connect, pool_size=4, max_overflow=0)
    poolscope.watch(pool, name, leak_after=leak_after, registry=None)
    held: list[Any] = []
    say("ready")
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        if word == "take":
            with poolscope.operation(number) if number else contextlib.nullcontext():
                held.append(take(pool))
        elif word == "trace":
            use_in_trace(pool, int(number))
        elif word == "wait":
            threading.Thread(target=wait, args=[pool], daemon=True).start()
        elif word == "give":
            held.pop().close()
        elif word == "lose":
            take(pool)
        elif word == "ask":
            ask(number)
        elif word == "use":
            for _ in range(int(number)):
                take(pool).close()
        elif word == "fork" and (ctypes.PyDLL(None).fork() if number else os.fork()):
            os.wait()
            os._exit(0)
        say(str(os.getpid()))
        if word == "block":
            signal.pause()
        elif word == "load":
            load(pool, Path(number))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
