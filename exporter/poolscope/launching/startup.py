"""What `poolscope run` does in each process of its command, once that imports a known library."""

from __future__ import annotations

import sys
from types import ModuleType

from poolscope.errors import harmless_once, logger
from poolscope.launching import frameworks
from poolscope.launching.autowatch import default_autowatch, described, log_first
from poolscope.watching.watch import Watch


@harmless_once
def imported(module: ModuleType) -> None:
    """A module of a pool's library, or of a framework, was imported."""
    default_autowatch.tell = tell
    default_autowatch.imported(module)
    frameworks.imported(module)


def tell(watch: Watch) -> None:
    """Say which pool is watched where somebody sees it: in the log, or else on stderr."""
    import logging

    log = logger()
    if log.isEnabledFor(logging.INFO) and log.hasHandlers():
        log_first(watch)
    elif sys.stderr is not None:
        print(f"poolscope: watching {described(watch)}", file=sys.stderr)  # noqa: T201 - see above
