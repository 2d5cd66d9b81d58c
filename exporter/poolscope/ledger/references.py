"""Reference counts: an object that has only known references can be reached by nobody else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

COUNTS_ARE_EXACT: Final[bool] = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether a reference count is exact at any moment; it is not in a Python without the GIL."""


def references(get: Callable[[], object]) -> int:
    """Return how many references there are to what `get` returns, without those of this call."""
    referent = get()
    return sys.getrefcount(referent) - _own_references


_sole_reference: Final = [object()]
_own_references = 0
# Measured, because the references that this call adds differ between versions of Python.
_own_references = references(lambda: _sole_reference[0]) - 1
