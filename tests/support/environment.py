"""Removes environment variables that would change the results of tests."""

from __future__ import annotations

import os
from typing import Final

OURS: Final = frozenset(
    f"POOLSCOPE_{name}"
    for name in (
        *("APPLICATION_NAME", "CALL_SITES", "DEMO_POSTGRES", "DIR", "LEAK_AFTER", "NAMES"),
        *("PGBOUNCER", "POSTGRES", "REPORT", "RUN", "SERVE"),
    )
)
TERMINAL: Final = frozenset({"COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TTY_COMPATIBLE"})
NO_PROXY: Final = ("no_proxy", "NO_PROXY")


def leave_out() -> None:
    """Remove the variables, and let no proxy be used for the servers of the tests."""
    for name in list(os.environ):
        if name in OURS | TERMINAL or name.startswith("PG"):  # libpq's
            del os.environ[name]
    for name in NO_PROXY:
        others = os.environ.get(name)
        os.environ[name] = ",".join([*([others] if others else []), "127.0.0.1", "localhost"])
