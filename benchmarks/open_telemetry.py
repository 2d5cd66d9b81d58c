"""OpenTelemetry's instrumentation, used as documented; it is only in the second environment."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib import import_module
from typing import Any


def available() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.instrumentation.asyncpg") is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


def meter_provider() -> Any:
    """Return a provider of its metrics SDK that keeps the numbers until somebody reads them."""
    export: Any = import_module("opentelemetry.sdk.metrics.export")
    metrics: Any = import_module("opentelemetry.sdk.metrics")
    return metrics.MeterProvider(metric_readers=[export.InMemoryMetricReader()])


def instrument_engine(engine: Any) -> tuple[Callable[[], None], Callable[[], None]]:
    """
    Instrument one engine; return functions that install and remove the wrapper of a method.

    The wrapper is around `Engine.connect`, and so affects all engines.
    """
    package: Any = import_module("opentelemetry.instrumentation.sqlalchemy")
    package.SQLAlchemyInstrumentor().instrument(engine=engine, meter_provider=meter_provider())
    cls: Any = import_module("sqlalchemy.engine.base").Engine
    wrapped = vars(cls)["connect"]

    def install() -> None:
        cls.connect = wrapped

    def remove() -> None:
        cls.connect = wrapped.__wrapped__

    remove()
    return install, remove


def instrument_asyncpg() -> tuple[Callable[[], None], Callable[[], None]]:
    """
    Return functions that install and remove the instrumentation of asyncpg.

    It makes spans of statements. It has no metrics, and does not cover `acquire` and `release`.
    """
    package: Any = import_module("opentelemetry.instrumentation.asyncpg")
    trace: Any = import_module("opentelemetry.sdk.trace")
    instrumentor = package.AsyncPGInstrumentor()
    provider = trace.TracerProvider()

    def install() -> None:
        instrumentor.instrument(tracer_provider=provider)

    return install, instrumentor.uninstrument


def aiohttp_trace_config() -> Any:
    """Return the TraceConfig that its instrumentation gives to a session."""
    package: Any = import_module("opentelemetry.instrumentation.aiohttp_client")
    return package.create_trace_config(meter_provider=meter_provider())
