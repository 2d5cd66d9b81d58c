"""How a pool of the asyncpg machine is made, and the callbacks that it has."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from hypothesis import strategies as st

PARAMETERS: Final = frozenset(inspect.signature(asyncpg.create_pool).parameters)
"""asyncpg 0.30 added `connect` and `reset`, and 0.32 added `init_size`."""

CALLBACKS: Final = PARAMETERS & {"connect", "init", "setup", "reset"}


class RefusedError(Exception):
    """Raised by a callback whose `next` is "raises"."""


class Callback:
    """
    A callback of the pool that returns at once, unless `next` is "raises" or "hangs".

    inside: by task, the connections of the calls that hang.
    """

    def __init__(self) -> None:
        self.next = "passes"
        self.inside: dict[asyncio.Task[Any] | None, Any] = {}
        self._gate = asyncio.Event()

    async def __call__(self, connection: Any) -> None:
        does, self.next = self.next, "passes"
        if does == "raises":
            raise RefusedError
        if does == "hangs":
            task = asyncio.current_task()
            self.inside[task] = connection
            try:
                await self._gate.wait()
            finally:
                del self.inside[task]

    async def connect(self, *args: Any, **options: Any) -> Any:
        await self(None)
        return await asyncpg.connect(*args, **options)

    def release_all(self) -> None:
        self._gate.set()
        self._gate = asyncio.Event()


@dataclass(frozen=True)
class Plan:
    """
    How a pool is made.

    warm: how many connections more than `min_size` the pool opens at first.
    watched: before the pool is opened, after it, or late, when `out` connections are in use.
    """

    max_size: int
    min_size: int
    warm: int
    max_queries: int
    callbacks: frozenset[str]
    first_open: str
    watched: str
    out: int


PLANS: Final = st.builds(
    Plan,
    max_size=st.integers(1, 3),
    min_size=st.integers(0, 3),
    warm=st.integers(0, 3),
    max_queries=st.sampled_from([50_000, 50_000, 1, 4]),
    callbacks=(st.just(CALLBACKS) | st.frozensets(st.sampled_from(sorted(CALLBACKS)))),
    first_open=st.sampled_from(["works", "works", "works", "fails", "is refused"]),
    watched=st.sampled_from(["before", "after", "late"]),
    out=st.integers(1, 3),
)
