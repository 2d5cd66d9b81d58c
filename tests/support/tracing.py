"""Traces of OpenTelemetry's own SDK, which keeps the spans in memory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON


class Tracing:
    """A tracer, and the spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._sampled = self._provider(ALWAYS_ON)
        self._unsampled = self._provider(ALWAYS_OFF)

    def _provider(self, sampler: Any) -> TracerProvider:
        provider = TracerProvider(sampler=sampler)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        return provider

    def span(self, name: str = "request", sampled: bool = True) -> AbstractContextManager[Any]:
        """Return a context manager: a span, which begins a trace where there is none."""
        provider = self._sampled if sampled else self._unsampled
        return provider.get_tracer("test").start_as_current_span(name)

    @property
    def ended(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())


def id_of(span: Any) -> str:
    """Return the id of the span's trace, as tools show it."""
    return f"{span.get_span_context().trace_id:032x}"
