"""Faults in watching, for `mutate.py`."""

FAULTS = (
    (
        "the counters of a name that is given up are dropped",
        "watching/groups.py",
        "        self.ended = sum_readings([self.ended, group.total(())])\n",
        "",
        ("tests/watching/test_many_names.py",),
    ),
    (
        "a name that has a pool again is given up",
        "watching/groups.py",
        "            self._without_members.pop(key, None)\n",
        "",
        ("tests/watching/test_many_names.py",),
    ),
    (
        "a forked child counts since its parent was started",
        "watching/groups.py",
        "group.created, group.since = 0, self._wall_clock()",
        "group.created = 0",
        ("tests/metrics/test_created_times.py",),
    ),
    (
        "adding a pool has to wait until a scrape ends",
        "watching/groups.py",
        (
            "        pacer.yield_gil()\n        for member in list(group.members):\n"
            "            member.check_leaks()\n        with self._lock:\n"
        ),
        "        with self._lock:\n            pacer.yield_gil()\n",
        ("tests/process/test_pacing.py",),
    ),
    (
        "every time-out is logged",
        "watching/pool_log.py",
        "before, self._next = self._next, now + MIN_INTERVAL\n",
        "before = self._next\n",
        ("tests/contract",),
    ),
    (
        "a line that names nobody uses up the minute",
        "watching/pool_log.py",
        "            self._next = before\n",
        "            pass\n",
        ("tests/watching/test_pool_log.py",),
    ),
    (
        "a pool that is dropped with open connections counts as closed",
        "watching/watched_pool.py",
        "        if ledger.unclosed:\n",
        "        if False:\n",
        ("tests/readings/test_findings.py",),
    ),
    (
        "the connection-seconds of a function are lost when its pool ends",
        "watching/groups.py",
        "        group.sites.add_ended(ledger.sites())\n",
        "",
        ("tests/readings/test_holders.py",),
    ),
    (
        "the counters of a pool that was collected are lost",
        "watching/groups.py",
        "        group.ended = sum_readings([group.ended, counters])\n",
        "",
        ("tests/watching/test_watch.py",),
    ),
    (
        "a watch that fails leaves its hooks and its file",
        "watching/watched_pool.py",
        "            self._discard()\n            raise\n",
        "            raise\n",
        ("tests/contract/test_all_or_nothing.py",),
    ),
    (
        "a pool is shown before all of its hooks are in",
        "watching/groups.py",
        "            if member.pool_log is None:  # the member is not added yet; `add` adds both\n",
        "            if False:\n",
        ("tests/watching/test_watch.py",),
    ),
    (
        "a collector that its registry has lost is not registered again",
        "watching/collectors.py",
        "        register_again(registry, registered.collector)\n",
        "        pass\n",
        ("tests/watching/test_registries.py",),
    ),
    (
        "a pool that is only unwatched has come and gone",
        "watching/groups.py",
        "self._end(member, ledger, member.clock() if ledger.closed_for_good else None)",
        "self._end(member, ledger, member.clock())",
        ("tests/watching/test_turnover.py",),
    ),
    (
        "a closed pool that something keeps has not gone",
        "watching/groups.py",
        "closed = [member for member in self.members if member.closed]",
        "closed: list[M] = []",
        ("tests/watching/test_turnover.py",),
    ),
    (
        "a process that sleeps counts as stopped, although its scrapes come in time",
        "process/pauses.py",
        "            and all(rhythm.is_missed(now) for rhythm in regular)\n",
        "",
        ("tests/process/test_pauses.py",),
    ),
    (
        "a stopped process may compute",
        "process/pauses.py",
        "            and self._cpu() - cpu <= BURST + MOST_CPU * (now - start)\n",
        "",
        ("tests/process/test_pauses.py",),
    ),
)
