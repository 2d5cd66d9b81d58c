"""Deliberate faults in readings, for `mutate.py`."""

FAULTS = (
    (
        "sums of seconds decrease when a reading comes before the recorded end of a hold",
        "readings/reading.py",
        "list(map(max, self._shown, [values[place] for place in _CLAMPED]))",
        "[values[place] for place in _CLAMPED]",
        ("tests/ledger/test_ledger.py",),
    ),
)
