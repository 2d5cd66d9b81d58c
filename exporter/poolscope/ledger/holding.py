"""
Whether what runs now holds connections of a database, whichever pool they are of.

That is asked once for each request by HTTP, and costs those that hold none next to nothing. What
takes and returns connections has no part in it.
"""

from __future__ import annotations

from asyncio import current_task
from collections.abc import Callable, Hashable, Iterable, Iterator, ValuesView
from typing import Any, Final
from weakref import ref

from poolscope.callsites.owners import awaited_job, current_job, jobs_by_task
from poolscope.ledger.ledger import Ledger

HoldsOf = Callable[[Iterable[Hashable]], bool]

databases: Final[dict[ref[Ledger], HoldsOf]] = {}
"""
For each ledger, what returns whether none of these callers holds a connection of it; of them it
knows only the `borrower_key`.
"""

none_held: Final[ValuesView[HoldsOf]] = databases.values()

job_in_context: Final = current_job.get
job_of_task: Final[Callable[[ref[Any]], Hashable]] = jobs_by_task.data.get  # type: ignore[attr-defined] # typeshed does not know it

_of_nobody: Final[HoldsOf] = frozenset[Hashable]().isdisjoint


def add_database(ledger: Ledger) -> None:
    """From now on, holds of this ledger are found, for as long as it lives."""
    for of_ledger, holds in list(databases.items()):
        if holds is _of_nobody:
            databases.pop(of_ledger, None)
    databases[ref(ledger, _forget)] = ledger.holds.holds_by_borrower.keys().isdisjoint


def _forget(of_ledger: ref[Ledger]) -> None:
    # A request may be asking at this moment, so this removes nothing.
    if of_ledger in databases:
        databases[of_ledger] = _of_nobody


def holdings() -> Iterator[tuple[Ledger, Hashable]]:
    """
    Yield each ledger of which what runs now holds connections, and the `borrower_key` of these.

    They are those of the running task, of the jobs that it has given to threads and waited for, and
    of the thread, if that has begun the task and waits for it, as in `asyncio.run`.
    """
    task = current_task()
    if task is None:
        return
    keys: list[Hashable] = [ref(task), jobs_by_task.get(task), awaited_job(task)]
    for of_ledger in list(databases):
        ledger = of_ledger()
        for key in keys:
            if ledger is not None and key in ledger.holds.holds_by_borrower:
                yield ledger, key
