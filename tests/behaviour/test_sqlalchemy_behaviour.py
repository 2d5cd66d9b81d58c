"""
A watched SQLAlchemy pool behaves as an unwatched one.

Each scenario runs without a watch and with one, and writes down everything that a program can see:
the connections that it got, the errors and their texts, and the order of events.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, exc, pool
from sqlalchemy.engine.default import DefaultDialect

from poolscope.watching.watches import Watches

EVENTS = (
    "first_connect", "connect", "checkout", "checkin", "reset", "invalidate", "soft_invalidate",
    "close", "detach", "close_detached",
)  # fmt: skip


class Connection:
    """A DBAPI connection without a server; `alive` is the result of a ping."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.alive = True

    def __repr__(self) -> str:
        return f"connection {self.number}"

    def rollback(self) -> None: ...

    def commit(self) -> None: ...

    def close(self) -> None:
        self.alive = False


class Dialect(DefaultDialect):
    """A dialect whose ping asks the connection."""

    def do_ping(self, dbapi_connection: Any) -> bool:
        return bool(dbapi_connection.alive)


class Program:
    """A program that uses a pool and writes down what it sees."""

    def __init__(self, watched: bool) -> None:
        self.watched = watched
        self.seen: list[Any] = []
        self.made: list[Connection] = []
        self.refused: BaseException | None = None

    def create(self) -> Connection:
        if self.refused is not None:
            raise self.refused
        self.made.append(Connection(len(self.made) + 1))
        self.seen.append(("created", len(self.made)))
        return self.made[-1]

    def pool(self, cls: Any = pool.QueuePool, **options: Any) -> Any:
        made = cls(self.create, dialect=Dialect(), **options)
        if self.watched:
            Watches().watch(made, registry=None)
        for name in EVENTS:
            event.listen(made, name, self.listener(name))
        return made

    def listener(self, name: str) -> Callable[..., None]:
        def listen(*args: Any) -> None:
            self.seen.append((name, repr(args[0])))

        return listen

    def write(self, *what: Any) -> None:
        self.seen.append(what)

    def attempt(self, call: Callable[[], Any]) -> Any:
        """Call, and write down the result or the error."""
        try:
            result = call()
        except Exception as error:
            self.write("raised", type(error), str(error))
            return None
        number = getattr(getattr(result, "dbapi_connection", None), "number", None)
        self.write("returned", number)
        return result


def overflow(program: Program) -> None:
    queue = program.pool(pool_size=1, max_overflow=2, timeout=0.01)
    held = [program.attempt(queue.connect) for _ in range(4)]
    for connection in held[:3]:
        program.write(queue.status(), queue.checkedout(), queue.overflow())
        connection.close()
    program.write(queue.status())


def timeout(program: Program) -> None:
    queue = program.pool(pool_size=1, max_overflow=0, timeout=0)
    first = program.attempt(queue.connect)
    for _ in range(2):
        program.attempt(queue.connect)
    first.close()
    program.attempt(queue.connect)


def negative_timeout(program: Program) -> None:
    queue = program.pool(pool_size=1, max_overflow=0, timeout=-1)
    program.attempt(queue.connect).close()
    # Once the pool is full it refuses a negative timeout, also when a connection is free.
    program.attempt(queue.connect)
    program.write(queue.status())


def first_in_first_out(program: Program, use_lifo: bool = False) -> None:
    queue = program.pool(pool_size=3, max_overflow=0, use_lifo=use_lifo)
    for connection in [queue.connect() for _ in range(3)]:
        connection.close()
    for _ in range(4):
        program.attempt(queue.connect).close()


def last_in_first_out(program: Program) -> None:
    first_in_first_out(program, use_lifo=True)


def recycle(program: Program) -> None:
    queue = program.pool(pool_size=1, recycle=60)
    connection = program.attempt(queue.connect)
    connection._connection_record.starttime -= 61
    connection.close()
    program.attempt(queue.connect).close()


def pre_ping(program: Program) -> None:
    queue = program.pool(pool_size=2, pre_ping=True)
    for connection in [queue.connect(), queue.connect()]:
        connection.close()
    program.made[0].alive = False
    program.attempt(queue.connect).close()
    program.refused = OSError("refused")
    program.made[-1].alive = False
    program.attempt(queue.connect)
    program.attempt(queue.connect)
    program.refused = None
    program.attempt(queue.connect).close()
    program.write(queue.status())


