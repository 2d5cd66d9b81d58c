"""What poolscope logs while the demo runs, kept for when the terminal is free again."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

KEPT_LINES: Final = 6
"""Lines, the last ones."""


class TailHandler(logging.Handler):
    """Keeps the last lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def capture_log() -> Iterator[Sequence[str]]:
    """Keep what is logged from going anywhere else; yields the lines."""
    logger, handler = logging.getLogger("poolscope"), TailHandler()
    propagated = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler.lines
    finally:
        logger.propagate = propagated
        logger.removeHandler(handler)
