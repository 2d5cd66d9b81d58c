"""Where the cells of a ledger live."""

from __future__ import annotations


def private_cells(count: int) -> memoryview[float]:
    """
    Return `count` float64 cells, all 0.0, in memory of this process alone.

    The result is indexed and assigned like a list of floats.
    """
    return memoryview(bytearray(8 * count)).cast("d")
