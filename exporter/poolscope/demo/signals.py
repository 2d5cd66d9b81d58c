"""Signals that request a stop."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Final, Self

# Windows has no SIGHUP.
STOP_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Stop:
    """
    Records whether a signal has requested a stop; further signals change nothing.

    As a context manager it handles the signals, and ignores them after its end: a signal during
    the shutdown of the interpreter must not turn success into a failure.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> Self:
        for number in STOP_SIGNALS:
            if not _ignored_by_nohup(number):
                signal.signal(number, self._request)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


def _ignored_by_nohup(number: signal.Signals) -> bool:
    return number.name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN
