"""Faults in what is held across requests, and in the jobs of one caller, for `mutate.py`."""

_HELD = ("tests/contract/test_held_across_requests.py",)
_FAILED = ("tests/contract/test_failed_across.py",)
_SERVICES = ("tests/contract/test_held_across_in_services.py",)
_JOBS = ("tests/contract/test_jobs_of_requests.py",)

FAULTS = (
    (
        "a second of a hold counts once for each request under way",
        "ledger/across_requests.py",
        "        if known is None or not known.requests:\n",
        "        if True:\n",
        _HELD,
    ),
    (
        "a hold that ends meanwhile counts until the end of the request",
        "ledger/holds.py",
        "        if self.across.by_key:\n",
        "        if False:\n",
        _HELD,
    ),
    (
        "a hold across a request is left to the hot path, which does not know of it",
        "ledger/hold_records.py",
        "        left = since, asked, borrower, SLOW_RELEASE, slot\n        self._holder_refs",
        "        left = since, asked, borrower, holder_ref, slot\n        self._holder_refs",
        ("tests/ledger/test_across_requests.py",),
    ),
    (
        "a dispatcher is taken for who holds what it has handed on",
        "ledger/request_events.py",
        "kept = self._still_held(borrower_key, self.holds.held_by(borrower_key))",
        "kept = self.holds.held_by(borrower_key)",
        _HELD,
    ),
    (
        "a request under way counts only once it has ended",
        "ledger/cells.py",
        "cells[ACROSS_SECONDS] + _elapsed(now, cells[ACROSS_NOW], cells[ACROSS_NOW_SINCE])",
        "cells[ACROSS_SECONDS]",
        _HELD,
    ),
    (
        "a request whose connection is lost is under way for ever",
        "adapters/aiohttp/recording.py",
        "        self._across_ended(protocol)\n        unwatch_object(protocol)\n",
        "        unwatch_object(protocol)\n",
        _FAILED,
    ),
    (
        "a request that fails is under way for ever",
        "adapters/aiohttp/recording.py",
        "            attempt.across.end()\n",
        "            pass\n",
        _FAILED,
    ),
    (
        "all tasks of a loop that a thread runs are taken for the one it waits for",
        "callsites/owners.py",
        "            return job if any(value is task for value in values) else None\n",
        "            return job\n",
        _SERVICES,
    ),
    (
        "jobs of two operations are one caller",
        "callsites/owners.py",
        "(given is not None and job.operation is not operation)",
        "False",
        _JOBS,
    ),
    (
        "a job that its task has given up is a part of the next one",
        "callsites/owners.py",
        "        if before is not given and not has_ended(before):\n",
        "        if False:\n",
        _JOBS,
    ),
    (
        "jobs of no operation are one caller",
        "callsites/owners.py",
        "job_of_executor() if current_operation() is not None else None",
        "job_of_executor()",
        _JOBS,
    ),
    (
        "what a task has handed on is its own while a job in a thread asks",
        "callsites/hands.py",
        "        loop, current = waiting.get_loop(), waiting\n",
        "        return\n",
        _JOBS,
    ),
    (
        "jobs without code of the application have no variables to search",
        "callsites/hands.py",
        "        yield from filter(_is_of_application, reversed(awaited[-MAX_FRAMES:]))\n",
        "        yield from ()\n",
        _JOBS,
    ),
    (
        "any share of the time is critical",
        "readings/findings.py",
        "    if seconds < MUCH_ACROSS or seconds < LARGE_SHARE_ACROSS * of_all:\n",
        "    if seconds < MUCH_ACROSS:\n",
        ("tests/readings/test_held_across_findings.py",),
    ),
)
