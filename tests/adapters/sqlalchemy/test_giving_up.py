"""Callers of a SQLAlchemy pool that have waited, and then fail: have they given up waiting?"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import event

from poolscope import Watch
from poolscope.watching.watches import Watches
from support.waiting import until


class Caller(threading.Thread):
    """A thread that takes a connection and returns it, and keeps the error that it gets."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        super().__init__(daemon=True)
        self.engine = engine
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.engine.connect().close()
        except BaseException as error:  # whatever the attempt has raised
            self.error = error


@pytest.fixture
def engine(sqlite: Callable[..., sqlalchemy.Engine]) -> sqlalchemy.Engine:
    return sqlite(pool_size=1, max_overflow=0, pool_timeout=30)


@pytest.fixture
def watch(engine: sqlalchemy.Engine, watches: Watches) -> Watch:
    return watches.watch(engine, "orders", registry=None)


def after_waiting(engine: sqlalchemy.Engine, watch: Watch, ready: Callable[[Any], None]) -> Any:
    """Let a caller wait, call `ready` with the connection that it waits for; return its error."""
    held = engine.connect()
    caller = Caller(engine)
    until(lambda: watch.snapshot().waiting, "a caller waits")
    ready(held)
    held.close()
    caller.join(30)
    return caller.error


def outcome(watch: Watch) -> tuple[int, int, int, int]:
    seen = watch.snapshot()
    return seen.waited, seen.gave_up, seen.timed_out, seen.failed


def test_a_caller_that_cannot_open_its_connection_has_not_given_up(
    engine: sqlalchemy.Engine, watch: Watch
) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError

    def ready(held: Any) -> None:
        event.listen(engine, "do_connect", fail)
        held.invalidate()

    assert isinstance(after_waiting(engine, watch, ready), ZeroDivisionError)
    assert (1, 0, 0, 1) == outcome(watch)


def test_a_listener_that_times_out_elsewhere_has_not_given_up(
    engine: sqlalchemy.Engine, watch: Watch
) -> None:
    """The listener asks another pool, which has no connection for it."""

    def ask_another(*args: object) -> None:
        raise sqlalchemy.exc.TimeoutError("another pool is exhausted")

    def ready(_: object) -> None:
        event.listen(engine, "checkout", ask_another)

    held = engine.connect()
    event.listen(engine, "checkout", lambda *args: None)
    held.close()
    error = after_waiting(engine, watch, ready)
    assert isinstance(error, sqlalchemy.exc.TimeoutError)
    assert (1, 0) == outcome(watch)[:2]


def test_a_pool_that_does_not_wait_has_no_caller_that_gives_up_waiting(
    sqlite: Callable[..., sqlalchemy.Engine], watches: Watches
) -> None:
    engine = sqlite(pool_size=1, max_overflow=0, pool_timeout=0)
    watch = watches.watch(engine, "orders", registry=None)
    with engine.connect(), pytest.raises(sqlalchemy.exc.TimeoutError):
        engine.connect()
    assert (0, 0, 1, 0) == outcome(watch)


def test_an_exception_that_lands_in_a_thread_that_waits(
    engine: sqlalchemy.Engine, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a signal handler, or from PyThreadState_SetAsyncExc."""

    def wait(self: object, timeout: float | None = None) -> bool:
        raise SystemExit

    held = engine.connect()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Condition, "wait", wait)
        with pytest.raises(SystemExit):
            engine.connect()
    held.close()
    assert (1, 1, 0, 0) == outcome(watch)
