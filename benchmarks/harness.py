"""
Measures several variants side by side, so that other work on the machine affects all of them.

A round runs each variant for a few milliseconds, in random order; there are many rounds. The best
rounds are compared, which other work has not disturbed.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple

ROUND_SECONDS: Final = 0.002
"""How long each variant runs in a round."""

FEWEST_ROUNDS: Final = 20

WARM_UP: Final = 200
"""Cycles of each variant before the first round: Python specializes code that has run."""

Timings = dict[str, dict[str, list[float]]]
"""By `cpu` and `wall`, then by variant: the microseconds of a cycle in each round."""


def nothing() -> None:
    """Do nothing before or after a round."""


class Variant(NamedTuple):
    """
    One of the ways that are compared.

    run: runs that many cycles; returns an awaitable if it is asynchronous.
    begin, end: called before and after each round, and not measured, for changes to the whole
        process.
    """

    name: str
    run: Callable[[int], Awaitable[None] | None]
    begin: Callable[[], None] = nothing
    end: Callable[[], None] = nothing


def cycles(function: Callable[[], object]) -> Callable[[int], None]:
    """Return a function that calls `function` a given number of times."""

    def run(number: int) -> None:
        for _ in range(number):
            function()

    return run


def async_cycles(function: Callable[[], Awaitable[object]]) -> Callable[[int], Awaitable[None]]:
    """Return a function that awaits `function` a given number of times, one after the other."""

    async def run(number: int) -> None:
        for _ in range(number):
            await function()

    return run


def interleave(
    variants: Sequence[Variant],
    seconds: float,
    least: int = 20,
    warm_up: int = WARM_UP,
    fewest_rounds: int = FEWEST_ROUNDS,
) -> Timings:
    """Measure for about `seconds`; a round has at least `least` cycles of each variant."""
    measuring: Coroutine[None, None, Timings] = interleave_async(
        variants, seconds, least, warm_up, fewest_rounds
    )
    # Without an event loop, so that no caller is a task. Nothing waits, so one step completes it.
    try:
        measuring.send(None)
    except StopIteration as ended:
        timings: Timings = ended.value
        return timings
    raise TypeError("a variant is asynchronous: use interleave_async")


async def interleave_async(
    variants: Sequence[Variant],
    seconds: float,
    least: int = 20,
    warm_up: int = WARM_UP,
    fewest_rounds: int = FEWEST_ROUNDS,
) -> Timings:
    """Like `interleave`, in the running event loop."""
    order = list(variants)
    shuffle = random.Random(1).shuffle  # noqa: S311 - no secret
    timings: Timings = {
        clock: {variant.name: [] for variant in variants} for clock in ("cpu", "wall")
    }
    number = await _warm_up(variants, least, warm_up)
    gc.collect()
    gc.freeze()
    rounds, until = 0, time.perf_counter() + seconds
    while rounds < fewest_rounds or time.perf_counter() < until:
        shuffle(order)
        for variant in order:
            cpu, wall = await _measured(variant, number)
            timings["cpu"][variant.name].append(cpu)
            timings["wall"][variant.name].append(wall)
        rounds += 1
    return timings


async def _warm_up(variants: Sequence[Variant], least: int, warm_up: int) -> int:
    """Run each variant once; return how many cycles of the fastest one fill a round."""
    fastest = min([(await _measured(variant, warm_up))[1] for variant in variants])
    return max(least, int(ROUND_SECONDS * 1e6 / fastest))


async def _measured(variant: Variant, number: int) -> tuple[float, float]:
    """Return the microseconds of a cycle: CPU time of this process, and wall time."""
    variant.begin()
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    result = variant.run(number)
    if result is not None:
        await result
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    variant.end()
    return cpu / number / 1000, wall / number / 1000


def run_measurement(measure: Callable[..., object]) -> None:
    """Call `measure` with the JSON arguments in `sys.argv[1]`, and print its result as JSON."""
    options: dict[str, Any] = json.loads(sys.argv[1])
    json.dump(measure(**options), sys.stdout)


def with_loop(loop: str, main: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine function in a new event loop of `asyncio` or `uvloop`."""
    if loop == "uvloop":
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    else:
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_awaited(main))


async def _awaited(main: Callable[[], Awaitable[Any]]) -> Any:
    return await main()


def repeated(function: Callable[..., Any], *args: Any) -> Callable[[int], None]:
    """Return a function that calls `function` with these arguments a given number of times."""
    return cycles(functools.partial(function, *args))
