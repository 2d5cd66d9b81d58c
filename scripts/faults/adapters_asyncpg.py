"""Faults in the adapter of asyncpg, for `mutate.py`."""

FAULTS = (
    (
        "a caller that is cancelled is counted as waiting for ever",
        "adapters/asyncpg/recording.py",
        "        self._end_wait(attempt)\n        now, outcome = ",
        "        now, outcome = ",
        ("tests/contract",),
    ),
    (
        "a connection that the server closes while it is in use is counted as in use",
        "adapters/asyncpg/classes.py",
        "        hooks_of(self._pool).lost(self)\n",
        "        pass\n",
        ("tests/adapters/asyncpg/test_asyncpg.py",),
    ),
    (
        "the connections that a pool opens first are not counted",
        "adapters/asyncpg/hooks.py",
        "        pool._holders = HolderList(self)\n",
        "        pass\n",
        ("tests/adapters/asyncpg/test_asyncpg.py",),
    ),
    (
        "a connection is counted as idle during `setup`",
        "adapters/asyncpg/recording.py",
        "            self.ledger.taken(id(holder._con), self.clock())\n",
        "            pass\n",
        ("tests/adapters/asyncpg/test_asyncpg.py",),
    ),
    (
        "a connection that asyncpg is still returning counts as lost",
        "adapters/asyncpg/recording.py",
        " and not is_being_released(holder)",
        "",
        ("tests/adapters/asyncpg/test_asyncpg_lost.py",),
    ),
    (
        "a connection with a listener counts as lost",
        "adapters/asyncpg/lost.py",
        "if connection._listeners or connection._log_listeners:",
        "if False:",
        ("tests/adapters/asyncpg/test_asyncpg_lost.py",),
    ),
    (
        "a failed task that keeps its frames counts as a holder",
        "adapters/asyncpg/lost.py",
        "others == _references_of_failed_task(connection, who)",
        "False",
        ("tests/contract",),
    ),
    (
        "an acquire in a callback is taken for the attempt that called the callback",
        "adapters/asyncpg/recording.py",
        "attempt = pending_attempts.pop(_task(), None)",
        "attempt = pending_attempts.get(_task())",
        ("tests/adapters/asyncpg/test_asyncpg.py",),
    ),
    (
        "a holder is taken as ready although `setup` has still to run",
        "adapters/asyncpg/pools.py",
        "        or holder._setup is not None\n",
        "",
        ("tests/contract", "tests/adapters/asyncpg/test_asyncpg.py"),
    ),
    (
        "a pool may be used in any event loop",
        "adapters/asyncpg/recording.py",
        "        if pool._loop is not _get_running_loop():\n",
        "        if False:\n",
        ("tests/contract/test_other_loop.py",),
    ),
)
