"""Objects that stand for a pool, such as the proxies of wrapt that tracers make."""

from __future__ import annotations

from typing import Any, Final

_MAX_PROXIES: Final = 10
"""How many may stand one in front of the other."""


def behind_proxies(target: Any) -> Any:
    """Return what a proxy stands for, or else the object itself."""
    for _ in range(_MAX_PROXIES):
        # A proxy says that it is of another class than it is; so does an object that is watched.
        if type(target) is target.__class__ or not hasattr(target, "__wrapped__"):
            break
        target = target.__wrapped__
    return target
