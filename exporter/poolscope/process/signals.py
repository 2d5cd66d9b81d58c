"""
The signals of `poolscope exporter`: SIGTERM and SIGINT end it with exit code 0, SIGHUP never does.

They must be handled from the first moment. The first process of a container does not get a SIGTERM
that it has no handler for, and the imports of the command take long.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

STOP_SECONDS: Final = 0.8
"""How long after the signal the process ends in any case, in seconds."""

_called: dict[str, Callable[[], object]] = {}
"""What a signal calls, by "stop" and "reload"; without "stop", the process is ended at once."""


def is_command(arguments: Sequence[str], original: Sequence[str]) -> bool:
    """
    Return whether this process is the command `poolscope`.

    arguments, original: `sys.argv` and `sys.orig_argv`. While Python imports the package for
    `-m poolscope`, the first of the arguments is "-m".
    """
    if not arguments:
        return False
    if arguments[0] == "-m":
        return original[len(original) - len(arguments)] in {"poolscope", "-mpoolscope"}
    name = arguments[0].replace("\\", "/").rpartition("/")[2]
    return name in {"poolscope", "poolscope.exe"}


def is_exporter(arguments: Sequence[str], original: Sequence[str]) -> bool:
    """Return whether this process is the command `poolscope exporter`; see `is_command`."""
    return list(arguments[1:2]) == ["exporter"] and is_command(arguments, original)


def handle_if_exporter() -> None:
    """Handle the signals if this process is the exporter; do nothing in any other process."""
    if is_exporter(sys.argv, sys.orig_argv):
        with suppress(ValueError):  # another thread imports the package: it is not the command
            handle()


def handle() -> None:
    """Handle the signals from now on; call this in the main thread."""
    for number, handler in _ours():
        signal.signal(number, handler)


@contextmanager
def calling(stop: Callable[[], object], reload: Callable[[], object]) -> Iterator[None]:
    """
    Call `stop` at the first signal to stop, and `reload` at each SIGHUP, in here.

    Both are called in the main thread, between any two bytecodes. Further signals to stop have no
    effect, and afterwards they end the process. If it has not ended `STOP_SECONDS` after the first,
    it is ended: all that it has to keep is on disk at any time.
    """
    _called.update(stop=stop, reload=reload)
    handle()
    try:
        yield
    finally:
        _called.clear()


def _ours() -> list[tuple[int, Callable[..., object]]]:
    handlers = {"SIGTERM": _stop, "SIGINT": _stop, "SIGHUP": _hang_up, "SIGALRM": _end}
    # Windows has not all of them.
    return [(getattr(signal, name), f) for name, f in handlers.items() if hasattr(signal, name)]


def _stop(*_: object) -> None:
    stop = _called.get("stop", _end)
    _called["stop"] = _nothing
    if stop not in {_nothing, _end} and hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS)
        # Once all threads have ended, Python gives signals back their default: to kill the process.
        atexit.register(signal.setitimer, signal.ITIMER_REAL, 0.0)
    stop()


def _hang_up(*_: object) -> None:
    _called.get("reload", _nothing)()


def _nothing() -> None:
    pass


def _end(*_: object) -> None:
    os._exit(0)
