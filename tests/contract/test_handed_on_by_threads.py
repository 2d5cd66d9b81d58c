"""Which thread has handed a connection on to another one, and holds it no more."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from contract.test_handed_on import nested
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE

ThreadProgram = Callable[[Any, Callable[[Any], None]], None]


def submitted(engine: Any, use: Callable[[Any], None]) -> None:
    with ThreadPoolExecutor(2) as threads:
        for _ in range(2):
            threads.submit(use, engine.connect())


def submitted_by_a_variable(engine: Any, use: Callable[[Any], None]) -> None:
    with ThreadPoolExecutor(2) as threads:
        for _ in range(2):
            connection = engine.connect()
            threads.submit(use, connection)


def submitted_and_not_begun(engine: Any, use: Callable[[Any], None]) -> None:
    with ThreadPoolExecutor(1) as threads:
        until = threading.Event()
        threads.submit(until.wait, PATIENCE)
        for _ in range(2):
            threads.submit(use, engine.connect())
        until.set()


def given_to_threads(engine: Any, use: Callable[[Any], None]) -> None:
    threads = []
    for _ in range(2):
        threads.append(threading.Thread(target=use, args=(engine.connect(),)))
        threads[-1].start()
    for thread in threads:
        thread.join(PATIENCE)


def put_into_a_queue(engine: Any, use: Callable[[Any], None]) -> None:
    for kind in (queue.Queue, queue.SimpleQueue):
        dealt: Any = kind()

        def work(dealt: Any = dealt) -> None:
            use(dealt.get(timeout=PATIENCE))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in threads:
            dealt.put(engine.connect())
        for thread in threads:
            thread.join(PATIENCE)


def given_to_a_method(engine: Any, use: Callable[[Any], None]) -> None:
    class Worker(threading.Thread):
        def __init__(self, connection: Any) -> None:
            super().__init__()
            self.connection = connection

        def run(self) -> None:
            use(self.connection)

    with ExitStack() as stack:
        for _ in range(2):
            worker = Worker(engine.connect())
            worker.start()
            stack.callback(worker.join, PATIENCE)
            del worker


def results_of_jobs(engine: Any, use: Callable[[Any], None]) -> None:
    """One worker takes connections for the thread that has asked for them."""
    with ThreadPoolExecutor(1) as threads:
        jobs: list[Future[Any]] = [threads.submit(engine.connect) for _ in range(2)]
        for job in jobs:
            use(job.result(PATIENCE))


THREADS_HANDED_ON = (
    *(submitted, submitted_by_a_variable, submitted_and_not_begun, given_to_threads),
    *(put_into_a_queue, given_to_a_method, results_of_jobs),
)


def lent_to_a_thread(engine: Any, use: Callable[[Any], None]) -> None:
    until = threading.Event()

    def borrow(_: Any) -> None:
        until.wait(PATIENCE)

    with ThreadPoolExecutor(1) as threads:
        held = engine.connect()
        threads.submit(borrow, held)
        another = engine.connect()
        until.set()
    use(held)
    use(another)


def in_a_block(engine: Any, use: Callable[[Any], None]) -> None:
    @contextmanager
    def connection() -> Iterator[None]:
        held = engine.connect()
        yield
        use(held)

    with connection(), connection():
        pass


def of_the_thread(engine: Any, use: Callable[[Any], None]) -> None:
    """As a scoped session: no variable has it."""
    registry = threading.local()
    registry.held = engine.connect()
    another = engine.connect()
    use(registry.held)
    use(another)


THREADS_KEPT = (lent_to_a_thread, in_a_block, of_the_thread)


class TestThreads:
    @pytest.mark.parametrize(
        ("program", "expected"),
        [
            *((program, (0, False)) for program in THREADS_HANDED_ON),
            *((program, (1, True)) for program in THREADS_KEPT),
        ],
        ids=lambda value: getattr(value, "__name__", None),
    )
    def test_who_has_handed_a_connection_on_does_not_nest(
        self, sqlite: Any, watches: Watches, program: ThreadProgram, expected: tuple[int, bool]
    ) -> None:
        watch = watches.watch(engine := sqlite(pool_size=2, max_overflow=0), registry=None)
        both = threading.Event()

        def use(connection: Any) -> None:
            if watch.snapshot().acquired >= 2:
                both.set()
            both.wait(PATIENCE)
            connection.close()

        def connect() -> Any:
            connection = engine.connect()
            if watch.snapshot().acquired >= 2:
                both.set()
            return connection

        program(_Engine(connect), use)
        assert expected == nested(watch)


class _Engine:
    def __init__(self, connect: Callable[[], Any]) -> None:
        self.connect = connect


def test_a_thread_that_waits_for_a_slot_it_has_handed_on(sqlite: Any, watches: Watches) -> None:
    """It waits for the other threads, not for itself."""
    watch = watches.watch(engine := sqlite(pool_size=2, max_overflow=0), registry=None)

    def use(connection: Any) -> None:
        # Nobody else ends the wait.
        while watch.snapshot().waiting < 1 and watch.snapshot().acquired < 4:
            until.wait(0.001)
        connection.close()

    until = threading.Event()
    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(partial(use, engine.connect()))
    assert (0, False) == nested(watch)
