"""Programs around whose call of `look` a deadline stands."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio

from poolscope.callsites.deadlines import MAX_TIMERS
from support.waiting import PATIENCE

Look = Callable[[], Coroutine[Any, Any, bool]]
Program = Callable[[Look], Awaitable[Any]]


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
