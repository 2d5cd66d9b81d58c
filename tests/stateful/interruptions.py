"""What a machine learns from a reading after an exception has landed in a use of its pool."""

from __future__ import annotations

from typing import Final

from poolscope.readings.reading import Reading
from support.bytecodes import HardInterruption, Interruption

INTERRUPTIONS: Final = (Interruption, HardInterruption)

OUTCOMES: Final = ("acquired", "timed_out", "cancelled", "failed")
"""The counters of the ends of an attempt."""


def ended(reading: Reading) -> int:
    """Return how many attempts have ended."""
    return int(sum(getattr(reading, name) for name in OUTCOMES))
