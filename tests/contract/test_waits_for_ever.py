"""Who waits for a connection without a time limit is found, unless a deadline stands around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import aiohttp
import anyio
import pytest

from poolscope import Watch
from poolscope.readings.evidence import ALWAYS_JUDGED, Evidence
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE
from support.web import Server

Use = Callable[[], Awaitable[Any]]


class Patient(NamedTuple):
    """`use` takes a connection of the pool, and would wait for it for ever."""

    watch: Watch
    use: Use


@pytest.fixture(params=["asyncpg", "a method of asyncpg's pool", "aiohttp"])
async def patient(
    request: pytest.FixtureRequest, pools: Any, server: Server, watches: Watches
) -> AsyncIterator[Patient]:
    if request.param == "aiohttp":
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE)
        connector = aiohttp.TCPConnector(limit=2)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

            async def ask() -> None:
                async with session.get(f"{server.url}/now/x") as response:
                    await response.read()

            yield Patient(watches.watch(session, registry=None), ask)
        return
    pool = await pools()

    async def take() -> None:
        async with pool.acquire():
            pass

    async def fetch() -> None:
        await pool.fetchval("SELECT 1")

    use = take if request.param == "asyncpg" else fetch
    yield Patient(watches.watch(pool, registry=None), use)


def found(watch: Watch) -> bool:
    return "no-acquire-timeout" in [finding.rule for finding in watch.findings()]


async def timeout(use: Use) -> None:
    async with asyncio.timeout(PATIENCE):
        await use()


async def wait_for(use: Use) -> None:
    await asyncio.wait_for(use(), PATIENCE)


async def fail_after(use: Use) -> None:
    with anyio.fail_after(PATIENCE):
        await use()


async def timeout_around_a_group(use: Use) -> None:
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(_coroutine(use))


async def wait_for_gather(use: Use) -> None:
    await asyncio.wait_for(asyncio.gather(use(), use()), PATIENCE)


async def _coroutine(use: Use) -> None:
    await use()


DEADLINES = (timeout, wait_for, fail_after, timeout_around_a_group, wait_for_gather)


@pytest.mark.parametrize("deadline", DEADLINES, ids=lambda deadline: deadline.__name__)
async def test_only_where_there_is_no_deadline_a_line_is_found(
    patient: Patient, deadline: Callable[[Use], Awaitable[None]]
) -> None:
    watch, use = patient
    for _ in range(3):
        await deadline(use)
    assert not found(watch)
    await use()  # of the same line, which waits for ever now
    assert found(watch)


async def test_a_deadline_of_another_task_is_none(patient: Patient) -> None:
    watch, use = patient
    waiting = asyncio.create_task(timeout(asyncio.Event().wait))
    await asyncio.sleep(0)
    await use()
    waiting.cancel()
    assert found(watch)


async def test_a_deadline_that_begins_inside_is_none(pools: Any, watches: Watches) -> None:
    pool = await pools()
    watch = watches.watch(pool, registry=None)
    async with pool.acquire() as connection, asyncio.timeout(PATIENCE):
        await connection.fetchval("SELECT 1")
    assert found(watch)


class TestHowOftenAPlaceIsJudged:
    def judged(self, calls: int, verdicts: Callable[[int], bool]) -> tuple[int, bool]:
        """Return how often a place is judged that is come to so often, and whether it is known."""
        evidence = Evidence()
        asked: list[None] = []

        def judge(found: Callable[[], None]) -> None:
            asked.append(None)
            if verdicts(len(asked)):
                found()

        for _ in range(calls):
            evidence.add_at("rule", (None, 1), judge)
        return len(asked), "rule" in evidence.read()

    def test_a_place_that_is_in_order_is_judged_less_and_less_often(self) -> None:
        assert (ALWAYS_JUDGED, False) == self.judged(ALWAYS_JUDGED, lambda _: False)
        assert (ALWAYS_JUDGED + 7, False) == self.judged(1024, lambda _: False)

    def test_a_place_that_is_known_is_not_judged_again(self) -> None:
        assert (1, True) == self.judged(100, lambda _: True)
        assert (3, True) == self.judged(100, lambda number: number == 3)
