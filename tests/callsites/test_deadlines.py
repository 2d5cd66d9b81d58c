"""A deadline around the caller is found in every form; what is none, is not taken for one."""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest
import uvloop

from poolscope.callsites import deadlines
from poolscope.callsites.deadlines import MAX_TIMERS, unless_deadline
from support.waiting import PATIENCE

Look = Callable[[], Coroutine[Any, Any, bool]]
Program = Callable[[Look], Awaitable[Any]]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
if sys.version_info >= (3, 12):

    def eager_loop() -> asyncio.AbstractEventLoop:
        """Return a loop whose tasks begin at once, in the middle of the one that starts them."""
        loop = asyncio.new_event_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return loop

    LOOPS["eager"] = eager_loop


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Program], Any]:
    """Runs a program with each kind of event loop; `look` says whether there is no deadline."""

    async def look() -> bool:
        found: list[bool] = []
        unless_deadline(lambda: found.append(True))
        task = asyncio.current_task()
        if task is not None and deadlines._has_begun_in_another(task):
            await asyncio.sleep(0)
        return bool(found)

    def run(program: Program) -> Any:
        async def main() -> Any:
            return await program(look)

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(main())

    return run


# With a deadline


async def timeout(look: Look) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await look()


async def timeout_at(look: Look) -> Any:
    async with asyncio.timeout_at(asyncio.get_running_loop().time() + PATIENCE):
        return await look()


async def timeout_of_nothing(look: Look) -> Any:
    """It ends the wait at once, but what needs no wait is done."""
    try:
        async with asyncio.timeout(0):
            return await look()
    except TimeoutError:
        raise AssertionError from None


async def timeout_set_later(look: Look) -> Any:
    async with asyncio.timeout(None) as limit:
        limit.reschedule(asyncio.get_running_loop().time() + PATIENCE)
        return await look()


async def old_timeout(look: Look) -> Any:
    """Of long ago: no young object of the garbage collector."""
    async with asyncio.timeout(PATIENCE):
        for _ in range(3):
            gc.collect()
            await asyncio.sleep(0)
        return await look()


async def several_timeouts(look: Look) -> Any:
    async with asyncio.timeout(PATIENCE), asyncio.timeout(None):
        return await look()


async def timeout_of_a_stack(look: Look) -> Any:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(PATIENCE))
        return await look()


async def timeout_of_a_generator(look: Look) -> Any:
    @asynccontextmanager
    async def limited() -> AsyncIterator[None]:
        async with asyncio.timeout(PATIENCE):
            yield

    async with limited():
        return await look()


async def wait_for(look: Look) -> Any:
    return await asyncio.wait_for(look(), PATIENCE)


async def wait_for_a_task(look: Look) -> Any:
    async def later() -> Any:
        await asyncio.sleep(0)
        return await look()

    return await asyncio.wait_for(asyncio.create_task(later()), PATIENCE)


async def fail_after(look: Look) -> Any:
    with anyio.fail_after(PATIENCE):
        return await look()


async def move_on_after(look: Look) -> Any:
    with anyio.move_on_after(PATIENCE):
        return await look()


async def cancelled_by_a_timer(look: Look) -> Any:
    task = asyncio.current_task()
    assert task is not None
    timer = asyncio.get_running_loop().call_later(PATIENCE, task.cancel)
    try:
        return await look()
    finally:
        timer.cancel()


async def cancelled_by_a_function(look: Look) -> Any:
    task = asyncio.current_task()

    def give_up() -> None:
        assert task is not None
        task.cancel()

    timer = asyncio.get_running_loop().call_later(PATIENCE, give_up)
    try:
        return await look()
    finally:
        timer.cancel()


