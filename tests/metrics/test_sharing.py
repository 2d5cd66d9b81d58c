"""One rendering at a time, shared by all who wait for it: counted, never timed."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import httpx
import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

import poolscope
from poolscope.metrics.sharing import MOST_WAITING, BusyError, Outcome, Shared
from support.waiting import PATIENCE, eventually, until

SCRAPERS: Final = 20


class Gate:
    """Work that counts how often it begins, and that goes on only if it is let."""

    def __init__(self) -> None:
        self.begun = 0
        self.running = 0
        self.most_running = 0
        self.fails: BaseException | None = None
        self._lock = threading.Lock()
        self._let = threading.Semaphore(0)

    def __call__(self) -> int:
        with self._lock:
            self.begun += 1
            number = self.begun
            self.running += 1
            self.most_running = max(self.running, self.most_running)
        try:
            if not self._let.acquire(timeout=PATIENCE):
                raise TimeoutError
        finally:
            with self._lock:
                self.running -= 1
        if self.fails is not None:
            raise self.fails
        return number

    def let(self, times: int = 1) -> None:
        self._let.release(times)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.let(1000)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(SCRAPERS + MOST_WAITING + 2) as threads:
        yield threads


def waiters(shared: Shared[Any]) -> int:
    """Return how many wait for work that has not begun."""
    return sum(len(job.waiters) for job in list(shared._line().waiting.values()))


def first(threads: ThreadPoolExecutor, shared: Shared[int], gate: Gate) -> Future[int]:
    """Begin work, and return its result, which comes when the gate lets it."""
    running = threads.submit(shared.result, "all", gate)
    until(lambda: gate.begun == 1, "the first begins")
    return running


def test_all_who_ask_meanwhile_share_the_next_one(threads: ThreadPoolExecutor, gate: Gate) -> None:
    shared: Shared[int] = Shared()
    running = first(threads, shared, gate)
    others = [threads.submit(shared.result, "all", gate) for _ in range(SCRAPERS)]
    until(lambda: waiters(shared) == SCRAPERS, "all wait")
    gate.let(2)
    assert (1, [2] * SCRAPERS) == (running.result(), [other.result() for other in others])
    assert (2, 1) == (gate.begun, gate.most_running)
    gate.let()
    assert 3 == shared.result("all", gate)


def test_different_work_is_done_one_after_the_other(
    threads: ThreadPoolExecutor, gate: Gate
) -> None:
    shared: Shared[int] = Shared()
    running = first(threads, shared, gate)
    others = [threads.submit(shared.result, number % 5, gate) for number in range(SCRAPERS)]
    until(lambda: waiters(shared) == SCRAPERS, "all wait")
    gate.let(6)
    results = {running.result(), *(other.result() for other in others)}
    assert ({1, 2, 3, 4, 5, 6}, 6, 1) == (results, gate.begun, gate.most_running)


def test_an_error_reaches_all_who_wait(threads: ThreadPoolExecutor, gate: Gate) -> None:
    shared: Shared[int] = Shared()
    running = first(threads, shared, gate)
    others = [threads.submit(shared.result, "all", gate) for _ in range(SCRAPERS)]
    until(lambda: waiters(shared) == SCRAPERS, "all wait")
    gate.fails = ZeroDivisionError("of a collector")
    gate.let(2)
    for each in (running, *others):
        with pytest.raises(ZeroDivisionError, match="of a collector"):
            each.result()
    assert 2 == gate.begun
    gate.fails = None
    gate.let()
    assert 3 == shared.result("all", gate)


def test_the_traceback_does_not_grow_with_each_who_gets_the_error() -> None:
    outcome: Outcome[int] = Outcome(None, ZeroDivisionError("of a collector"))
    depths = set()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError) as raised:
            outcome.get()
        depths.add(len(raised.traceback))
    assert {2} == depths


class Interrupted(BaseException):
    """As KeyboardInterrupt, and the exceptions that end a greenlet."""


def test_a_thread_that_is_interrupted_takes_nothing_from_the_others(
    threads: ThreadPoolExecutor, gate: Gate
) -> None:
    shared: Shared[int] = Shared()
    running = first(threads, shared, gate)
    interrupted = threads.submit(shared.result, "all", gate)
    until(lambda: waiters(shared) == 1, "it waits")
    others = [threads.submit(shared.result, "all", gate) for _ in range(SCRAPERS)]
    until(lambda: waiters(shared) == SCRAPERS + 1, "all wait")
    gate.let()
    assert 1 == running.result()
    until(lambda: gate.begun == 2, "it does the work of all")
    gate.fails = Interrupted()
    gate.let()
    with pytest.raises(Interrupted):
        interrupted.result()
    gate.fails = None
    gate.let()
    assert [3] * SCRAPERS == [other.result() for other in others]


def test_only_so_many_selections_may_wait(
    threads: ThreadPoolExecutor, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: Shared[int] = Shared()
    running = first(threads, shared, gate)

    def select(number: int) -> int:
        return shared.result(number, gate, limited=True)

    selections = [threads.submit(select, number) for number in range(MOST_WAITING)]
    until(lambda: waiters(shared) == MOST_WAITING, "all wait")
    with pytest.raises(BusyError):
        select(MOST_WAITING)
    again = threads.submit(select, 0)
    whole = threads.submit(shared.result, "all", gate)
    until(lambda: waiters(shared) == MOST_WAITING + 2, "these may")
    gate.let(MOST_WAITING + 2)
    results = [each.result() for each in (running, *selections, again, whole)]
    assert set(range(1, MOST_WAITING + 3)) == set(results)
    gate.let()
    assert MOST_WAITING + 3 == select(MOST_WAITING)


def rendering_threads() -> int:
    return sum(thread.name == "poolscope-metrics" for thread in threading.enumerate())


async def test_tasks_share_one_thread(gate: Gate) -> None:
    from poolscope.metrics.awaiting import shared_result

    shared: Shared[int] = Shared()
    until(lambda: not rendering_threads(), "those of other tests have ended")
    running = asyncio.create_task(shared_result(shared, "all", gate))
    await eventually(1, lambda: gate.begun)
    others = [asyncio.create_task(shared_result(shared, "all", gate)) for _ in range(SCRAPERS)]
    await eventually(SCRAPERS, lambda: waiters(shared))
    assert 1 == rendering_threads()
    # One that goes away takes nothing from the others, not even if it is the first.
    running.cancel()
    others[0].cancel()
    await asyncio.gather(running, others[0], return_exceptions=True)
    gate.let(2)
    assert [2] * (SCRAPERS - 1) == await asyncio.gather(*others[1:])
    await eventually(0, rendering_threads)


async def test_what_nobody_waits_for_any_more_is_not_begun(gate: Gate) -> None:
    from poolscope.metrics.awaiting import shared_result

    shared: Shared[int] = Shared()
    running = asyncio.create_task(shared_result(shared, "all", gate))
    await eventually(1, lambda: gate.begun)
    gone = [
        asyncio.create_task(shared_result(shared, number, gate, limited=True))
        for number in range(MOST_WAITING)
    ]
    await eventually(MOST_WAITING, lambda: waiters(shared))
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    last = asyncio.create_task(shared_result(shared, "last", gate, limited=True))
    gate.let(2)
    assert (1, 2) == (await running, await last)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("a value")])
async def test_a_task_gets_what_ends_the_thread(gate: Gate, error: BaseException) -> None:
    from poolscope.metrics.awaiting import shared_result

    shared: Shared[int] = Shared()
    gate.fails = error
    gate.let()
    with pytest.raises((RuntimeError, ValueError), match=r"SystemExit|Keyboard|a value"):
        await shared_result(shared, "all", gate)
    gate.fails = None
    gate.let()
    assert 2 == await shared_result(shared, "all", gate)


async def test_where_no_thread_can_be_started_it_is_tried_again(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from poolscope.metrics.awaiting import shared_result

    class NoThread:
        def __init__(self, **_: Any) -> None:
            raise RuntimeError("can't start new thread")

    shared: Shared[int] = Shared()
    gate.let()
    with monkeypatch.context() as patched:
        patched.setattr("poolscope.metrics.sharing.threading.Thread", NoThread)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await shared_result(shared, "all", gate)
    assert (0, 1) == (waiters(shared), await shared_result(shared, "all", gate))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_waits_for_nothing_of_its_parent(
    threads: ThreadPoolExecutor, gate: Gate
) -> None:
    shared: Shared[int] = Shared()
    running = first(threads, shared, gate)
    child = os.fork()
    if child == 0:
        # The parent's thread, which has the turn, does not exist here.
        signal.alarm(int(PATIENCE))
        os._exit(shared.result("all", lambda: 42))
    assert 42 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    gate.let()
    assert 1 == running.result()


class Counting(Collector):
    """A collector whose work is a gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def collect(self) -> Iterable[Metric]:
        metric = Metric("collected", "How often", "gauge")
        metric.add_sample("collected", {}, float(self._gate()))
        return [metric]

    def describe(self) -> Iterable[Metric]:
        return [Metric("collected", "How often", "gauge")]


