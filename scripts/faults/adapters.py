"""Faults in the adapter of patches.py, for `mutate.py`."""

FAULTS = (
    (
        "a method of the application's own is not there again",
        "adapters/patches.py",
        "        and method.__func__ is getattr(type(target), name, None)\n",
        "",
        ("tests/watching/test_watch.py",),
    ),
)
