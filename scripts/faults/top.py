"""Deliberate faults in the modules that every part may use, for `mutate.py`."""

FAULTS = (
    (
        "a scrape never pauses for other threads",
        "process/pacing.py",
        "perf_counter() - self._since >= PAUSE_EVERY",
        "False",
        ("tests/process/test_pacing.py",),
    ),
    (
        "a log that fails because the stack is exhausted raises in the caller",
        "errors.py",
        "            self._places.discard(place)  # the next one may have more room\n",
        "            raise\n",
        ("tests/test_errors.py",),
    ),
    (
        "a time limit of the application ends in a hook",
        "errors.py",
        '    if kind.__module__.partition(".")[0] not in OUR_MODULES:\n        return False\n',
        "",
        ("tests/test_errors.py",),
    ),
    (
        "an exception of a signal handler ends in a hook",
        "errors.py",
        "        if traceback.tb_frame.f_code in handlers:\n            return True\n",
        "",
        ("tests/test_errors.py",),
    ),
)
