"""
An exception from outside may come at any bytecode of the hooks of a SQLAlchemy pool. Then it
reaches the application, the pool loses no connection, and the numbers are those of the pool.

So they are when another thread uses the pool and reads while this one does not run, and when a
signal handler does so in the middle of an attempt of its own thread.
"""

from __future__ import annotations

import gc
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pytest
import sqlalchemy
from sqlalchemy import event
from sqlalchemy.pool import NullPool, Pool, QueuePool

from poolscope.errors import internal_errors
from poolscope.ledger import recorder
from poolscope.readings.reading import Reading
from poolscope.watching.watches import Watches
from support.bytecodes import (
    STEP,
    AtBytecode,
    HardInterruption,
    Interruption,
    at_bytecode,
    in_a_thread,
    interruption,
    is_free,
)
from support.counters import falls
from support.histograms import count_of
from support.laws import laws_of_counters

pytestmark = pytest.mark.usefixtures("few_frames_are_searched")

INTERRUPTIONS: Final = (Interruption, HardInterruption)

SWALLOWED: Final = frozenset({"_on_collected", "collected", "_finalize_fairy", "_close_connection"})
"""Where exceptions go no further, watched or not: in finalizers, and where SQLAlchemy closes."""


class Connection:
    """A DBAPI connection that does nothing, and knows whether it is closed."""

    def __init__(self) -> None:
        self.is_closed = False

    def rollback(self) -> None: ...

    def close(self) -> None:
        self.is_closed = True


class Application:
    """Uses a pool of two connections, and gives up what it is doing when it is interrupted."""

    def __init__(self, **options: Any) -> None:
        kind = options.pop("kind", QueuePool)
        if kind is QueuePool:
            options = {"pool_size": 2, "max_overflow": 0, "timeout": 0.001, **options}
        make: Any = self.connect
        self.connections: list[Connection] = []
        self.pool: Pool = kind(make, **options)
        self.pools = [self.pool]
        self.fails = False
        # SQLAlchemy takes a connection that it disposes of for one in use, if it is interrupted.
        self.disposed = False
        self.has_detached = False
        self.interruptions = 0
        # SQLAlchemy 2.0.0 keeps a connection that it was closing when it was interrupted: the pool
        # opens no other in its place.
        self.kept_closed: set[int] = set()
        # What those who asked for a connection got.
        self.outcomes: Counter[str] = Counter()
        # Both connections are open before anything is interrupted.
        held = [self.pool.connect(), self.pool.connect()]
        for connection in held:
            connection.close()
        self.errors = internal_errors.count
        self.watch = Watches().watch(self.pool, registry=None)
        self.adopted = self.watch.snapshot().opened

    def connect(self) -> Connection:
        if self.fails:
            raise OSError("the server does not answer")
        self.connections.append(Connection())
        return self.connections[-1]

    def do(self, step: Callable[..., Any], *args: Any) -> Any:
        try:
            return step(*args)
        except INTERRUPTIONS:
            self.interruptions += 1
            return None

    def hold(self) -> Any:
        """Return a connection; None if there is none, or an exception comes instead."""
        return self.do(self._connect)

    def _connect(self) -> Any:
        try:
            connection = self.pool.connect()
        except sqlalchemy.exc.TimeoutError:
            self.outcomes["timed_out"] += 1
            return None
        except OSError:
            self.outcomes["failed"] += 1
            return None
        self.outcomes["acquired"] += 1
        return connection

    def give_back(self, connection: Any) -> None:
        if connection is not None:
            driver_connection = connection.dbapi_connection
            if driver_connection is not None and driver_connection.is_closed:
                self.kept_closed.add(id(driver_connection))
            self.do(connection.close)

    def faults_after_an_exception(self, tracer: AtBytecode) -> list[str]:
        """
        Return what does not agree with the pool, once the application holds nothing.

        A traceback in a cycle may keep a record, with its open connection, until it is collected.
        """
        if self._faults(tracer):
            gc.collect()
        return self._faults(tracer)

    def _faults(self, tracer: AtBytecode) -> list[str]:
        laws = laws_of_counters(self.watch, self.adopted)
        if self.kept_closed and not all(laws.values()):
            # It was counted as closed, and when it was used again as one that had been open before.
            laws = laws_of_counters(self.watch, self.adopted + len(self.kept_closed))
        if "closed" in tracer.stack and not self.has_detached:
            left_open = sum(not connection.is_closed for connection in self.connections)
            laws["what is being closed is closed"] = left_open == sum(map(open_idle, self.pools))
        if not tracer.begins("_do_return_conn"):
            # There the exception comes before the call of the pool's own method, which loses the
            # connection without a watch, too.
            laws |= self.laws_of_gauges()
            laws["the exception reaches the application"] = self.interruptions == bool(
                tracer.where
            ) or bool(SWALLOWED.intersection(tracer.stack))
        return [law for law, holds in laws.items() if not holds]

    def laws_of_gauges(self) -> dict[str, bool]:
        snapshot = self.watch.snapshot()
        return {
            "nobody waits or opens": (0, 0) == (snapshot.waiting, snapshot.opening),
            "nothing is in use": snapshot.in_use == 0 and (self.disposed or in_use(self.pool) == 0),
            "idle are the idle ones": snapshot.idle == sum(map(idle, self.pools)),
            "nobody is blamed": 0 == snapshot.leaks_abandoned,
        }

    def use_and_look(self) -> list[Reading]:
        """
        Use the pool as another thread does; return what it has read before and after.

        What needs a lock of the thread that does not run is left out.
        """
        queue: Any = getattr(self.pool, "_pool", None)
        can_use = queue is None or is_free(queue.mutex)
        # The lock of those who read is also held while a pool is added; uses never need it.
        can_look = is_free(self.watch._pool._groups._process_lock)
        looks = [self.look] if can_look else []
        seen = [look() for look in looks]
        if can_use:
            connection = self.hold()
            seen += [look() for look in looks]
            self.give_back(connection)
        return [*seen, *(look() for look in looks)]

    def use_and_open(self) -> list[Reading]:
        """Take what the pool has, open one and wait in vain; return what was read in between."""
        seen = [self.look()]
        held = [self.hold(), self.hold()]
        seen.append(self.look())
        for connection in held:
            if connection is not None:
                self.do(connection.invalidate)
            self.give_back(connection)
        self.give_back(self.hold())
        return [*seen, self.look()]

    def look(self) -> Reading:
        self.watch.holders()
        self.watch.snapshot()
        return self.watch._pool.read()

    def faults_after_a_pause(self, seen: list[Reading]) -> list[str]:
        """Return what does not agree with the pool and with what those who asked have got."""
        reading = self.look()
        got = {name: self.outcomes[name] for name in ("acquired", "timed_out", "failed")}
        opened = len(self.connections) - 2
        laws = {
            **laws_of_counters(self.watch, self.adopted),
            **self.laws_of_gauges(),
            "attempts have ended as they did": got
            == {name: getattr(reading, name) for name in got},
            "each use has a duration": reading.acquired == count_of(reading.hold_seconds),
            "each connection is counted once": reading.opened == self.adopted + opened,
            "all other attempts reused one": reading.reused == reading.acquired - opened,
            "no error is ours": self.errors == internal_errors.count,
        }
        return [law for law, holds in laws.items() if not holds] + falls([*seen, reading])


