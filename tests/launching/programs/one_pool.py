"""
Uses a pool with one connection as its arguments say, one after the other.

    once            a connection is used
    twice           a connection is held while a second one is asked for, which times out
    sqlalchemy      only the library is imported
    pid             the id of the process is printed
    wait            the process waits for the end of its input
    exit:N          it ends with this exit code
    kill:N          it ends by this signal
    quit:N          it ends at once with this exit code, without its exit handlers
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

import sqlalchemy

engine: sqlalchemy.Engine | None = None


def pool() -> sqlalchemy.Engine:
    global engine  # noqa: PLW0603 - it is made at its first use
    engine = engine or sqlalchemy.create_engine(
        "sqlite:////tmp/orders.db",
        poolclass=sqlalchemy.pool.QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=0.05,
        creator=lambda: __import__("sqlite3").connect(":memory:"),
    )
    return engine


def do(word: str) -> None:
    what, _, number = word.partition(":")
    if what == "once":
        pool().connect().close()
    elif what == "twice":
        with pool().connect(), suppress(sqlalchemy.exc.TimeoutError):
            pool().connect()
    elif what == "pid":
        print(os.getpid(), flush=True)  # noqa: T201 - the test reads it
    elif what == "wait":
        sys.stdin.read()
    elif what == "exit":
        sys.exit(int(number))
    elif what == "quit":
        os._exit(int(number))
    elif what == "kill":
        signal.raise_signal(int(number))


if __name__ == "__main__":
    for word in sys.argv[1:]:
        do(word)
