"""Histograms in tests."""

from __future__ import annotations

from poolscope.readings.reading import Histogram


def count_of(histogram: Histogram) -> float:
    """Return the number of observations."""
    return sum(histogram[:-1])