def in_use(pool: Pool) -> int:
    return pool.checkedout() if isinstance(pool, QueuePool) else 0


def idle_connections(pool: Pool) -> list[Connection]:
    queue: Any = getattr(pool, "_pool", None)
    records = list(queue.queue) if queue is not None else []
    connections = [record.dbapi_connection for record in records]
    return [connection for connection in connections if connection is not None]


def idle(pool: Pool) -> int:
    return len(idle_connections(pool))


def open_idle(pool: Pool) -> int:
    return sum(not connection.is_closed for connection in idle_connections(pool))


def use(application: Application) -> None:
    connection = application.hold()
    other = application.hold()
    application.give_back(connection)
    application.give_back(other)


def time_out(application: Application) -> None:
    held = [application.hold(), application.hold(), application.hold()]
    for connection in held:
        application.give_back(connection)


def open_one(application: Application) -> None:
    connection = application.hold()
    if connection is not None:
        application.do(connection.invalidate)
        application.give_back(connection)
    application.give_back(application.hold())


def fail_to_open(application: Application) -> None:
    connection = application.hold()
    if connection is not None:
        application.do(connection.invalidate)
        application.give_back(connection)
    application.fails = True
    for _ in range(2):
        application.give_back(application.hold())
    application.fails = False


def detach(application: Application) -> None:
    application.has_detached = True
    connection = application.hold()
    if connection is not None:
        application.do(connection.detach)
        application.give_back(connection)


def replace(application: Application) -> None:
    application.disposed = True
    application.do(application.pool.dispose)
    new = application.do(application.pool.recreate)
    if new is not None:
        application.pool = new
        application.pools.append(new)
    use(application)


def look(application: Application) -> None:
    connection = application.hold()
    application.do(application.watch.snapshot)
    application.do(application.watch.holders)
    application.give_back(connection)


USES: Final = (use, time_out, open_one, fail_to_open, detach, replace, look)


@pytest.mark.parametrize("case", ["queue", "pre-ping or listener", "null"])
# Of finalizers, whose exceptions go no further, and of what was left open by them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_an_exception_at_any_bytecode_of_a_hook(
    use: Callable[[Application], None], case: str
) -> None:
    if case == "null" and use is time_out:
        pytest.skip("a NullPool has no limit")
    wrong = []
    for number in itertools.count(1, STEP):
        application = Application(kind=NullPool) if case == "null" else Application()
        if case == "pre-ping or listener":
            event.listen(application.pool, "checkout", lambda *_: None)
        with at_bytecode(number, interruption(number), let_in=True) as tracer:
            use(application)
        wrong += [
            (number, tracer.where, fault) for fault in application.faults_after_an_exception(tracer)
        ]
        if tracer.is_beyond_the_last:
            break
    gc.collect()  # while the warnings of what was interrupted are ignored
    assert [] == wrong
    assert number > 100


@pytest.mark.parametrize("by", ["another thread", "a signal handler"])
@pytest.mark.parametrize("case", ["queue", "pre-ping or listener", "null"])
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_the_pool_is_used_at_any_bytecode_of_a_hook(
    use: Callable[[Application], None], case: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case == "null" and use is time_out:
        pytest.skip("a NullPool has no limit")
    monkeypatch.setattr(recorder, "READER_NAPS", 1)
    monkeypatch.setattr(recorder, "NAP", 0.0)
    wrong = []
    for number in itertools.count(1, STEP):
        application = Application(kind=NullPool) if case == "null" else Application()
        if case == "pre-ping or listener":
            event.listen(application.pool, "checkout", lambda *_: None)
        seen: list[Reading] = []

        def others(application: Application = application, seen: list[Reading] = seen) -> None:
            seen += application.use_and_look()
            if by == "a signal handler":
                seen += application.use_and_open()

        action = others if by == "a signal handler" else in_a_thread(others)
        with at_bytecode(number, action, let_in=True) as tracer:
            use(application)
        if tracer.is_beyond_the_last:
            break
        faults = application.faults_after_a_pause(seen)
        wrong += [(number, tracer.where, fault) for fault in faults]
    assert [] == wrong
    assert number > 100