@pytest.fixture
def registry(gate: Gate) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Counting(gate))
    return registry


Scrape = Callable[[str], httpx.Response]


@pytest.fixture(params=["server", "wsgi", "asgi"])
def scrape(request: pytest.FixtureRequest, registry: CollectorRegistry) -> Iterator[Scrape]:
    """Scrapes one of the ways in which a service serves its metrics, in the calling thread."""
    if request.param == "server":
        server, _ = poolscope.start_http_server(0, registry=registry)
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        yield lambda query: httpx.get(url + query, timeout=PATIENCE)
        server.shutdown()
    elif request.param == "wsgi":
        wsgi = httpx.WSGITransport(poolscope.make_wsgi_app(registry))
        client = httpx.Client(transport=wsgi, base_url="http://shop")
        yield lambda query: client.get(f"/metrics{query}")
    else:
        asgi = httpx.ASGITransport(poolscope.make_asgi_app(registry))

        async def get(query: str) -> httpx.Response:
            async with httpx.AsyncClient(transport=asgi, base_url="http://shop") as client:
                return await client.get(f"/metrics{query}")

        yield lambda query: asyncio.run(get(query))


def test_many_scrapers_cost_two_renderings(
    scrape: Scrape, registry: CollectorRegistry, threads: ThreadPoolExecutor, gate: Gate
) -> None:
    from poolscope.metrics.responses import _shared

    running = threads.submit(scrape, "")
    until(lambda: gate.begun == 1, "the first is rendered")
    others = [threads.submit(scrape, "") for _ in range(SCRAPERS)]
    selections = [threads.submit(scrape, "?name[]=collected") for _ in range(3)]
    until(lambda: waiters(_shared[registry]) == SCRAPERS + 3, "all wait")
    gate.let(3)
    assert running.result().text.endswith("collected 1.0\n")
    answers = {each.result().text.split()[-1] for each in others}
    selected = {each.result().text.split()[-1] for each in selections}
    assert {"2.0", "3.0"} == answers | selected
    assert (1, 1, 3, 1) == (len(answers), len(selected), gate.begun, gate.most_running)


def test_too_many_selections_are_told_to_come_again(
    scrape: Scrape, registry: CollectorRegistry, threads: ThreadPoolExecutor, gate: Gate
) -> None:
    from poolscope.metrics.responses import _shared

    running = threads.submit(scrape, "")
    until(lambda: gate.begun == 1, "the first is rendered")
    queries = [f"?name[]=collected&name[]={number}" for number in range(MOST_WAITING)]
    selections = [threads.submit(scrape, query) for query in queries]
    until(lambda: waiters(_shared[registry]) == MOST_WAITING, "all wait")
    refused = scrape("?name[]=one-more")
    assert (503, "1") == (refused.status_code, refused.headers["Retry-After"])
    gate.let(MOST_WAITING + 1)
    assert {200} == {each.result().status_code for each in (running, *selections)}
