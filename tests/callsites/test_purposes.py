"""Inside of which code connections are held on purpose."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

import poolscope
from poolscope.callsites.purposes import current_block, is_on_purpose


@pytest.fixture(autouse=True)
def outside() -> Iterator[None]:
    """Nothing is left of a block after a test."""
    yield
    assert not is_on_purpose()


def test_blocks_may_be_nested() -> None:
    again = poolscope.held_on_purpose()
    with again:
        with again, poolscope.held_on_purpose():
            assert is_on_purpose()
        assert is_on_purpose()
    assert not is_on_purpose()
    with again:
        assert is_on_purpose()


def test_an_error_ends_the_block_and_passes() -> None:
    with pytest.raises(ZeroDivisionError), poolscope.held_on_purpose():
        raise ZeroDivisionError
    assert not is_on_purpose()


async def test_it_is_an_async_context_manager_too() -> None:
    async with poolscope.held_on_purpose():
        assert is_on_purpose()
        await asyncio.sleep(0)
        assert is_on_purpose()
    assert not is_on_purpose()


async def test_it_decorates_functions_and_coroutines() -> None:
    @poolscope.held_on_purpose()
    def ask(what: str) -> tuple[str, bool]:
        """Ask."""
        return what, is_on_purpose()

    @poolscope.held_on_purpose()
    async def wait(what: str) -> tuple[str, bool]:
        await asyncio.sleep(0)
        return what, is_on_purpose()

    assert ("a", True) == ask("a")
    assert ("ask", "Ask.") == (ask.__name__, ask.__doc__)
    waiting = wait("b")
    assert not is_on_purpose()
    assert [("b", True), ("c", True)] == list(await asyncio.gather(waiting, wait("c")))


def test_it_does_not_decorate_generators() -> None:
    def generate() -> Iterator[None]:
        yield

    async def generate_async() -> AsyncIterator[None]:
        yield

    for generator in (generate, generate_async):
        with pytest.raises(TypeError, match="in a generator, write `with"):
            poolscope.held_on_purpose()(generator)


async def test_tasks_and_thread_jobs_that_begin_inside_are_inside_while_it_is_open() -> None:
    go_on = asyncio.Event()

    async def task() -> tuple[bool, bool, bool]:
        first = is_on_purpose()
        await go_on.wait()
        with poolscope.held_on_purpose():
            in_its_own = is_on_purpose()
        return first, in_its_own, is_on_purpose()

    with poolscope.held_on_purpose():
        with poolscope.held_on_purpose():
            inner = asyncio.create_task(task())
            assert await asyncio.to_thread(is_on_purpose)
            await asyncio.sleep(0)
        outer = asyncio.create_task(task())
        await asyncio.sleep(0)
    assert not await asyncio.to_thread(is_on_purpose)
    go_on.set()
    assert [(True, True, False)] * 2 == list(await asyncio.gather(inner, outer))


async def test_other_tasks_and_threads_are_outside() -> None:
    answers: list[bool] = []
    go_on, done = asyncio.Event(), asyncio.Event()

    async def look() -> None:
        await go_on.wait()
        answers.append(is_on_purpose())
        done.set()

    looking = asyncio.create_task(look())
    with poolscope.held_on_purpose():
        go_on.set()
        await done.wait()
        context = contextvars.Context()
        thread = threading.Thread(target=context.run, args=(look_here, answers))
        thread.start()
        thread.join()
    await looking
    assert [False, False] == answers


def look_here(answers: list[bool]) -> None:
    answers.append(is_on_purpose())


def test_a_block_may_end_in_another_context_than_it_began_in() -> None:
    """As one in a generator does whose steps run in several contexts."""
    block, first, second = poolscope.held_on_purpose(), *map(_copy, range(2))
    first.run(block.__enter__)
    assert first.run(is_on_purpose)
    second.run(functools.partial(block.__exit__, None, None, None))
    assert not first.run(is_on_purpose)
    assert not second.run(is_on_purpose)


def _copy(_: int) -> contextvars.Context:
    return contextvars.copy_context()


async def test_tasks_that_each_begin_the_next_one_inside_keep_no_blocks() -> None:
    depth = 0

    async def again(remaining: int) -> None:
        nonlocal depth
        with poolscope.held_on_purpose():
            block, depth = current_block.get(), 0
            while block is not None:
                block, depth = block.outer, depth + 1
            following = asyncio.create_task(again(remaining - 1)) if remaining else None
            await asyncio.sleep(0)
        if following is not None:
            await following

    await again(20)
    assert depth <= 3
