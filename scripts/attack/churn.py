"""
A worker of the attack on files. It uses a pool, disposes of it and forks, and writes down its uses.

    churn.py TALLY

TALLY is a file of two float64 cells: how many connections it has begun to take, and how many it has
taken, from pools that are shared. Its forked child has TALLY.child. Both end with their parent.
"""

from __future__ import annotations

import mmap
import os
import random
import sqlite3
import sys
from pathlib import Path
from typing import Any, Final

import sqlalchemy
from sqlalchemy.pool import QueuePool

import poolscope

DISPOSE_EVERY: Final = 150
FORK_AFTER: Final = 1000


def connect() -> Any:
    return sqlite3.connect(":memory:", check_same_thread=False)


def tally_of(path: Path) -> memoryview[float]:
    path.write_bytes(bytes(16))
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 16)).cast("d")


def churn(engine: sqlalchemy.Engine, watch: Any, path: Path, parent: int, forks: bool) -> None:
    """Use the pool for as long as the parent lives, which may have ended before this begins."""
    tally, own = tally_of(path), os.getpid()
    uses = 0
    while os.getppid() == parent:
        # A forked child gets its file with its first use. On a full disk there is none.
        tally[0] += 1
        connection = engine.connect()
        if watch._pool.ledgers[-1]._segment.shared:
            tally[1] += 1
        else:
            tally[0] -= 1
        connection.close()
        uses += 1
        if uses % DISPOSE_EVERY == 0:
            engine.dispose()
        if forks and uses == FORK_AFTER and not os.fork():
            engine.dispose(close=False)
            churn(engine, watch, Path(f"{path}.child"), own, forks=False)
            os._exit(0)


def main() -> None:
    path = Path(sys.argv[1])
    engine = sqlalchemy.create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, pool_size=2, max_overflow=0
    )
    watch = poolscope.watch(engine, "orders", registry=None)
    churn(engine, watch, path, os.getppid(), forks=random.random() < 0.5)


if __name__ == "__main__":
    main()