async def timeout_that_gives_its_callback_the_task(look: Look) -> Any:
    """As that of async_timeout 4.0.0 to 4.0.2 does."""

    class Timeout:
        async def __aenter__(self) -> None:
            task = asyncio.current_task()
            self.timer = asyncio.get_running_loop().call_later(PATIENCE, self._on_timeout, task)

        async def __aexit__(self, *error: object) -> None:
            self.timer.cancel()

        def _on_timeout(self, task: Any) -> None:
            task.cancel()

    async with Timeout():
        return await look()


async def timeout_around_a_group(look: Look) -> Any:
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        task = group.create_task(look())
    return task.result()


async def timeout_around_gather(look: Look) -> Any:
    async with asyncio.timeout(PATIENCE):
        return (await asyncio.gather(look(), look()))[0]


async def timeout_around_a_task(look: Look) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await asyncio.create_task(look())


async def wait_for_gather(look: Look) -> Any:
    return (await asyncio.wait_for(asyncio.gather(look(), look()), PATIENCE))[0]


async def scope_around_a_group(look: Look) -> Any:
    seen = []

    async def child() -> None:
        seen.append(await look())

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(child)
    return seen[0]


async def timeout_around_a_group_of_anyio(look: Look) -> Any:
    seen = []

    async def child() -> None:
        seen.append(await look())

    async with asyncio.timeout(PATIENCE), anyio.create_task_group() as group:
        group.start_soon(child)
    return seen[0]


async def scope_around_gather(look: Look) -> Any:
    with anyio.fail_after(PATIENCE):
        return (await asyncio.gather(look(), look()))[0]


async def timeout_far_out(look: Look) -> Any:
    async def inner() -> Any:
        await asyncio.sleep(0)
        return await asyncio.create_task(look())

    async def outer() -> Any:
        await asyncio.sleep(0)
        return (await asyncio.gather(inner(), inner()))[0]

    async with asyncio.timeout(PATIENCE):
        return await asyncio.create_task(outer())


async def more_timers_than_are_searched(look: Look) -> Any:
    """Any of them might be a deadline."""
    loop = asyncio.get_running_loop()
    timers = [loop.call_later(PATIENCE, int) for _ in range(MAX_TIMERS + 1)]
    try:
        return await look()
    finally:
        for timer in timers:
            timer.cancel()


WITH = (
    *(timeout, timeout_at, timeout_of_nothing, timeout_set_later, old_timeout, several_timeouts),
    *(timeout_of_a_stack, timeout_of_a_generator, wait_for, wait_for_a_task, fail_after),
    *(move_on_after, cancelled_by_a_timer, cancelled_by_a_function, timeout_around_a_group),
    *(timeout_around_gather, timeout_around_a_task, wait_for_gather, scope_around_a_group),
    *(timeout_around_a_group_of_anyio, scope_around_gather, timeout_far_out),
    *(timeout_that_gives_its_callback_the_task, more_timers_than_are_searched),
)


@pytest.mark.parametrize("program", WITH, ids=lambda program: program.__name__)
def test_a_deadline_is_seen(run: Callable[[Program], Any], program: Program) -> None:
    assert run(program) is False


# Without one


async def nothing(look: Look) -> Any:
    return await look()


async def timeout_without_a_limit(look: Look) -> Any:
    async with asyncio.timeout(None):
        return await look()


async def timeout_before(look: Look) -> Any:
    async with asyncio.timeout(PATIENCE):
        await asyncio.sleep(0)
    return await look()


async def scope_before(look: Look) -> Any:
    with anyio.fail_after(PATIENCE):
        await asyncio.sleep(0)
    return await look()


async def scope_without_a_limit(look: Look) -> Any:
    with anyio.CancelScope():
        return await look()


async def timeout_taken_back(look: Look) -> Any:
    async with asyncio.timeout(PATIENCE) as limit:
        limit.reschedule(None)
        return await look()


async def timeout_of_another_task(look: Look) -> Any:
    async def other() -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.sleep(PATIENCE)

    task = asyncio.create_task(other())
    await asyncio.sleep(0)
    try:
        return await look()
    finally:
        task.cancel()


