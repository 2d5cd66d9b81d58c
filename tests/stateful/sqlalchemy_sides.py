"""Threads and tasks: the two ways of using SQLAlchemy's engines, and those who use them."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol

import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.event import attr
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import await_only, greenlet_spawn

from poolscope.demo.postgres import EmbeddedPostgres
from stateful.deadlines import Deadline
from support.waiting import PATIENCE


def until(
    condition: Callable[[], bool],
    step: Callable[[], None],
    state: Callable[[], object] = lambda: "",
) -> None:
    """Take steps until the condition is true; fail with the state if it never is."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, state()
        step()


class Gate(Protocol):
    """Blocks a caller that is connecting until the gate is set."""

    def set(self) -> None: ...


class Caller(Protocol):
    """A background caller that asks for a connection."""

    def done(self) -> bool: ...

    def cancel(self) -> object: ...

    def result(self) -> Any:
        """Return what the call returned, or raise what it raised."""


@dataclass(eq=False)
class Held:
    """
    A connection that a caller holds.

    stuck: returning it has failed.
    """

    connection: Any
    since: float
    stuck: bool = False

    def proxied(self) -> Any:
        connection = self.connection
        return connection._dbapi_connection if isinstance(connection, Connection) else connection

    def record(self) -> Any:
        """Return the record of the pool, if it has an open connection."""
        proxied = self.proxied()
        record = proxied._connection_record if proxied is not None else None
        return record if record is not None and record.dbapi_connection is not None else None


@dataclass(eq=False)
class Background:
    """A background caller that waits in the queue, or at a gate while it connects."""

    caller: Caller
    pool: weakref.ref[Any]
    since: float
    gate: Gate | None = None


@dataclass
class AtGates:
    """The gates of callers, and the callers that wait there; `refused`: their connect fails."""

    next: Gate | None = None
    here: list[Gate] = field(default_factory=list)
    refused: list[Gate] = field(default_factory=list)


class Side(Protocol):
    cancels: ClassVar[bool]
    """Whether a caller can be cancelled."""
    finishes: ClassVar[bool]
    """Whether a connection that is collected is closed on the server."""

    target: Any
    """The object that is watched."""
    engine: sqlalchemy.Engine

    def run(self, call: Callable[[], Any]) -> Any: ...

    def start(self, call: Callable[[], Any]) -> Caller: ...

    def start_by(self, deadline: Deadline, call: Callable[[], Any]) -> Caller:
        """Start a caller that is cancelled at a deadline, where callers can be cancelled."""

    def gate(self) -> Gate: ...

    def stay_at(self, gate: Any) -> None:
        """Block the caller, in its own thread or greenlet."""

    def step(self) -> None:
        """Let other callers run."""

    def blocked(self, pool: Any) -> int:
        """Return how many callers are in the queue of a pool."""

    def records(self, pool: Any) -> list[Any]:
        """Return the records in the queue of a pool."""

    def pid(self, connection: Any) -> int:
        """Return the process id of a DBAPI connection's backend."""

    def close(self) -> None: ...


class ThreadCaller:
    """A caller in its own thread; once done, nothing of it refers to the connection."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call: Callable[[], Any] | None = call
        self._result: Any = None
        self._error: type[BaseException] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        assert self._call is not None
        try:
            self._result = self._call()
        except Exception as error:
            # Not the error itself, whose traceback would keep the connection.
            self._error = type(error)
        self._call = None

    def done(self) -> bool:
        return not self._thread.is_alive()

    def cancel(self) -> None:
        raise NotImplementedError

    def result(self) -> Any:
        if self._error is sqlalchemy.exc.TimeoutError:
            raise sqlalchemy.exc.TimeoutError
        if self._error is not None:
            raise RuntimeError(self._error)
        return self._result


class Threads:
    """An `Engine`, with psycopg."""

    cancels: ClassVar = False
    finishes: ClassVar = True

    def __init__(self, postgres: EmbeddedPostgres, application: str, **options: Any) -> None:
        self.target: Any = sqlalchemy.create_engine(
            postgres.sqlalchemy_url("psycopg"),
            connect_args={"application_name": application},
            **options,
        )
        self.engine: sqlalchemy.Engine = self.target

    def run(self, call: Callable[[], Any]) -> Any:
        return call()

    def start(self, call: Callable[[], Any]) -> Caller:
        return ThreadCaller(call)

    def start_by(self, deadline: Deadline, call: Callable[[], Any]) -> Caller:
        raise NotImplementedError

    def gate(self) -> Gate:
        return threading.Event()

    def stay_at(self, gate: Any) -> None:
        gate.wait()

    def step(self) -> None:
        time.sleep(0)

    def blocked(self, pool: Any) -> int:
        return len(pool._pool.not_empty._waiters)

    def records(self, pool: Any) -> list[Any]:
        return list(pool._pool.queue)

    def pid(self, connection: Any) -> int:
        return int(connection.info.backend_pid)

    def close(self) -> None:
        """Do nothing: the threads have ended."""


class Tasks:
    """
    An `AsyncEngine`, with asyncpg.

    It runs the calls of its `Engine` in a greenlet, and so does the machine.
    """

    cancels: ClassVar = True
    finishes: ClassVar = False

    def __init__(self, postgres: EmbeddedPostgres, application: str, **options: Any) -> None:
        self._loop: Final = asyncio.new_event_loop()
        self.target: Any = create_async_engine(
            postgres.sqlalchemy_url("asyncpg"),
            connect_args={"server_settings": {"application_name": application}},
            **options,
        )
        self.engine: sqlalchemy.Engine = self.target.sync_engine

    def run(self, call: Callable[[], Any]) -> Any:
        return self._loop.run_until_complete(greenlet_spawn(call))

    def start(self, call: Callable[[], Any]) -> Caller:
        return self._loop.create_task(greenlet_spawn(call))

    def start_by(self, deadline: Deadline, call: Callable[[], Any]) -> Caller:
        return self._loop.create_task(deadline(greenlet_spawn(call)))

    def gate(self) -> Gate:
        return asyncio.Event()

    def stay_at(self, gate: Any) -> None:
        await_only(gate.wait())

    def step(self) -> None:
        self._loop.run_until_complete(asyncio.sleep(0))

    def blocked(self, pool: Any) -> int:
        getters = pool._pool._queue._getters
        return sum(not getter.done() for getter in getters)

    def records(self, pool: Any) -> list[Any]:
        return list(pool._pool._queue._queue)

    def pid(self, connection: Any) -> int:
        return int(connection.driver_connection.get_server_pid())

    def close(self) -> None:
        """Wait until the loop knows that all connections are closed, and close it."""
        # Only the pipe of the event loop itself is left in the selector.
        selector = self._loop._selector  # type: ignore[attr-defined]
        until(lambda: len(selector.get_map()) == 1, self.step)
        self.step()  # in which the sockets are closed
        self._loop.close()


# Before 2.0.25, the lock around a pool's first connection is one of threads: two tasks that come
# to it at the same time stop the loop for ever.
ASYNC_IS_SAFE: Final = "_is_asyncio" in attr._CompoundListener.__slots__
SIDES: Final = (Threads, Threads, Tasks) if ASYNC_IS_SAFE else (Threads,)
