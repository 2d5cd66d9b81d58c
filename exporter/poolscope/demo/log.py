"""Keeps what poolscope logs during the demo, to print it when the screen is free again."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

KEPT_LINES: Final = 6
"""Number of lines that are kept, the last ones."""


class TailHandler(logging.Handler):
    """A logging handler that keeps the last lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def capture_log() -> Iterator[Sequence[str]]:
    """Keep what is logged instead of printing it; yield the lines."""
    logger, handler = logging.getLogger("poolscope"), TailHandler()
    propagated = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler.lines
    finally:
        logger.propagate = propagated
        logger.removeHandler(handler)