async def timeout_of_a_sibling(look: Look) -> Any:
    async def sibling() -> None:
        async with asyncio.timeout(PATIENCE):
            await done.wait()

    async def late() -> Any:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            return await look()
        finally:
            done.set()

    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(sibling())
        task = group.create_task(late())
    return task.result()


async def group_without_a_limit(look: Look) -> Any:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(look())
    return task.result()


async def task_without_a_limit(look: Look) -> Any:
    return await asyncio.create_task(look())


async def gather_without_a_limit(look: Look) -> Any:
    return (await asyncio.gather(look(), look()))[0]


async def wait_for_without_a_limit(look: Look) -> Any:
    return await asyncio.wait_for(look(), None)


async def sleepers(look: Look) -> Any:
    tasks = [asyncio.create_task(asyncio.sleep(PATIENCE)) for _ in range(3)]
    await asyncio.sleep(0)
    try:
        return await look()
    finally:
        for task in tasks:
            task.cancel()


class Heartbeat:
    """It knows the task, as a protocol does, but does not end it."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def beat(self) -> None: ...


async def timer_of_who_knows_the_task(look: Look) -> Any:
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    timers = [
        loop.call_later(PATIENCE, Heartbeat(task).beat),
        loop.call_later(PATIENCE, lambda: repr(task)),
        loop.call_later(PATIENCE, functools.partial(repr, task)),
    ]
    try:
        return await look()
    finally:
        for timer in timers:
            timer.cancel()


async def deadline_of_the_task_that_began_it(look: Look) -> Any:
    """It does not end the other task, which nobody waits for."""

    async def later() -> Any:
        await asyncio.sleep(0)
        return await look()

    async with asyncio.timeout(PATIENCE):
        task = asyncio.create_task(later())
        for _ in range(4):
            await asyncio.sleep(0)
    return task.result()


WITHOUT = (
    *(nothing, timeout_without_a_limit, timeout_before, scope_before, scope_without_a_limit),
    *(timeout_taken_back, timeout_of_another_task, timeout_of_a_sibling, group_without_a_limit),
    *(task_without_a_limit, gather_without_a_limit, wait_for_without_a_limit, sleepers),
    *(timer_of_who_knows_the_task, deadline_of_the_task_that_began_it),
)


@pytest.mark.parametrize("program", WITHOUT, ids=lambda program: program.__name__)
def test_what_is_no_deadline_is_not_taken_for_one(
    run: Callable[[Program], Any], program: Program
) -> None:
    assert run(program) is True


# What it costs


def test_nothing_is_kept_alive(run: Callable[[Program], Any]) -> None:
    async def program(look: Look) -> Any:
        async def limited() -> weakref.ref[Any]:
            async with asyncio.timeout(PATIENCE) as limit:
                assert await look() is False
            return weakref.ref(limit)

        gone = await asyncio.create_task(limited())
        await asyncio.sleep(0)
        return gone

    gc.collect()
    gc.disable()
    try:
        assert run(program)() is None
    finally:
        gc.enable()


def test_the_heap_is_not_searched(
    run: Callable[[Program], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what refers to few objects is asked what it refers to."""
    asked: list[int] = []
    referents = gc.get_referents

    def get_referents(*objects: object) -> list[Any]:
        found = referents(*objects)
        asked.append(len(found))
        return found

    monkeypatch.setattr(gc, "get_referents", get_referents)
    heap = [[number] for number in range(10_000)]
    assert run(timeout) is False
    assert sum(asked) < 200
    assert len(heap) == 10_000


def test_a_loop_of_another_kind_may_have_any_deadline() -> None:
    class Loop:
        """Neither asyncio's nor uvloop's."""

    assert deadlines._handles(Loop()) is None


def test_outside_of_tasks_nothing_is_said() -> None:
    async def main() -> list[bool]:
        seen: list[bool] = []
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: unless_deadline(lambda: seen.append(True)))
        await asyncio.sleep(0)
        return seen

    assert [] == asyncio.run(main())
