"""What must hold between two readings of one pool."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from poolscope.readings.reading import GAUGES, Reading


def falls(readings: Sequence[Reading]) -> list[str]:
    """Return the counters that are lower in a reading than in the one before."""
    names = Reading._fields[GAUGES:]
    return [
        f"{name} fell from {before} to {after}"
        for earlier, later in itertools.pairwise(readings)
        for name, before, after in zip(names, earlier[GAUGES:], later[GAUGES:], strict=True)
        if not _at_least(before, after)
    ]


def _at_least(before: Any, after: Any) -> bool:
    if isinstance(before, tuple):
        return all(map(_at_least, before, after))
    return bool(after >= before - 1e-9)
