"""How many references there are to an object: what tells whether anybody still has it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

COUNTS_ARE_EXACT: Final[bool] = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether the number is exact at any moment; not where threads run without a common lock."""


def references(get: Callable[[], object]) -> int:
    """Return how many references there are to what `get` returns, this look not counted."""
    found = get()
    return sys.getrefcount(found) - _ours


_one: Final = [object()]
_ours = 0
# By measure: what a look adds is not the same in all versions of Python.
_ours = references(lambda: _one[0]) - 1
