"""
A process with a pool that does what it is told, one word on each line, and answers with a line.

    take        take a connection, and keep it
    give        return the one that was taken last
    lose        drop one without returning it
    use N       take and return a connection N times
    fork        have a child with the same pool, which from now on does what is told
    block       answer, and never do anything again

Run with the name of the pool; POOLSCOPE_DIR says where it can be seen.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from typing import Any

import sqlalchemy

import poolscope


def connect() -> Any:
    return sqlite3.connect(":memory:", check_same_thread=False)


def take(pool: sqlalchemy.Pool) -> Any:
    return pool.connect()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(name: str) -> None:
    pool = sqlalchemy.pool.QueuePool(connect, pool_size=4, max_overflow=0)
    poolscope.watch(pool, name, registry=None)
    held: list[Any] = []
    say("ready")
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        if word == "take":
            held.append(take(pool))
        elif word == "give":
            held.pop().close()
        elif word == "lose":
            take(pool)
        elif word == "use":
            for _ in range(int(number)):
                take(pool).close()
        elif word == "fork" and os.fork():
            os.wait()
            os._exit(0)
        say(str(os.getpid()))
        if word == "block":
            time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1])
