"""A hold remembers the operation that its connection was taken for, whatever the kind of pool."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import poolscope
from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.callsites.operations import Background, Box, Operation, current_box
from poolscope.errors import internal_errors
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.operations import FailingOperation, RoutedOperation
from support.waiting import eventually

SECONDS = "connpool_in_use_seconds_total"
OPERATION_SECONDS = "connpool_operation_in_use_seconds_total"
OPERATION_CONNECTIONS = "connpool_operation_connections"

pytestmark = pytest.mark.filterwarnings(
    # Warnings of SQLAlchemy and aiohttp about a connection that was dropped.
    "ignore:The garbage collector is trying:sqlalchemy.exc.SAWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture
def watch(pool: PoolUnderTest, watches: Watches) -> Watch:
    return watches.watch(pool.target, registry=None)


def operations(watch: Watch) -> list[str | None]:
    """Return what each connection in use is for, the longest hold first."""
    return [hold.operation for hold in watch.holders()]


async def take_in(pool: PoolUnderTest, operation: Operation) -> Any:
    """Take a connection in a task whose context has a box with the operation."""

    async def take() -> Any:
        box: Box = [operation]
        current_box.set(box)
        return await pool.acquire()

    return await asyncio.create_task(take())


async def test_the_innermost_operation_is_what_a_connection_is_for(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    for _ in range(2):  # the first round opens connections, the second reuses them
        with poolscope.operation("nightly report"):
            outer = await pool.acquire()
            clock.advance(1.0)
            async with poolscope.operation("the report's totals"):
                inner = await pool.acquire()
            assert ["nightly report", "the report's totals"] == operations(watch)
            await pool.release(inner)
            again = await pool.acquire()
        assert ["nightly report", "nightly report"] == operations(watch)
        await pool.release(outer)
        await pool.release(again)
        nobodys = await pool.acquire()
        assert [None] == operations(watch)
        await pool.release(nobodys)


async def test_tasks_that_begin_inside_inherit_it(pool: PoolUnderTest, watch: Watch) -> None:
    go_on = asyncio.Event()

    async def take_later() -> Any:
        await go_on.wait()
        return await pool.acquire()

    with poolscope.operation("nightly report"):
        taking = asyncio.create_task(take_later())
    go_on.set()
    taken = await taking
    assert ["nightly report"] == operations(watch)
    await pool.release(taken)


async def test_one_that_waits_for_a_connection_takes_it_for_its_own_operation(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    with poolscope.operation("the first"):
        first, second = [await pool.acquire() for _ in range(2)]

    @poolscope.operation("the one that waits")
    async def take() -> Any:
        return await pool.acquire()

    taking = asyncio.create_task(take())
    await eventually(1, lambda: watch.snapshot().waiting)
    clock.advance(1.0)
    with poolscope.operation("the one that returns it"):
        await pool.release(first)
    taken = await taking
    assert ["the first", "the one that waits"] == operations(watch)
    await pool.release(second)
    await pool.release(taken)


async def test_a_name_that_is_found_late_is_shown_from_then_on(
    pool: PoolUnderTest, watch: Watch
) -> None:
    for _ in range(2):
        request = RoutedOperation()
        taken = await take_in(pool, request)
        assert [None] == operations(watch)
        request.route = "GET /orders/{id}"
        assert ["GET /orders/{id}"] == operations(watch)
        await pool.release(taken)


async def test_what_is_taken_after_the_answer_is_for_the_background(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    request = RoutedOperation("GET /orders/{id}")
    box: Box = [request]
    answered = asyncio.Event()

    async def handle() -> list[Any]:
        current_box.set(box)
        before = await pool.acquire()
        await answered.wait()
        return [before, await pool.acquire()]

    handling = asyncio.create_task(handle())
    await eventually(1, lambda: len(operations(watch)))
    clock.advance(1.0)
    box[0] = Background(request)
    answered.set()
    taken = await handling
    assert ["GET /orders/{id}", "background: GET /orders/{id}"] == operations(watch)
    for connection in taken:
        await pool.release(connection)


@pytest.mark.makes_hooks_fail
@pytest.mark.parametrize("error", [RuntimeError("no route"), Exception("no route")])
async def test_a_name_that_cannot_be_found_is_none_and_an_internal_error(
    pool: PoolUnderTest, watch: Watch, error: Exception
) -> None:
    before = internal_errors.count
    taken = await take_in(pool, FailingOperation(error))
    assert [None] == operations(watch)
    assert before < internal_errors.count
    await pool.release(taken)
    assert 0 == watch.snapshot().in_use


async def test_any_name_is_shown_in_one_line_of_bounded_length(
    pool: PoolUnderTest, watch: Watch
) -> None:
    for name in ("a\nb\udc80", "x" * 1_000_000):
        with poolscope.operation(name):
            taken = await pool.acquire()
        (shown,) = operations(watch)
        assert shown is not None
        assert (True, True) == (len(shown) <= 120, shown.isprintable())
        await pool.release(taken)


async def test_a_connection_that_its_operation_refers_to_is_still_found_abandoned(
    pool: PoolUnderTest, watch: Watch
) -> None:
    """Frameworks keep what an endpoint puts aside in the scope of its request."""
    request = RoutedOperation("GET /orders/{id}")
    request.scope["state"] = await take_in(pool, request)
    request.end()
    del request

    def lost() -> tuple[int, int]:
        gc.collect()
        return watch.snapshot().abandoned, watch.snapshot().leaks_abandoned

    await eventually((int(pool.keeps), 1), lost)
    assert ["GET /orders/{id}"] * pool.keeps == operations(watch)


def samples(registry: CollectorRegistry, name: str) -> dict[str, float]:
    """Return the samples of a family by operation, "" for none."""
    return {
        sample.labels.get("operation", ""): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == name
    }


async def test_connections_and_their_seconds_are_counted_by_operation(
    pool: PoolUnderTest, watches: Watches, clock: FakeClock
) -> None:
    """Also when the watch has ended and begun again, and when the pool was closed."""
    registry = CollectorRegistry()
    watch = watches.watch(pool.target, registry=registry)
    assert {} == samples(registry, OPERATION_CONNECTIONS) == samples(registry, OPERATION_SECONDS)
    for turn in range(3):
        with poolscope.operation("nightly report"):
            first = await pool.acquire()
        clock.advance(1.0)
        with poolscope.operation(f"mails {turn}"):
            second = await pool.acquire()
        clock.advance(2.0)
        if turn < 2:
            await pool.release(first)
            await pool.release(second)
    seconds = {"mails 0": 2.0, "mails 1": 2.0, "mails 2": 2.0, "nightly report": 9.0}
    in_use = {"mails 0": 0, "mails 1": 0, "mails 2": 1, "nightly report": 1}
    assert seconds == samples(registry, OPERATION_SECONDS)
    assert in_use == samples(registry, OPERATION_CONNECTIONS)
    assert {"": 15.0} == samples(registry, SECONDS)
    await pool.release(first)
    await pool.release(second)
    watch.unwatch()
    assert {} == samples(registry, OPERATION_SECONDS)
    watches.watch(pool.target, registry=registry)
    clock.advance(1.0)
    assert seconds == samples(registry, OPERATION_SECONDS)
    await pool.close()
    assert seconds == samples(registry, OPERATION_SECONDS)


async def test_what_is_no_operation_is_not_counted_by_operation(
    pool: PoolUnderTest, watches: Watches, clock: FakeClock
) -> None:
    registry = CollectorRegistry()
    watches.watch(pool.target, registry=registry)
    taken = await pool.acquire()
    clock.advance(1.0)
    assert {"": 1.0} == samples(registry, SECONDS)
    assert {} == samples(registry, OPERATION_CONNECTIONS) == samples(registry, OPERATION_SECONDS)
    await pool.release(taken)


async def test_a_hold_that_was_folded_keeps_no_operation_alive(
    pool: PoolUnderTest, watch: Watch
) -> None:
    # A connection keeps the context in which it was opened, with all that is in it.
    await pool.release(await pool.acquire())
    request = RoutedOperation("GET /orders/{id}")
    gone = weakref.ref(request)
    await pool.release(await take_in(pool, request))
    watch.snapshot()
    del request

    def is_gone() -> bool:
        gc.collect()
        return gone() is None

    await eventually(True, is_gone)
