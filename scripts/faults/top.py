"""Faults in the modules that every part may use, for `mutate.py`."""

FAULTS = (
    (
        "a scrape lets nobody else run",
        "pacing.py",
        "perf_counter() - self._since >= PAUSE_EVERY",
        "False",
        ("tests/test_pacing.py",),
    ),
    (
        "a log that fails at the end of the stack is the caller's trouble",
        "errors.py",
        "        with suppress(Exception):\n",
        "        with suppress():\n",
        ("tests/test_errors.py",),
    ),
)
