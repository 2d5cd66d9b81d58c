"""Deliberate faults in readings, for `mutate.py`."""

FAULTS = (
    (
        "sums of seconds decrease when a reading comes before the recorded end of a hold",
        "readings/reading.py",
        "list(map(max, self._shown, [values[place] for place in _CLAMPED]))",
        "[values[place] for place in _CLAMPED]",
        ("tests/ledger/test_ledger.py",),
    ),
    (
        "a full pool is hidden by idle ones of its name",
        "readings/saturation.py",
        "shares[address] = max(_share(values), shares.get(address, 0.0))",
        "shares[address] = min(_share(values), shares.get(address, 1.0))",
        ("tests/watching/test_too_small.py",),
    ),
    (
        "pools that serve many are taken for pools of single requests",
        "readings/turnover.py",
        "pools >= MANY_POOLS and callers < FEW_ACQUIRES * pools",
        "pools >= MANY_POOLS",
        ("tests/watching/test_turnover.py",),
    ),
)
