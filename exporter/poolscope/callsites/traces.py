"""
The trace of OpenTelemetry in which somebody asks for a connection, if the application uses it.

Nothing is imported for that: OpenTelemetry is used once the application has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from poolscope.errors import count_error, is_ours

_MODULE: Final = "opentelemetry.trace"


class Trace(NamedTuple):
    """
    A trace.

    number: its id, of 128 bits.
    is_sampled: whether it is recorded, so that somebody who looks for it finds it.
    """

    number: int
    is_sampled: bool

    @property
    def id(self) -> str:
        """The id as it is shown; see `shown_id`."""
        return shown_id(self.number)


def shown_id(number: int) -> str:
    """Return the id of a trace as OpenTelemetry and its tools write it: 32 hexadecimal digits."""
    return f"{number:032x}"


def current_trace() -> Trace | None:
    """Return the trace of the current span; None if there is no span."""
    try:
        return _find_trace()
    except Exception as error:
        _forgive(error, _find_trace)
        return None


def _find_trace() -> Trace | None:
    context = _current_span().get_span_context()
    number = int(context.trace_id)
    return Trace(number, bool(context.trace_flags & 1)) if 0 < number < 1 << 128 else None


def add_event(name: str, attributes: Mapping[str, Any]) -> None:
    """Add an event to the current span, if it is recorded."""
    try:
        _add_event(name, attributes)
    except Exception as error:
        _forgive(error, lambda: _add_event(name, attributes))


def _add_event(name: str, attributes: Mapping[str, Any]) -> None:
    span = _current_span()
    if span.is_recording():
        span.add_event(name, attributes)


def _current_span() -> Any:
    return sys.modules[_MODULE].get_current_span()


def _forgive(error: Exception, again: Callable[[], object]) -> None:
    """Count an error of ours or of a tracer, which fails again; raise any other one."""
    if not (is_ours(error) or _fails(again)):
        raise error
    count_error("OpenTelemetry")


def _fails(function: Callable[[], object]) -> bool:
    try:
        function()
    except Exception:
        return True
    return False


tracers: Final[list[Callable[[], Trace | None]]] = []
"""Has `current_trace` once the application has imported OpenTelemetry, and nothing before."""


def look_for_tracing() -> None:
    """Find out whether the application has imported OpenTelemetry by now."""
    if not tracers and hasattr(sys.modules.get(_MODULE), "get_current_span"):
        tracers.append(current_trace)


def trace_of_caller() -> Trace | None:
    """Return the trace of the caller; None if it has none, or nobody uses OpenTelemetry."""
    return tracers[0]() if tracers else None
