"""A deadline around the caller is found in every form; what is none, is not taken for one."""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import uvloop

from callsites.deadline_programs import WITH, Look, Program, timeout
from poolscope.callsites import deadlines
from poolscope.callsites.deadlines import unless_deadline
from support.waiting import PATIENCE

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
