"""
At the end of the stack a watched pool does what it does without a watch; it needs one frame more
for each method of the pool that is watched.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import sqlalchemy
from sqlalchemy.pool import NullPool, Pool, QueuePool

from poolscope import Watch
from poolscope.errors import internal_errors
from poolscope.watching.watches import Watches
from support.laws import laws_of_counters

MOST: Final = 60
"""More frames than a use of a watched pool takes."""

MORE_FRAMES: Final = {"take": 1, "give back": 2, "open": 2}
"""At most: the frames of the methods that call the pool's own. A NullPool also closes."""


MOST_ERRORS: Final = 20
"""More than a use has hooks: each is tried a few times at most."""

NOT_KEPT: Final = {"opens have a duration"} if sys.version_info >= (3, 14) else set()
"""
On Python 3.14 SQLAlchemy may have room to open a connection where the hooks have none, probably as
calls of C functions do not count there. It is counted when its caller gets it, without a duration.
"""


class Connection:
    """A DBAPI connection that does nothing."""

    def rollback(self) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def short_stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stack that is soon exhausted, also for SQLAlchemy's finalizers, and pytest's own hook."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(_depth() + 2 * MOST)
    yield
    sys.setrecursionlimit(before)


def _depth() -> int:
    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def _with_frames_left(frames: int, act: Callable[[], object]) -> bool:
    """Call `act` where the stack has room for so many frames; return whether that was enough."""

    def go_down(further: int) -> None:
        if further > 0:
            go_down(further - 1)
        else:
            act()

    try:
        go_down(sys.getrecursionlimit() - _depth() - frames)
    except RecursionError:
        return False
    return True


def fewest_frames(use: str, kind: type[Pool], watches: Watches | None) -> tuple[int, list[str]]:
    """Return with how many frames a use succeeds, and the laws that do not hold beforehand."""
    wrong: list[str] = []
    for frames in range(2, MOST):
        connect: Any = Connection
        pool = kind(connect)
        adopted = 0
        if use != "open" and kind is QueuePool:
            pool.connect().close()
            adopted = 1
        watch = watches.watch(pool, registry=None) if watches is not None else None
        held: list[Any] = [pool.connect()] if use == "give back" else []
        act = held[0].close if held else lambda: held.append(pool.connect())  # noqa: B023
        errors = internal_errors.count
        succeeded = _with_frames_left(frames, act)
        while held:
            held.pop().close()
        del act
        if watch is not None:
            wrong += faults(watch, adopted)
            watch.unwatch()
        if internal_errors.count > errors + MOST_ERRORS:
            wrong.append(f"{internal_errors.count - errors} errors with {frames} frames")
        if succeeded:
            return frames, wrong
    raise AssertionError("it never succeeds")


def faults(watch: Watch, adopted: int) -> list[str]:
    gc.collect()  # SQLAlchemy's finalizers return what an attempt that has failed had
    snapshot = watch.snapshot()
    laws = laws_of_counters(watch, adopted)
    laws["nothing is left"] = (0, 0, 0) == (snapshot.in_use, snapshot.waiting, snapshot.opening)
    return [law for law, holds in laws.items() if not holds and law not in NOT_KEPT]


@pytest.mark.makes_hooks_fail
@pytest.mark.usefixtures("short_stack")
@pytest.mark.parametrize("kind", [QueuePool, NullPool])
@pytest.mark.parametrize(
    "use",
    [
        "take",
        pytest.param(
            "give back",
            marks=pytest.mark.skipif(
                not sqlalchemy.__version__.startswith("2.1"),
                reason="SQLAlchemy 2.0.0 itself loses what it has no room to give back",
            ),
        ),
        "open",
    ],
)
def test_an_application_at_the_end_of_its_stack(
    use: str, kind: type[Pool], watches: Watches
) -> None:
    fewest_frames(use, kind, None)  # SQLAlchemy keeps what it has found out
    bare, _ = fewest_frames(use, kind, None)
    needed, wrong = fewest_frames(use, kind, watches)
    assert [] == wrong
    assert needed <= bare + MORE_FRAMES[use], (bare, needed)
