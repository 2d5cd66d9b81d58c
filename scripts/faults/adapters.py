"""Faults in what the adapters share, for `mutate.py`."""

FAULTS = (
    (
        "a method that the application had replaced before the watch is not restored",
        "adapters/patches.py",
        "        and method.__func__ is getattr(type(target), name, None)\n",
        "",
        ("tests/adapters/test_patches.py",),
    ),
)