def creator_that_fails(program: Program) -> None:
    queue = program.pool(pool_size=1, max_overflow=0, timeout=0)
    program.refused = OSError("refused")
    for _ in range(2):
        program.attempt(queue.connect)
        program.write(queue.status())
    program.refused = None
    program.attempt(queue.connect)


def listener_that_fails(program: Program, name: str = "checkout") -> None:
    queue = program.pool(pool_size=1, max_overflow=0, timeout=0)
    for error in (ZeroDivisionError("a mistake"), exc.DisconnectionError("gone")):

        def fail(*args: Any, error: Exception = error) -> None:
            raise error

        event.listen(queue, name, fail)
        connection = program.attempt(queue.connect)
        if connection is not None:
            program.attempt(connection.close)
        event.remove(queue, name, fail)
        program.write(queue.status())
    program.attempt(queue.connect)


def connect_listener_that_fails(program: Program) -> None:
    listener_that_fails(program, "connect")


def detached(program: Program) -> None:
    queue = program.pool(pool_size=1, max_overflow=0, timeout=0)
    connection = program.attempt(queue.connect)
    connection.detach()
    program.write(queue.status(), connection.is_detached, connection.is_valid)
    program.attempt(queue.connect).close()
    program.attempt(connection.close)


def invalidated(program: Program) -> None:
    queue = program.pool(pool_size=1, max_overflow=0, timeout=0)
    connection = program.attempt(queue.connect)
    connection.invalidate(OSError("lost"))
    program.write(queue.status(), connection.is_valid)
    program.attempt(connection.cursor)
    connection = program.attempt(queue.connect)
    connection.invalidate(soft=True)
    program.write(queue.status(), connection.is_valid)
    connection.close()
    program.attempt(queue.connect)


def disposed(program: Program) -> None:
    queue = program.pool(pool_size=2, max_overflow=0, timeout=0)
    out, idle = queue.connect(), queue.connect()
    idle.close()
    queue.dispose()
    program.write(queue.status())
    other = queue.recreate()
    program.write(other.__class__, other.size(), other._max_overflow, other._timeout)
    out.close()
    program.attempt(other.connect).close()
    program.write(queue.status(), other.status())


def closed_twice(program: Program) -> None:
    queue = program.pool(pool_size=1)
    connection = program.attempt(queue.connect)
    program.attempt(connection.close)
    program.attempt(connection.close)
    program.write(queue.status())


def without_a_limit(program: Program) -> None:
    queue = program.pool(pool_size=1, max_overflow=-1)
    held = [program.attempt(queue.connect) for _ in range(4)]
    for connection in held:
        connection.close()
    program.write(queue.status())


def null_pool(program: Program) -> None:
    null = program.pool(pool.NullPool)
    held = [program.attempt(null.connect) for _ in range(2)]
    for connection in held:
        connection.close()
    program.write(null.status())


def static_pool(program: Program) -> None:
    static = program.pool(pool.StaticPool)
    held = [program.attempt(static.connect) for _ in range(2)]
    for connection in held:
        connection.close()
    static.dispose()
    program.attempt(static.connect)


def assertion_pool(program: Program) -> None:
    asserting = program.pool(pool.AssertionPool, store_traceback=False)
    connection = program.attempt(asserting.connect)
    program.attempt(asserting.connect)
    connection.close()
    program.attempt(asserting.connect).close()


def singleton_thread_pool(program: Program) -> None:
    single = program.pool(pool.SingletonThreadPool, pool_size=1)
    held = [program.attempt(single.connect) for _ in range(2)]
    program.write(held[0] is held[1])
    thread = threading.Thread(target=lambda: program.attempt(single.connect).close())
    thread.start()
    thread.join()
    for connection in held:
        program.attempt(connection.close)
    program.write(sorted(record.in_use for record in single._all_conns))


SCENARIOS = (
    overflow, timeout, negative_timeout, first_in_first_out, last_in_first_out, recycle, pre_ping,
    creator_that_fails, listener_that_fails, connect_listener_that_fails, detached, invalidated,
    disposed, closed_twice, without_a_limit, null_pool, static_pool, assertion_pool,
    singleton_thread_pool,
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:Double checkin:sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_watched_sqlalchemy_pool_behaves_the_same(scenario: Callable[[Program], None]) -> None:
    plain, watched = Program(watched=False), Program(watched=True)
    scenario(plain)
    scenario(watched)
    assert len(plain.seen) > 3
    assert plain.seen == watched.seen
