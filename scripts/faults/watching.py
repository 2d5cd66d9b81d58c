"""Faults in watching, for `mutate.py`."""

FAULTS = (
    (
        "who adds a pool waits for a scrape to end",
        "watching/groups.py",
        (
            "        pacer.yield_gil()\n        for member in list(group.members):\n"
            "            member.check_leaks()\n        with self._lock:\n"
        ),
        "        with self._lock:\n            pacer.yield_gil()\n",
        ("tests/test_pacing.py",),
    ),
    (
        "each time-out is logged, however many there are",
        "watching/pool_log.py",
        "                self._next = now + MIN_INTERVAL\n",
        "                pass\n",
        ("tests/contract",),
    ),
    (
        "a pool that is dropped with open connections was closed",
        "watching/watched_pool.py",
        "        if ledger.unclosed:\n",
        "        if False:\n",
        ("tests/readings/test_findings.py",),
    ),
    (
        "connection-seconds of a function go with its pool",
        "watching/groups.py",
        "        group.sites.add_ended(ledger.sites())\n",
        "",
        ("tests/readings/test_holders.py",),
    ),
    (
        "counters of a pool that is gone are forgotten",
        "watching/groups.py",
        "        group.ended = sum_readings([group.ended, counters])\n",
        "",
        ("tests/watching/test_watch.py",),
    ),
)
