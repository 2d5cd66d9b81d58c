"""Deliberate faults in the modules that every part may use, for `mutate.py`."""

FAULTS = (
    (
        "a scrape never pauses for other threads",
        "pacing.py",
        "perf_counter() - self._since >= PAUSE_EVERY",
        "False",
        ("tests/test_pacing.py",),
    ),
    (
        "a log that fails because the stack is exhausted raises in the caller",
        "errors.py",
        "        with suppress(Exception):\n",
        "        with suppress():\n",
        ("tests/test_errors.py",),
    ),
)
