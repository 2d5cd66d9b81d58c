"""Faults in the adapter of asyncpg, for `mutate.py`."""

FAULTS = (
    (
        "a caller that was cancelled waits for ever",
        "adapters/asyncpg/recording.py",
        "        self._waits_no_more(attempt)\n        now, outcome = ",
        "        now, outcome = ",
        ("tests/contract",),
    ),
    (
        "a connection that the server closes while it is out stays in use",
        "adapters/asyncpg/classes.py",
        "            hooks_of(self._pool).lost(self)\n",
        "            pass\n",
        ("tests/adapters/asyncpg/test_asyncpg.py",),
    ),
    (
        "connections of a pool's start are not counted",
        "adapters/asyncpg/hooks.py",
        "        pool._holders = HolderList(self)\n",
        "        pass\n",
        ("tests/adapters/asyncpg/test_asyncpg.py",),
    ),
    (
        "a connection that is being set up is idle",
        "adapters/asyncpg/recording.py",
        "            self.ledger.taken(id(holder._con), self.clock())\n",
        "            pass\n",
        ("tests/adapters/asyncpg/test_asyncpg.py",),
    ),
    (
        "a connection whose caller is cancelled while it is returned is lost",
        "adapters/asyncpg/recording.py",
        " and not is_being_released(holder)",
        "",
        ("tests/adapters/asyncpg/test_asyncpg_lost.py",),
    ),
    (
        "a connection that listens is lost",
        "adapters/asyncpg/lost.py",
        "if connection._listeners or connection._log_listeners:",
        "if False:",
        ("tests/adapters/asyncpg/test_asyncpg_lost.py",),
    ),
    (
        "what an error remembers counts as a holder",
        "adapters/asyncpg/lost.py",
        "others == _remembered(connection, who)",
        "False",
        ("tests/contract",),
    ),
    (
        "what is asked in a callback is the attempt that the callback is of",
        "adapters/asyncpg/recording.py",
        "attempt = pending_attempts.pop(_task(), None)",
        "attempt = pending_attempts.get(_task())",
        ("tests/adapters/asyncpg/test_asyncpg.py",),
    ),
    (
        "a holder that has still to be set up is taken to be ready",
        "adapters/asyncpg/pools.py",
        "        or holder._setup is not None\n",
        "",
        ("tests/contract", "tests/adapters/asyncpg/test_asyncpg.py"),
    ),
)
