"""
A program whose threads call and return all the time, while the main one looks at them.

Each look has a collection at another one of its allocations, and each collection lets the others
run. The functions have frames of different sizes, so that what was a frame is soon something else.
"""

from __future__ import annotations

import gc
import itertools
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final

from poolscope.adapters.sqlalchemy.on_stacks import under_way
from poolscope.callsites.borrower import Borrower
from poolscope.callsites.owners import ThreadJob, job_of_caller
from poolscope.callsites.threads import frames_of_threads, outer_frame
from poolscope.callsites.variables import variables_of
from poolscope.callsites.whereabouts import Whereabouts

THREADS: Final = 4
ALLOCATIONS: Final = 60
"""A look has more of them; a collection is tried at each of the first ones in turn."""

Following = tuple[Callable[..., int], ...]


class Cycle:
    def __init__(self) -> None:
        self.itself = self


def let_others_run(_reference: object) -> None:
    for _ in range(3):
        time.sleep(0)


def small(levels: int, following: Following) -> int:
    return following[levels % 3](levels - 1, following) if levels else 0


def middle(levels: int, following: Following, *others: int, last: object = None) -> int:
    a = b = c = [levels]
    return sum([a[0], following[levels % 2](levels - 1, following), b[0], c[0]]) if levels else 0


def large(levels: int, following: Following) -> int:
    a, b, c, d, e, f, g, h = range(8)
    all_of_them = [a, b, c, d, e, f, g, h, following[0](levels - 1, following)] if levels else [0]
    return all_of_them[-1]


class Program:
    def __init__(self) -> None:
        self.jobs: Final[list[ThreadJob]] = []
        self.has_ended = False

    def work(self) -> None:
        self.jobs.append(job_of_caller())
        while not self.has_ended:
            for levels in range(30):
                small(levels, (small, middle, large))
                large(levels, (middle, small, large))

    def look_for_slots(self) -> None:
        under_way(object())  # type: ignore[arg-type]  # no pool is on a stack

    def look_for_lines(self) -> None:
        seen = Whereabouts()
        for job in self.jobs:
            assert seen.site(Borrower(None, 0, job, "")) is not None

    def look_at_variables(self) -> None:
        for ident, innermost in frames_of_threads().items():
            frame: Any = innermost if ident != threading.get_ident() else None
            while frame is not None:
                assert isinstance(variables_of(frame), dict)
                frame = outer_frame(frame)

    def run(self, look: str, times: int) -> None:
        threads = [threading.Thread(target=self.work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        while len(self.jobs) < THREADS:
            time.sleep(0)
        try:
            for later in itertools.islice(itertools.cycle(range(1, ALLOCATIONS)), times):
                gc.disable()
                # A reference must outlive the cycle, or nothing is called.
                references = [weakref.ref(Cycle(), let_others_run) for _ in range(20)]
                gc.set_threshold(gc.get_count()[0] + later)
                gc.enable()
                getattr(self, look)()
                del references
        finally:
            self.has_ended = True
        for thread in threads:
            thread.join()


sys.setswitchinterval(1e-6)
Program().run(sys.argv[1], int(sys.argv[2]))
print("done")  # noqa: T201 - for the test
