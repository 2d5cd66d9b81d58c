"""Being asked to stop."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Final, Self

# Where there is no SIGHUP, no terminal can go away.
STOP_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Stop:
    """
    Whether a signal has asked the process to stop; asking again changes nothing.

    As a context manager it takes the signals, and has them ignored from its end on: one that
    comes while the interpreter shuts down shall not turn an orderly end into another.
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
