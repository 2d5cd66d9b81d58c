"""
Whether what runs now holds connections of a database, whichever pool they are of.

That is asked once for each request by HTTP, and costs those that hold none next to nothing.
"""

from __future__ import annotations

from asyncio import current_task
from collections.abc import Hashable, Iterator, Mapping
from itertools import repeat
from operator import contains
from typing import Any, Final
from weakref import ref

from poolscope.callsites.owners import awaited_job, current_job, jobs_by_task
from poolscope.ledger.ledger import Ledger

_databases: Final[dict[ref[Ledger], Mapping[Hashable, int]]] = {}
"""The `holds_by_borrower` of each ledger."""

_current_job: Final = current_job.get
_jobs: Final[Mapping[ref[Any], Hashable]] = jobs_by_task.data  # type: ignore[attr-defined] # typeshed does not know it


def add_database(ledger: Ledger) -> None:
    """From now on, holds of this ledger are found, for as long as it lives."""
    _databases[ref(ledger, _forget)] = ledger.holds.holds_by_borrower


def _forget(of_ledger: ref[Ledger]) -> None:
    _databases.pop(of_ledger, None)


def is_holding() -> bool:
    """Whether the running task, or the thread that it runs for, may hold a connection."""
    if not _databases:
        return False
    task, holds = ref(current_task()), _databases.copy().values()
    return (
        any(map(contains, holds, repeat(task)))
        or any(map(contains, holds, repeat(_current_job())))
        or any(map(contains, holds, repeat(_jobs.get(task))))
    )


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
    for of_ledger, holds in _databases.copy().items():
        ledger = of_ledger()
        for key in keys:
            if ledger is not None and key is not None and key in holds:
                yield ledger, key
