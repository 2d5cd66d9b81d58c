"""Faults in readings, for `mutate.py`."""

FAULTS = (
    (
        "sums of seconds fall when a reading overtakes the end of a hold",
        "readings/reading.py",
        "list(map(max, self._seconds, [values[place] for place in _SECONDS]))",
        "[values[place] for place in _SECONDS]",
        ("tests/ledger/test_ledger.py",),
    ),
)
